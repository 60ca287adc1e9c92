"""How a container ended, or that it lives: what the runtime tells the engine."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from stackctl.model.record import ProcessRef
from stackctl.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitInfo:
    """`exit_code` None: honestly unknown, `error` says why. `signal` 0: it exited by itself."""

    container_id: str
    exit_code: int | None
    signal: int = 0
    oom_killed: bool = False
    finished_at: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alive:
    process: ProcessRef
    paused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """Its shim was killed, or the machine was rebooted; nothing of it is left."""

    container_id: str


def from_message(raw: dict[str, Any], *, oom_killed: bool) -> ExitInfo:
    """From a shim's message or its exit.json."""
    return ExitInfo(
        container_id=raw["id"],
        exit_code=int(raw["exit_code"]),
        signal=int(raw["signal"]),
        oom_killed=oom_killed,
        finished_at=float(raw["finished_at"]),
        error=str(raw["error"]),
    )


def unknown(container_id: str) -> ExitInfo:
    return ExitInfo(
        container_id=container_id,
        exit_code=None,
        finished_at=time.time(),
        error="its supervisor was killed; the exit code is unknown",
    )


def read(path: Path) -> dict[str, Any] | None:
    """exit.json as the shim wrote it; None when there is none or it is damaged."""
    try:
        raw = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return raw if isinstance(raw, dict) and "exit_code" in raw else None
