"""What is gone for good when a container or volume is removed, in words for people. Pure."""

from __future__ import annotations

from stackctl.model.container import Status, VolumeMount
from stackctl.model.record import ContainerRecord

_LAYER = "what it wrote outside of volumes"


def of_container(record: ContainerRecord, *, anonymous_volumes: bool) -> tuple[str, ...]:
    """Its writable layer, if it ever ran and could write; its anonymous volumes, if they go."""
    wrote = record.status is not Status.CREATED and not record.config.read_only
    layer = (_LAYER,) if wrote else ()
    volumes = (
        f"its anonymous volume at {mount.target}"
        for mount in record.config.mounts
        if isinstance(mount, VolumeMount) and mount.anonymous and anonymous_volumes
    )
    return (*layer, *volumes)


def of_volume(name: str) -> tuple[str, ...]:
    return (f"all that is in volume {name}",)
