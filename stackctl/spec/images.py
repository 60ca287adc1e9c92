"""Images that a service needs besides its own: of its hooks, and those that it mounts."""

from __future__ import annotations

from collections.abc import Iterator

from stackctl.spec.service import Service


def further(service: Service) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Where in the service it is named, and its name."""
    for i, hook in enumerate(service.pre_start):
        if hook.image:
            yield ("pre_start", i, "image"), hook.image
    for i, mount in enumerate(service.volumes):
        if mount.type == "image" and mount.source:
            yield ("volumes", i, "source"), mount.source
