"""What containers have of others' mounts: lent to them (`volumes_from`), or inherited from the
one whose place they take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from posixpath import normpath

from stackctl.model.container import ContainerConfig, Mount, TmpfsMount, VolumeMount
from stackctl.model.sockets import DOCKER_SOCKETS

#: Where a service that asks for the engine's socket has it.
SOCKET = DOCKER_SOCKETS[0]

#: Mounts by normalised target.
Mounts = Mapping[str, Mount]


def target(mount: Mount) -> str:
    return normpath(mount.target)


def by_target(mounts: Iterable[Mount]) -> dict[str, Mount]:
    return {target(mount): mount for mount in mounts}


def inherited(config: ContainerConfig, former: ContainerConfig) -> tuple[Mount, ...]:
    """Its own mounts, with the anonymous volumes that the one before had at the same targets."""
    volumes = {
        target(mount): mount.volume
        for mount in former.mounts
        if isinstance(mount, VolumeMount) and mount.anonymous
    }
    return tuple(
        replace(mount, volume=volumes[target(mount)])
        if isinstance(mount, VolumeMount) and mount.anonymous and target(mount) in volumes
        else mount
        for mount in config.mounts
    )


def lenders(config: ContainerConfig) -> list[tuple[str, bool]]:
    """The containers whose mounts it has: (name, whether it may only read)."""
    parts = (text.partition(":") for text in config.volumes_from)
    return [(name, mode == "ro") for name, _, mode in parts]


def borrowed(config: ContainerConfig, mounts_of: Callable[[str], Mounts]) -> dict[str, Mount]:
    """All that it has from others, given what each of them mounts and lends (see `lent`).

    Own targets hide others'. Of two lenders the later one wins.
    """
    found: dict[str, Mount] = {}
    for name, read_only in lenders(config):
        for place, mount in mounts_of(name).items():
            found[place] = replace(mount, read_only=True) if read_only else mount
    own = hidden(config)
    return {place: mount for place, mount in found.items() if place not in own}


def hidden(config: ContainerConfig) -> set[str]:
    """Targets of its own: what others mount there it does not see."""
    return {target(mount) for mount in config.mounts} | _private(config)


def lent(config: ContainerConfig, mounts: Mounts) -> dict[str, Mount]:
    """What others get of a container's `mounts`: secrets, configs and the engine's socket stay
    its own, and a tmpfs cannot be shared."""
    private = _private(config)
    return {
        place: mount
        for place, mount in mounts.items()
        if place not in private and not isinstance(mount, TmpfsMount)
    }


def _private(config: ContainerConfig) -> set[str]:
    return {normpath(file.target) for file in config.files} | {SOCKET}
