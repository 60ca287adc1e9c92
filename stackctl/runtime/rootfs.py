"""The list of mounts that makes a container's root: pure data, performed by shim/mounts.py.

Order matters: later mounts lie on earlier ones. Nothing here looks at the
machine; targets are paths as the container sees them, sources as the host does.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from stackctl.errors import ContainerError
from stackctl.linux.mount import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
)
from stackctl.model.container import BindMount, ContainerConfig, ImageMount, TmpfsMount, VolumeMount
from stackctl.model.image import DirectoryMount, OverlayMount, RootMount, Snapshot
from stackctl.runtime.settings import device_nodes
from stackctl.values import dataclass

Options = tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """An overlay of host directories, id-mapped; `lower` top first.

    `aside`: not a part of the root, but of something beside it that has this name.
    """

    target: str
    lower: tuple[str, ...]
    upper: str
    work: str
    aside: str = ""
    kind: str = "overlay"


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """A host directory, id-mapped, as a part of the root."""

    target: str
    source: str
    aside: str = ""
    kind: str = "directory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """A host file or directory, id-mapped where its file system can."""

    target: str
    source: str
    read_only: bool = False
    recursive: bool = True
    create: bool = False
    propagation: str = "rprivate"
    #: Not id-mapped: its file system is not one of files with owners that matter.
    plain: bool = False
    optional: bool = False
    kind: str = "bind"


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """What was put together beside the root, or what is below its `subpath`, read-only."""

    target: str
    aside: str
    subpath: str = ""
    kind: str = "aside"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """`target` as the container has it whose IPC namespace is shared."""

    target: str
    kind: str = "shared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A volume's directory; `copy` fills it with what the root has at `target`: an empty one if
    the container is `fresh` (it has never run), one that was being filled at any time.
    """

    target: str
    source: str
    read_only: bool = False
    copy: bool = True
    fresh: bool = True
    subpath: str = ""
    kind: str = "volume"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSystem:
    """A new instance of a file system.

    `kernel`: its target must be no link of the image's; `optional`: a kernel
    that lacks the file system does without.
    """

    target: str
    fstype: str
    options: Options = ()
    attributes: int = 0
    kernel: bool = False
    optional: bool = False
    kind: str = "fs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A device node of the host, bound into the container's /dev."""

    target: str
    source: str
    kind: str = "node"


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """Device nodes that were asked for, made with the host's numbers and modes: (host, target)."""

    nodes: tuple[tuple[str, str], ...]
    target: str = "/dev"
    kind: str = "devices"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostDevices:
    """Every device node of the host, for a privileged container."""

    target: str = "/dev"
    kind: str = "hostdevices"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlGroups:
    """The container's own control groups; `hierarchies` (v1): directory, controllers.

    A kernel that does not let a user namespace mount them does without.
    """

    target: str = "/sys/fs/cgroup"
    version: int = 2
    hierarchies: tuple[tuple[str, tuple[str, ...]], ...] = ()
    read_only: bool = True
    kind: str = "cgroups"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    target: str
    to: str
    kind: str = "symlink"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """Hides `target`; nothing happens when it is not there."""

    target: str
    kind: str = "mask"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOnly:
    """Makes `target` and what lies below read-only; nothing happens when it is not there."""

    target: str
    kind: str = "readonly"


RootfsMount = (
    Overlay
    | Directory
    | Bind
    | Aside
    | Shared
    | Volume
    | FileSystem
    | Node
    | Devices
    | HostDevices
    | ControlGroups
    | Link
    | Mask
    | ReadOnly
)

_NO = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODEV
#: Group "tty", as glibc's grantpt and Docker expect.
_TTY = "5"

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
LINKS = (
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
    ("/dev/core", "/proc/kcore"),
)
#: Docker's present lists.
MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def rootfs(
    snapshot: Snapshot,
    config: ContainerConfig,
    *,
    volumes: Mapping[str, str],
    generated: Mapping[str, str],
    processors: int = 1,
    groups: ControlGroups | None = None,
    fresh: bool = True,
) -> tuple[RootfsMount, ...]:
    """All mounts of a container in order.

    `volumes` are host directories by volume name, `generated` host files by
    target (/etc/hosts ...), `processors` how many the host has; `fresh`: it has never run.
    Raises ContainerError for an unknown volume.
    """
    bare = config.security.privileged or config.security.unmasked
    return (
        *_layers(snapshot),
        *_kernel(config, groups),
        *_devices(config),
        *_by_depth(
            *(Bind(target=t, source=s, recursive=False) for t, s in generated.items()),
            *(
                replace(mount, fresh=fresh) if isinstance(mount, Volume) else mount
                for mount in _user(config, volumes)
            ),
        ),
        *(() if bare else _protections(processors)),
    )


def files_only(
    snapshot: Snapshot, config: ContainerConfig, volumes: Mapping[str, str]
) -> tuple[RootfsMount, ...]:
    """What `cp` sees of a container that does not run: its layers, volumes and binds."""
    return (
        *_layers(snapshot),
        *(
            replace(mount, copy=False) if isinstance(mount, Volume) else mount
            for mount in _by_depth(*_user(config, volumes))
            if isinstance(mount, Volume | Bind | Aside)
        ),
    )


def lowered(mounts: tuple[RootfsMount, ...]) -> list[dict[str, Any]]:
    """As the bundle carries them: no mount has another inside, so that one level is all of it."""
    return [{name: getattr(mount, name) for name in mount.__dataclass_fields__} for mount in mounts]


