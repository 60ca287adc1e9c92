"""The OCI config of an image as the engine's defaults for a container.

Images are foreign: what has the wrong type is left out or refused, nothing of
the host's environment gets in (an Env entry without "=" is dropped).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from stackctl.errors import ImageError
from stackctl.model.container import HealthCheck
from stackctl.model.image import ImageConfig

_NANO = 1e9


def image_config(document: Mapping[str, Any]) -> ImageConfig:
    """`document` is the whole config blob. Raises ImageError."""
    raw = document.get("config") or document.get("container_config") or {}
    if not isinstance(raw, dict):
        raise ImageError("the image's config is no object")
    return ImageConfig(
        entrypoint=_words(raw, "Entrypoint"),
        command=_words(raw, "Cmd"),
        env=tuple(entry for entry in _words(raw, "Env") if "=" in entry.lstrip("=")),
        working_dir=_text(raw, "WorkingDir") or "/",
        user=_text(raw, "User"),
        labels={str(k): str(v) for k, v in _mapping(raw, "Labels").items()},
        volumes=tuple(sorted(_mapping(raw, "Volumes"))),
        exposed_ports=tuple(sorted(_mapping(raw, "ExposedPorts"))),
        stop_signal=_text(raw, "StopSignal"),
        health=_health(raw.get("Healthcheck")),
    )


def diff_ids(document: Mapping[str, Any]) -> tuple[str, ...]:
    """The digests of the layers' tars, bottom first. Raises ImageError."""
    from stackctl.image.content import digest

    rootfs = document.get("rootfs") or {}
    found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if found is None:
        return ()
    if not isinstance(found, list):
        raise ImageError("the image's config has no list of layers")
    return tuple(digest(entry) for entry in found)


def created_at(document: Mapping[str, Any]) -> float:
    """Unix seconds; 0 when it is unknown."""
    text = document.get("created")
    if not isinstance(text, str):
        return 0.0
    # Go writes nine digits of fraction; more than six digits are not for us.
    text = re.sub(r"(\.\d{6})\d+", r"\1", text)
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _words(raw: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = raw.get(key) or ()
    if isinstance(value, str):
        return ("/bin/sh", "-c", value)
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        if value == ():
            return ()
        raise ImageError(f"the image's {key} is no list of words")
    if any("\0" in word for word in value):
        raise ImageError(f"the image's {key} has a word with a null byte")
    return tuple(value)


def _text(raw: Mapping[str, Any], key: str) -> str:
    value = raw.get(key) or ""
    return value if isinstance(value, str) else str(value)


def _mapping(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = raw.get(key) or {}
    return value if isinstance(value, dict) else {}


def _health(raw: object) -> HealthCheck | None:
    if not isinstance(raw, dict) or not isinstance(raw.get("Test"), list) or not raw["Test"]:
        return None
    kind, *words = (str(word) for word in raw["Test"])
    match kind:
        case "CMD" if words:
            test = tuple(words)
        case "CMD-SHELL" if words:
            test = ("/bin/sh", "-c", *words)
        case _:
            return None
    values: dict[str, Any] = {}
    for key, name in (
        ("Interval", "interval"),
        ("Timeout", "timeout"),
        ("StartPeriod", "start_period"),
        ("StartInterval", "start_interval"),
    ):
        if isinstance(raw.get(key), int | float) and raw[key] > 0:
            values[name] = raw[key] / _NANO
    if isinstance(raw.get("Retries"), int) and raw["Retries"] > 0:
        values["retries"] = raw["Retries"]
    return HealthCheck(test=test, **values)
