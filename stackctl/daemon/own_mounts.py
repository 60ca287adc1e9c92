"""What one container mounts: volumes it inherits and has made, host paths it binds.

A host path may be on a mount whose server has gone: paths are looked at apart.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from stackctl.daemon.apart import apart
from stackctl.daemon.jobs import warn
from stackctl.daemon.volumes import Volumes
from stackctl.errors import ContainerError, MachineError, NotFound
from stackctl.image.service import Images
from stackctl.model import lending
from stackctl.model.container import BindMount, ContainerConfig, ImageMount, Mount, VolumeMount
from stackctl.model.network import VolumeConfig
from stackctl.model.record import ContainerRecord
from stackctl.model.sockets import DOCKER_SOCKETS


async def settled(
    config: ContainerConfig,
    former: ContainerRecord | None,
    images: Images,
    socket: Path,
    renew: bool,
) -> tuple[Mount, ...]:
    """The mounts as they stay: with the anonymous volumes of the container that it replaces,
    by target (as compose does; not with `renew`), with the images that names mean now, and
    with the engine's `socket` where Docker's is asked for and there is none.

    Raises NotFound.
    """
    found = config.mounts if former is None or renew else lending.inherited(config, former.config)
    binds = [mount.source for mount in found if isinstance(mount, BindMount)]
    sockets = await apart(partial(_sockets, binds, socket)) if binds else {}
    settled: list[Mount] = []
    for mount in found:
        if isinstance(mount, ImageMount) and not mount.image_id:
            mount = replace(mount, image_id=(await images.resolve(mount.image)).id)
        elif isinstance(mount, BindMount) and mount.source in sockets:
            if not config.service and not sockets[mount.source]:  # the stack's has a place
                warn(f"no Docker is at {mount.source}: this engine's socket is mounted")
            mount = replace(mount, source=str(socket), create_host_path=False)
        settled.append(mount)
    return tuple(settled)


def _sockets(sources: Iterable[str], socket: Path) -> dict[str, bool]:
    """Of these paths those that mean the engine's socket, and whether anything is there.

    By its own or another name (a link, as `--docker-socket` makes it), or by Docker's, when no
    Docker is there. By which name it is admitted (Service.admits) is the record's.
    """
    own = os.path.realpath(socket)
    found = {}
    for source in sources:
        is_there = Path(source).exists()
        if is_there and Path(source).is_socket() and os.path.realpath(source) == own:
            found[source] = True
        elif not is_there and source in DOCKER_SOCKETS:
            found[source] = False
    return found


async def make_volumes(
    volumes: Volumes, record: ContainerRecord, asked: Mapping[str, VolumeConfig]
) -> None:
    """Make the container's volumes that do not exist yet. NotFound for a stack's own."""
    for mount in record.config.mounts:
        if not isinstance(mount, VolumeMount) or volumes.exists(mount.volume):
            continue
        # Only `run -v name:/x` knows of an undeclared volume; docker makes it as well.
        if not mount.anonymous and record.config.project and not record.config.oneoff:
            raise NotFound(f'volume "{mount.volume}" does not exist')
        await volumes.create_for(record.config, mount, asked.get(mount.volume))


async def remove_anonymous(volumes: Volumes, record: ContainerRecord) -> None:
    """Remove its anonymous volumes that nobody else uses."""
    for mount in record.config.mounts:
        if isinstance(mount, VolumeMount) and mount.anonymous:
            await volumes.remove_if_unused(mount.volume)


async def check_bind_sources(config: ContainerConfig) -> None:
    """Whether a start would find all host paths, or may make them. ContainerError."""
    await _binds_apart(_missing, config)


async def make_bind_sources(config: ContainerConfig) -> None:
    """Make missing host directories where that is wanted. ContainerError, MachineError."""
    await _binds_apart(_make, config)


async def _binds_apart(work: Callable[[ContainerConfig], object], config: ContainerConfig) -> None:
    if any(isinstance(mount, BindMount) for mount in config.mounts):
        await apart(partial(work, config))


def _missing(config: ContainerConfig) -> list[str]:
    """The host directories that are to be made. ContainerError for what has to be there."""
    missing: list[str] = []
    for mount in config.mounts:
        if not isinstance(mount, BindMount) or Path(mount.source).exists():
            continue
        if mount.source in missing:
            continue  # another mount's: by then it is there
        if not mount.create_host_path:
            # Of a service, whoever makes or starts it says which.
            who = "" if config.service else f'container "{config.name}": '
            raise ContainerError(
                f"{who}the bind source {mount.source} does not exist",
                hint=f"make it, or correct the path of what is mounted at {mount.target}",
            )
        if mount.source in DOCKER_SOCKETS:
            # It was made when there was one. A directory there would keep dockerd, and our own
            # link, from ever having it.
            raise ContainerError(
                f'"{config.service or config.name}": there is no socket {mount.source} any more',
                hint="made anew (up --force-recreate), the container gets this engine's",
            )
        missing.append(mount.source)
    return missing


def _make(config: ContainerConfig) -> None:
    for source in _missing(config):
        try:
            Path(source).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MachineError(f"cannot make the bind source {source}: {error.strerror}") from error
