"""What a service says of mounts that no container can have."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterator

from stackctl.spec import volumes as volume_forms
from stackctl.spec.mistakes import Found, did_you_mean
from stackctl.spec.model import Service
from stackctl.spec.mounts import place_of
from stackctl.spec.nodes import Path
from stackctl.spec.service import ServiceVolume

#: The attributes that are looked at.
ABOUT = ("volumes", "tmpfs")


def mistakes(service: Service, who: str, volumes: Collection[str]) -> Iterator[Found]:
    """All of one service, which messages call `who`; `volumes` are the names of the file's."""
    for i, mount in enumerate(service.volumes):
        for brief, hint in _of_mount(mount, who, volumes):
            yield ("volumes", i), brief, hint
    taken = _targets(service) if service.tmpfs else {}
    for i, spec in enumerate(service.tmpfs):
        target = posixpath.normpath(volume_forms.parse_tmpfs(spec).target)
        if reason := volume_forms.forbidden(target):
            yield ("tmpfs", i), reason, "mount it somewhere else"
        if target in taken:
            brief = f"{who} mounts two things at {target}: the other one is under {taken[target]}"
            yield ("tmpfs", i), brief, "remove one of the two"
        taken[target] = "tmpfs"


def covered(service: Service, who: str) -> Iterator[tuple[Path, str]]:
    """Secrets and configs where something else is as well: where, and what is to be told."""
    taken = _targets(service)
    taken |= {
        posixpath.normpath(volume_forms.parse_tmpfs(s).target): "tmpfs" for s in service.tmpfs
    }
    for field, files in (("secrets", service.secrets), ("configs", service.configs)):
        for i, file in enumerate(files):
            target = place_of(field, file)
            if target in taken:
                brief = f"{who} has two things at {target}, of which one is not seen: the other is"
                yield (field, i), f"{brief} under {taken[target]}"
            taken[target] = field


def _targets(service: Service) -> dict[str, str]:
    return {mount.target: "volumes" for mount in service.volumes}


def _of_mount(
    mount: ServiceVolume, who: str, volumes: Collection[str]
) -> Iterator[tuple[str, str]]:
    for other in ("bind", "volume", "tmpfs", "image"):
        if other != mount.type and getattr(mount, other) is not None:
            yield f'"{other}" options on a mount of type {mount.type}', ""
    if reason := volume_forms.forbidden(mount.target):
        yield reason, "mount it somewhere else"
    within = mount.image if mount.type == "image" else mount.volume
    subpath = within.subpath if within else None
    if subpath and volume_forms.leads_out(subpath):
        yield (
            f'subpath "{subpath}" leads out of the {mount.type}',
            f"it is relative to the {mount.type}, and stays within it",
        )
    match mount.type:
        case "bind" if not mount.source:
            yield f"the bind mount on {mount.target} has no source", ""
        case "image" if not mount.source:
            yield f"the image mount on {mount.target} has no source", ""
        case "tmpfs" if mount.source:
            yield f"the tmpfs on {mount.target} cannot have a source", ""
        case "volume" if mount.source and mount.source not in volumes:
            yield (
                f'{who} uses volume "{mount.source}", which is not defined',
                did_you_mean(mount.source, volumes)
                or "define it under the top-level volumes:, "
                f'or write "./{mount.source}" for a host path',
            )
