"""What the daemon's process asks of the engine in it, and when it may leave by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Service(Protocol):
    """The engine, as the process that holds it sees it."""

    def is_idle(self) -> bool:
        """Nothing runs and nothing is under way."""
        ...

    async def close(self) -> None:
        """Leaves; containers, their names and their ports go on."""
        ...


class Front(Protocol):
    """What answers callers (stackctl.api.server.Server)."""

    async def start(self) -> None:
        """Begins to answer. Raises MachineError."""
        ...

    async def close(self) -> None:
        """Ends: nobody is answered any more when it returns."""
        ...


class Timer(Protocol):
    def cancel(self) -> None: ...


class IdleTimer:
    """Calls `leave` once nobody has called, and nothing has run, for `seconds`.

    Looks at the engine only when its time is up: a container that ends meanwhile
    costs nothing, and the engine stays at most one period longer.
    """

    def __init__(
        self,
        seconds: float,
        is_idle: Callable[[], bool],
        leave: Callable[[], None],
        call_later: Callable[[float, Callable[[], None]], Timer],
    ) -> None:
        self._seconds = seconds
        self._is_idle = is_idle
        self._leave = leave
        self._call_later = call_later
        self._timer: Timer | None = None
        self._busy = 0

    def begin(self) -> None:
        self._arm()

    def busy_changed(self, count: int) -> None:
        """How many requests are being answered now."""
        self._busy = count
        self.cancel()
        if not count:
            self._arm()

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._timer = self._call_later(self._seconds, self._due)

    def _due(self) -> None:
        self._timer = None
        if self._busy:
            return
        if self._is_idle():
            self._leave()
        else:
            self._arm()
