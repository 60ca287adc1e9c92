"""Who asks: the environment that counts for a request, and how a transfer tells its progress."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stackctl.daemon.carried import is_carried
from stackctl.daemon.jobs import Emit
from stackctl.image.service import Caller

if TYPE_CHECKING:
    from stackctl.image.registry.pull import LayerProgress


def caller(body: Mapping[str, Any], emit: Emit) -> Caller:
    """Credentials, proxies and registries are looked up in the caller's environment."""

    def tell(reference: str, progress: LayerProgress) -> None:
        emit(
            {
                "type": "layer",
                "image": reference,
                "layer": progress.digest.removeprefix("sha256:")[:12],
                "state": progress.state,
                "current": progress.current,
                "total": progress.total,
            }
        )

    if body.get("quiet_pull"):
        return Caller(environment=environment(body))
    project = body.get("project")
    elsewhere = isinstance(project, dict) and is_carried(project)
    uploads = body.get("uploads") or {} if elsewhere else body.get("uploads")
    return Caller(environment=environment(body), on_progress=tell, uploads=uploads)


def environment(body: Mapping[str, Any]) -> dict[str, str]:
    """That of the request, or the daemon's own."""
    project = body.get("project")
    raw = project.get("environment") if isinstance(project, dict) else body.get("environment")
    if not isinstance(raw, dict):
        return dict(os.environ)
    found = {str(key): str(value) for key, value in raw.items()}
    if isinstance(project, dict) and is_carried(project):
        # Its home is not on this machine, whatever has the same path here.
        found["DOCKER_CONFIG"] = "/nonexistent"
    return found
