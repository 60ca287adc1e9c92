"""The document (OCI image config) of a stage that became an image. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from stackctl.image import base

if TYPE_CHECKING:
    from stackctl.image.build.stage import State


def of(state: State, labels: Mapping[str, str], platform: str) -> dict[str, Any]:
    """All of it but times and history."""
    config = dict(state.settings.config)
    if labels:
        config["Labels"] = {**(config.get("Labels") or {}), **labels}
    system, _, architecture = platform.partition("/")
    found: dict[str, Any] = {
        "architecture": architecture,
        "os": system,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in state.layers]},
    }
    if state.settings.author:
        found["author"] = state.settings.author
    if state.on_host:
        found[base.KEY] = base.HOST
    return found


def date(found: dict[str, Any], state: State, created: float) -> None:
    """Add when it was made (Unix seconds), and its history."""
    found["created"] = _stamp(created)
    found["history"] = [
        {**entry, "created": _stamp(entry.get("created"), created)} for entry in state.history
    ]


def _stamp(moment: object, otherwise: float = 0.0) -> str:
    """RFC 3339; texts of a base's history stay as they are."""
    if isinstance(moment, str):
        return moment
    seconds = moment if isinstance(moment, int | float) and moment else otherwise
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")
    return text.replace("+00:00", "Z").replace(".000000Z", "Z")
