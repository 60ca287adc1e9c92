"""Resource limits, sysctls, devices and shared namespaces of a configuration, as numbers.

Refuses what a container may not have: a sysctl that is not its namespaces' own, a
limit or a namespace that nobody knows. Looks at nothing but the devices named.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from stackctl.errors import ContainerError, UsageError
from stackctl.linux.process import CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWPID, CLONE_NEWUTS
from stackctl.model.container import ContainerConfig, Device
from stackctl.runtime.cgroups.devices import check_rule

#: asm-generic/resource.h.
_RLIMITS = {
    "cpu": 0,
    "fsize": 1,
    "data": 2,
    "stack": 3,
    "core": 4,
    "rss": 5,
    "nproc": 6,
    "nofile": 7,
    "memlock": 8,
    "as": 9,
    "locks": 10,
    "sigpending": 11,
    "msgqueue": 12,
    "nice": 13,
    "rtprio": 14,
    "rttime": 15,
}
_INFINITY = (1 << 64) - 1
#: What Docker's containers have today. The daemon's own limits are higher, and a soft limit of
#: a million makes programs slow that close or watch every possible descriptor.
_NOFILE = (_RLIMITS["nofile"], 1024, 524288)

_IPC_SYSCTLS = frozenset(
    f"kernel.{name}"
    for name in (
        "msgmax",
        "msgmnb",
        "msgmni",
        "sem",
        "shmall",
        "shmmax",
        "shmmni",
        "shm_rmid_forced",
    )
)

#: Sharing words: (what it is called, the flag of the namespace).
_NAMESPACES = {
    "network": CLONE_NEWNET,
    "ipc": CLONE_NEWIPC,
    "pid": CLONE_NEWPID,
    "uts": CLONE_NEWUTS,
}
_OWN = ("", "private", "shareable", "none")


def rlimits(config: ContainerConfig) -> list[list[int | str]]:
    """[resource, soft, hard, name] each; "" is a default that nobody asked for.

    Raises UsageError.
    """
    found: dict[int, list[int | str]] = {_NOFILE[0]: [*_NOFILE, ""]}
    for each in config.ulimits:
        number = _RLIMITS.get(each.name.lower().removeprefix("rlimit_"))
        if number is None:
            raise UsageError(
                f'there is no resource limit "{each.name}"',
                hint=f"these are: {', '.join(_RLIMITS)}",
            )
        soft, hard = _limit(each.soft), _limit(each.hard)
        if soft > hard:
            raise UsageError(f"the soft limit of {each.name} is above its hard limit")
        found[number] = [number, soft, hard, each.name]
    return list(found.values())


def _limit(value: int) -> int:
    return _INFINITY if value < 0 else value


def sysctls(config: ContainerConfig) -> list[list[str]]:
    """[name, value] each, names with dots. Raises UsageError for what belongs to the machine."""
    found = []
    for name, value in config.sysctls.items():
        dotted = name.replace("/", ".")
        if dotted in _IPC_SYSCTLS or dotted.startswith("fs.mqueue."):
            own = sharing(config, "ipc") in _OWN
        elif dotted.startswith("net."):
            own = sharing(config, "network") in _OWN
        else:
            raise UsageError(
                f'sysctl "{name}" belongs to the machine, not to a container',
                hint="allowed are net.*, fs.mqueue.*, kernel.shm*, kernel.msg* and kernel.sem",
            )
        if not own:
            raise UsageError(
                f'sysctl "{name}" would change a namespace that is not the container\'s own'
            )
        if ".." in dotted:
            raise UsageError(f'"{name}" is no sysctl')
        found.append([dotted, value])
    return found


def device_rules(config: ContainerConfig) -> tuple[str, ...]:
    """Control group rules for the devices that were asked for. Raises ContainerError."""
    rules = [check_rule(rule) for rule in config.device_cgroup_rules]
    for device in config.devices:
        for path, _ in device_nodes(device):
            status = os.stat(path)
            kind = "b" if stat.S_ISBLK(status.st_mode) else "c"
            numbers = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
            rules.append(check_rule(f"{kind} {numbers} {device.permissions}"))
    return tuple(dict.fromkeys(rules))


def device_nodes(device: Device) -> Iterator[tuple[str, str]]:
    """(node on the host, target in the container); a directory stands for all nodes in it."""
    hint = "correct it in devices (--device), or load the driver that makes it"
    try:
        status = os.stat(device.source)
    except OSError as error:
        raise ContainerError(f"device {device.source}: {error.strerror}", hint=hint) from None
    target = device.target or device.source
    if stat.S_ISDIR(status.st_mode):
        for name in sorted(os.listdir(device.source)):
            inner = f"{device.source}/{name}"
            mode = os.stat(inner).st_mode
            if stat.S_ISBLK(mode) or stat.S_ISCHR(mode):
                yield inner, f"{target}/{name}"
    elif stat.S_ISBLK(status.st_mode) or stat.S_ISCHR(status.st_mode):
        yield device.source, target
    else:
        raise ContainerError(f"device {device.source} is no device", hint=hint)


def sharing(config: ContainerConfig, kind: str) -> str:
    """ "network", "ipc", "pid" or "uts" of a configuration: "host", "service:x", ... or own."""
    words = {
        "network": config.network_mode,
        "ipc": config.ipc,
        "pid": config.pid,
        "uts": config.uts,
    }
    return words[kind]


def partners(config: ContainerConfig) -> dict[str, str]:
    """Namespace -> whose it is ("service:x", "container:y"), for those that are another's."""
    return {
        kind: sharing(config, kind)
        for kind in _NAMESPACES
        if sharing(config, kind).startswith(("service:", "container:"))
    }


def namespaces(config: ContainerConfig) -> int:
    """CLONE_NEW* flags of the namespaces that the container gets for itself."""
    flags = 0
    for kind, flag in _NAMESPACES.items():
        word = sharing(config, kind)
        if word != "host" and not word.startswith(("service:", "container:")):
            flags |= flag
    return flags


def flag(kind: str) -> int:
    return _NAMESPACES[kind]
