"""`--change` of import and commit: a few Dockerfile instructions applied to a config."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from stackctl.errors import UsageError


def apply_changes(config: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """A config (Docker's keys) with the instructions applied. Raises UsageError."""
    made = dict(config)
    for text in changes:
        word, _, rest = text.strip().partition(" ")
        _apply(made, word.upper(), rest.strip(), text)
    return made


def _apply(config: dict[str, Any], word: str, rest: str, text: str) -> None:
    match word:
        case "CMD":
            config["Cmd"] = _command(rest)
        case "ENTRYPOINT":
            config["Entrypoint"] = _command(rest)
        case "ENV":
            pairs = _pairs(rest, text)
            kept = [e for e in config.get("Env") or () if e.partition("=")[0] not in pairs]
            config["Env"] = [*kept, *(f"{key}={value}" for key, value in pairs.items())]
        case "LABEL":
            config["Labels"] = {**(config.get("Labels") or {}), **_pairs(rest, text)}
        case "EXPOSE":
            ports: dict[str, Any] = {
                port if "/" in port else f"{port}/tcp": {} for port in rest.split()
            }
            config["ExposedPorts"] = {**(config.get("ExposedPorts") or {}), **ports}
        case "VOLUME":
            paths = _command(rest) if rest.startswith("[") else shlex.split(rest)
            volumes: dict[str, Any] = {path: {} for path in paths}
            config["Volumes"] = {**(config.get("Volumes") or {}), **volumes}
        case "USER":
            config["User"] = rest
        case "WORKDIR":
            config["WorkingDir"] = rest
        case "STOPSIGNAL":
            config["StopSignal"] = rest
        case _:
            raise UsageError(
                f"--change {text!r} is not possible",
                hint="CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR are",
            )


def _command(text: str) -> list[str]:
    if text.startswith("["):
        try:
            words = json.loads(text)
        except ValueError:
            words = None
        if isinstance(words, list) and all(isinstance(word, str) for word in words):
            return words
    return ["/bin/sh", "-c", text]


def _pairs(rest: str, text: str) -> dict[str, str]:
    try:
        words = shlex.split(rest)
    except ValueError as error:
        raise UsageError(f"--change {text!r}: {error}") from None
    if words and "=" not in words[0]:
        return {words[0]: " ".join(words[1:])}
    if not all("=" in word for word in words):
        raise UsageError(f"--change {text!r} has a word without =")
    return dict(word.split("=", 1) for word in words)
