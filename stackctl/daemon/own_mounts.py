"""What one container mounts: volumes it inherits and has made, host paths it binds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from stackctl.daemon.volumes import Volumes
from stackctl.errors import ContainerError, MachineError, NotFound
from stackctl.image.service import Images
from stackctl.model.container import BindMount, ContainerConfig, ImageMount, Mount, VolumeMount
from stackctl.model.network import VolumeConfig
from stackctl.model.record import ContainerRecord

#: Where Docker's socket is looked for.
_SOCKETS = ("/var/run/docker.sock", "/run/docker.sock")


async def settled(
    config: ContainerConfig, former: ContainerRecord | None, images: Images, *, renew: bool
) -> tuple[Mount, ...]:
    """The mounts as they stay: with the anonymous volumes of the container that it replaces,
    by target (as compose does; not with `renew`), and with the images that names mean now.

    Raises NotFound.
    """
    found = config.mounts if former is None or renew else _inherited(config, former)
    return tuple(
        [
            replace(mount, image_id=(await images.resolve(mount.image)).id)
            if isinstance(mount, ImageMount) and not mount.image_id
            else mount
            for mount in found
        ]
    )


def _inherited(config: ContainerConfig, former: ContainerRecord) -> tuple[Mount, ...]:
    volumes = {
        mount.target: mount.volume
        for mount in former.config.mounts
        if isinstance(mount, VolumeMount) and mount.anonymous
    }
    return tuple(
        replace(mount, volume=volumes[mount.target])
        if isinstance(mount, VolumeMount) and mount.anonymous and mount.target in volumes
        else mount
        for mount in config.mounts
    )


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


def make_bind_sources(config: ContainerConfig) -> None:
    """Make missing host directories where that is wanted. ContainerError, MachineError."""
    for mount in config.mounts:
        if not isinstance(mount, BindMount) or Path(mount.source).exists():
            continue
        if not mount.create_host_path:
            kind = "service" if config.service else "container"
            raise ContainerError(
                f'{kind} "{config.service or config.name}": the bind source '
                f"{mount.source} does not exist",
                hint="make it, or correct the path under `volumes`",
            )
        if mount.source in _SOCKETS:
            # A directory there would keep dockerd, and our own link, from ever having it.
            raise ContainerError(
                f'"{config.service or config.name}": there is no socket {mount.source} to mount',
                hint="`use_api_socket: true` gives a service this engine's, and "
                "`stackctl daemon --docker-socket PATH` puts it there for everybody",
            )
        try:
            Path(mount.source).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MachineError(
                f"cannot make the bind source {mount.source}: {error.strerror}"
            ) from error
