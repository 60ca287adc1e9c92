"""What a container uses, as its control groups tell."""

from __future__ import annotations

from stackctl.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Bytes, seconds; None: the kernel does not say.

    `memory` is without file cache that could go at once, as `docker stats` shows it.
    """

    memory: int | None = None
    memory_limit: int | None = None
    cpu: float | None = None
    cpu_throttled: float | None = None
    pids: int | None = None
    read: int | None = None
    written: int | None = None
