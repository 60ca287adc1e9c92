"""The short form of a mount -> its long form: [SOURCE:]TARGET[:OPTION,...].

A source that starts with `.`, `/` or `~` is a host path, any other a volume's
name. Options of other engines are told and left out (compose leaves them out in
silence), but for those that look like `ro`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stackctl.spec import units

if TYPE_CHECKING:
    # Most of what a container can have; few stack files need this part of it.
    from stackctl.model.container import BindMount, TmpfsMount

#: What may be mounted over below /proc: files that lxcfs and the like stand in for.
_IN_PROC = frozenset(
    f"/proc/{name}"
    for name in (
        *("cpuinfo", "diskstats", "loadavg", "meminfo", "net/dev", "slabinfo", "stat", "swaps"),
        *("sys/kernel/ns_last_pid", "uptime"),
    )
)
PROPAGATIONS = ("rprivate", "private", "rshared", "shared", "rslave", "slave")


_DRIVE = re.compile(r"[a-zA-Z]:\\")


def _refuse(reason: str) -> None:
    raise ValueError(reason)


def forbidden(target: str) -> str:
    """Why nothing can be mounted at this absolute path of a container; "" when it can."""
    path = posixpath.normpath("/" + target.lstrip("/"))
    if path == "/":
        return "/ is the container's own root: a mount cannot take its place"
    if (path == "/proc" or path.startswith("/proc/")) and path not in _IN_PROC:
        return f"{path} is the kernel's: a mount in /proc could hide what a process really is"
    return ""


def leads_out(subpath: str) -> bool:
    """Whether this is no path within a volume: it is absolute, or its .. climb out."""
    return subpath.startswith("/") or posixpath.normpath(subpath).split("/")[0] == ".."


def parse(spec: str, odd: Callable[[str], None] = _refuse) -> dict[str, Any]:
    """The long form as plain values; `odd` is told of each option that can have no effect.

    Raises ValueError.
    """
    if not spec:
        raise ValueError("the mount is empty")
    if _DRIVE.match(spec):
        raise ValueError(f'"{spec}" begins with a drive of Windows: name a path of this machine')
    parts = spec.split(":")
    if "" in parts:
        raise ValueError(f'"{spec}" has an empty part between its colons')
    if len(parts) > 3:
        raise ValueError(f'"{spec}" has too many colons: SOURCE:TARGET:OPTIONS')
    target = parts[0] if len(parts) == 1 else parts[1]
    if not target.startswith("/"):
        raise ValueError(f'"{target}" is not an absolute path in the container')
    if len(parts) == 1:
        return {"type": "volume", "target": spec, "volume": {}}
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
                # As it is without a word, which `config` does not print either.
                mount.pop("read_only", None)
            case "nocopy":
                volume["nocopy"] = True
            case "z" | "Z":
                bind["selinux"] = option
            case "cached" | "delegated" | "consistent":
                mount["consistency"] = option
            case _ if option in PROPAGATIONS:
                bind["propagation"] = option
            case _ if option.lower().startswith(("ro", "read")):
                # Left out it would be writable, which is not what was meant.
                raise ValueError(f'"{option}" is not a mount option: ro makes it read-only')
            case _:
                odd(f'"{option}" is not a mount option such as ro, rw or nocopy')
    if is_bind and volume:
        odd("nocopy is for named volumes, not for host paths")
    elif not is_bind and "propagation" in bind:
        odd(f"{bind['propagation']} is for host paths, not for named volumes")
    return {**mount, **({"bind": bind} if is_bind else {"volume": volume})}


#: What every tmpfs of a container has anyway, or what changes nothing of what is in it.
_TMPFS_ANYWAY = ("nosuid", "nodev", "async", "noatime", "nodiratime", "relatime", "strictatime")


def parse_tmpfs(spec: str) -> TmpfsMount:
    """TARGET[:size=64m,mode=1777,uid=1000,gid=1000,ro,exec]. Raises ValueError."""
    from stackctl.model.container import TmpfsMount

    target, _, options = spec.partition(":")
    if not target.startswith("/"):
        raise ValueError(f'"{target}" is not an absolute path in the container')
    found = TmpfsMount(target=target)
    for option in filter(None, options.split(",")):
        name, equals, value = option.partition("=")
        match name:
            case "size" if equals:
                found = replace(found, size=units.size(value))
            case "mode" if equals and re.fullmatch("[0-7]{1,5}", value):
                found = replace(found, mode=int(value, 8))
            case "uid" if equals and re.fullmatch("[0-9]{1,9}", value):
                found = replace(found, uid=int(value))
            case "gid" if equals and re.fullmatch("[0-9]{1,9}", value):
                found = replace(found, gid=int(value))
            case "ro" | "rw" if not equals:
                found = replace(found, read_only=name == "ro")
            case "exec" | "noexec" if not equals:
                found = replace(found, executable=name == "exec")
            case _ if option in _TMPFS_ANYWAY:
                pass
            case _:
                raise ValueError(f'"{option}" is not an option of a tmpfs such as size=64m')
    return found


def is_tmpfs(options: Mapping[str, str]) -> bool:
    """Whether a volume is memory, by its options for docker's "local" driver."""
    return options.get("type") == "tmpfs"


def local_options(value: dict[str, str]) -> dict[str, str]:
    """What docker's "local" driver can mount: here, a directory of the host's or memory.

    Gives `value` back; raises ValueError.
    """
    if not value:
        return value
    if unknown := sorted(value.keys() - {"type", "o", "device"}):
        raise ValueError(f'"{unknown[0]}" is no option of local volumes: type, o and device are')
    options = (value.get("o") or "").split(",")
    if is_tmpfs(value):
        parse_tmpfs(f"/:{value.get('o') or ''}")
        return value
    if value.get("type", "none") != "none" or not {"bind", "rbind"}.intersection(options):
        raise ValueError(
            "only a directory {type: none, o: bind, device: PATH} or {type: tmpfs} can be mounted"
        )
    if not (value.get("device") or "").startswith(("/", ".", "~")):
        raise ValueError("device must be the path of a directory")
    return value


def by_options(
    value: Mapping[str, str], target: str, *, read_only: bool, subpath: str = ""
) -> BindMount | TmpfsMount:
    """What such a volume is, mounted at `target`; nobody mounts what `local_options` refuses."""
    from stackctl.model.container import BindMount

    options = (value.get("o") or "").split(",")
    device = value.get("device") or ""
    if is_tmpfs(value):
        memory = parse_tmpfs(f"{target}:{','.join(options)}")
        return replace(memory, read_only=memory.read_only or read_only)
    return BindMount(
        source=posixpath.join(device, subpath) if subpath else device,
        target=target,
        read_only=read_only or "ro" in options,
        create_host_path=False,
        recursive="rbind" in options,
    )


def is_host_path(source: str) -> bool:
    return source[:1] in (".", "/", "~")