def _layers(snapshot: Snapshot) -> Iterator[RootfsMount]:
    yield from _parts(snapshot.mounts, "")
    for number, mounts in enumerate(snapshot.mounted):
        yield from _parts(mounts, _aside(number))


def _parts(mounts: Iterable[RootMount], aside: str) -> Iterator[RootfsMount]:
    for mount in mounts:
        match mount:
            case OverlayMount():
                yield Overlay(
                    target=mount.target,
                    lower=mount.lower,
                    upper=mount.upper,
                    work=mount.work,
                    aside=aside,
                )
            case DirectoryMount():
                yield Directory(target=mount.target, source=mount.source, aside=aside)


def _aside(number: int) -> str:
    return f"image{number}"


def _kernel(config: ContainerConfig, groups: ControlGroups | None) -> Iterator[RootfsMount]:
    """A new proc, sysfs or mqueue shows a namespace, and only its owner may mount it.

    A container with ids of its own does not own the host's: there it gets what the host has,
    where its root is nobody.
    """
    own_ids = config.security.userns != "host" and not config.security.privileged
    if config.pid == "host" and own_ids:
        yield Bind(target="/proc", source="/proc", plain=True)
    else:
        yield FileSystem(target="/proc", fstype="proc", attributes=_NO, kernel=True)
    read_only = not config.security.privileged
    if config.network_mode == "host" and own_ids:
        yield Bind(target="/sys", source="/sys", read_only=True, plain=True)
    else:
        attributes = _NO | (MOUNT_ATTR_RDONLY if read_only else 0)
        yield FileSystem(target="/sys", fstype="sysfs", attributes=attributes, kernel=True)
    if config.cgroup == "host":
        yield Bind(
            target="/sys/fs/cgroup", source="/sys/fs/cgroup", read_only=read_only, plain=True
        )
    elif groups is not None:
        yield replace(groups, read_only=read_only)


def _devices(config: ContainerConfig) -> Iterator[RootfsMount]:
    yield FileSystem(
        target="/dev",
        fstype="tmpfs",
        options=(("mode", "0755"), ("size", "64k")),
        attributes=MOUNT_ATTR_NOSUID,
        kernel=True,
    )
    yield FileSystem(
        target="/dev/pts",
        fstype="devpts",
        options=(("mode", "0620"), ("ptmxmode", "0666"), ("gid", _TTY)),
        attributes=MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
    )
    yield from _ipc(config)
    if config.security.privileged:
        yield HostDevices()
    else:
        for name in DEVICES:
            yield Node(target=f"/dev/{name}", source=f"/dev/{name}")
    if config.devices:
        yield Devices(nodes=tuple(n for each in config.devices for n in device_nodes(each)))
    for target, to in LINKS:
        yield Link(target=target, to=to)


def _ipc(config: ContainerConfig) -> Iterator[RootfsMount]:
    if config.ipc == "host":
        yield Bind(target="/dev/shm", source="/dev/shm", plain=True)
        yield Bind(target="/dev/mqueue", source="/dev/mqueue", plain=True, optional=True)
        return
    if config.ipc.startswith(("service:", "container:")):
        yield Shared(target="/dev/shm")
    elif config.ipc != "none":
        yield FileSystem(
            target="/dev/shm",
            fstype="tmpfs",
            options=(("mode", "1777"), ("size", str(config.shm_size))),
            attributes=_NO,
        )
    yield FileSystem(target="/dev/mqueue", fstype="mqueue", attributes=_NO, optional=True)


def _user(config: ContainerConfig, volumes: Mapping[str, str]) -> Iterator[RootfsMount]:
    images = 0
    for mount in config.mounts:
        match mount:
            case BindMount():
                yield Bind(
                    target=mount.target,
                    source=mount.source,
                    read_only=mount.read_only,
                    create=mount.create_host_path,
                    propagation=mount.propagation,
                    recursive=mount.recursive,
                )
            case VolumeMount():
                source = volumes.get(mount.volume)
                if source is None:
                    raise ContainerError(f'volume "{mount.volume}" has no directory')
                yield Volume(
                    target=mount.target,
                    source=source,
                    read_only=mount.read_only,
                    copy=not mount.nocopy and not mount.subpath,
                    subpath=mount.subpath,
                )
            case TmpfsMount():
                yield _tmpfs(mount)
            case ImageMount():
                yield Aside(target=mount.target, aside=_aside(images), subpath=mount.subpath)
                images += 1


def _by_depth(*mounts: RootfsMount) -> list[RootfsMount]:
    """Shallow targets first, so that a mount below another one is not hidden by it."""
    return sorted(mounts, key=lambda mount: posixpath.normpath(mount.target).count("/"))


def _tmpfs(mount: TmpfsMount) -> FileSystem:
    options: list[tuple[str, str | None]] = [("mode", f"{mount.mode or 0o1777:04o}")]
    if mount.size is not None:
        options.append(("size", str(mount.size)))
    options += [
        (name, str(owner))
        for name, owner in (("uid", mount.uid), ("gid", mount.gid))
        if owner is not None
    ]
    attributes = _NO & ~MOUNT_ATTR_NOEXEC if mount.executable else _NO
    return FileSystem(
        target=mount.target,
        fstype="tmpfs",
        options=tuple(options),
        attributes=attributes | (MOUNT_ATTR_RDONLY if mount.read_only else 0),
    )


def _protections(processors: int) -> Iterator[RootfsMount]:
    for number in range(processors):
        yield Mask(target=f"/sys/devices/system/cpu/cpu{number}/thermal_throttle")
    for target in MASKED:
        yield Mask(target=target)
    for target in READ_ONLY:
        yield ReadOnly(target=target)
