"""The short form of a mount -> its long form: [SOURCE:]TARGET[:OPTION,...].

A source that starts with `.`, `/` or `~` is a host path, any other a volume's
name. Unknown options are an error: silence would hide a read-write mount that
was meant to be read-only.
"""

from __future__ import annotations

from typing import Any

PROPAGATIONS = ("rprivate", "private", "rshared", "shared", "rslave", "slave")


def parse(spec: str) -> dict[str, Any]:
    """The long form as plain values. Raises ValueError."""
    if not spec:
        raise ValueError("the mount is empty")
    parts = spec.split(":")
    if "" in parts:
        raise ValueError(f'"{spec}" has an empty part between its colons')
    if len(parts) > 3:
        raise ValueError(f'"{spec}" has too many colons: SOURCE:TARGET:OPTIONS')
    if len(parts) == 1:
        return {"type": "volume", "target": spec}
    mount: dict[str, Any] = {"source": parts[0], "target": parts[1]}
    is_bind = is_host_path(parts[0])
    mount["type"] = "bind" if is_bind else "volume"
    bind: dict[str, Any] = {"create_host_path": True}
    volume: dict[str, Any] = {}
    for option in parts[2].split(",") if len(parts) == 3 else ():
        match option:
            case "ro":
                mount["read_only"] = True
            case "rw":
                mount["read_only"] = False
            case "nocopy":
                volume["nocopy"] = True
            case "z" | "Z":
                bind["selinux"] = option
            case "cached" | "delegated" | "consistent":
                mount["consistency"] = option
            case _ if option in PROPAGATIONS:
                bind["propagation"] = option
            case _:
                raise ValueError(f'"{option}" is not a mount option such as ro, rw or nocopy')
    if is_bind:
        mount["bind"] = bind
        if volume:
            raise ValueError("nocopy is for named volumes, not for host paths")
    elif "propagation" in bind:
        raise ValueError(f"{bind['propagation']} is for host paths, not for named volumes")
    if volume:
        mount["volume"] = volume
    return mount


def is_host_path(source: str) -> bool:
    return source[:1] in (".", "/", "~")
