"""The short form of a mount -> its long form: [SOURCE:]TARGET[:OPTION,...].

A source that starts with `.`, `/` or `~` is a host path, any other a volume's
name. Unknown options are an error: silence would hide a read-write mount that
was meant to be read-only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from stackctl.spec import units

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
    target = parts[0] if len(parts) == 1 else parts[1]
    if not target.startswith("/"):
        raise ValueError(f'"{target}" is not an absolute path in the container')
    if len(parts) == 1:
        return {"type": "volume", "target": spec}
    mount: dict[str, Any] = {"source": parts[0], "target": target}
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


@dataclass(frozen=True, slots=True)
class Tmpfs:
    """A memory-backed directory; sizes in bytes."""

    target: str
    size: int | None = None
    mode: int | None = None
    read_only: bool = False


def parse_tmpfs(spec: str) -> Tmpfs:
    """TARGET[:size=64m,mode=1777,ro]. Raises ValueError."""
    target, _, options = spec.partition(":")
    if not target.startswith("/"):
        raise ValueError(f'"{target}" is not an absolute path in the container')
    size: int | None = None
    mode: int | None = None
    read_only = False
    for option in filter(None, options.split(",")):
        name, equals, value = option.partition("=")
        match name:
            case "size" if equals:
                size = units.size(value)
            case "mode" if equals and re.fullmatch("[0-7]{1,5}", value):
                mode = int(value, 8)
            case "ro" | "rw" if not equals:
                read_only = name == "ro"
            case "nosuid" | "nodev" | "noexec" if not equals:
                pass  # every tmpfs of a container is mounted so
            case _:
                raise ValueError(f'"{option}" is not an option of a tmpfs such as size=64m')
    return Tmpfs(target, size, mode, read_only)


def is_host_path(source: str) -> bool:
    return source[:1] in (".", "/", "~")
