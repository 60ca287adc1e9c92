"""One thread, one epoll, and timers: all that the keeper waits for."""

from __future__ import annotations

import heapq
import itertools
import select
import time
from collections.abc import Callable

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
#: Told whether one waits for it or not.
HANGUP = select.EPOLLHUP | select.EPOLLERR
Callback = Callable[[int], None]
#: Failures of one descriptor's call-back until it is left alone.
_PATIENCE = 100


class Timer:
    """A call in the future; `cancel` makes it never happen."""

    __slots__ = ("call", "when")

    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self.when = when
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class Loop:
    """Calls back with the event mask when a descriptor is ready (level triggered).

    `on_error` is told of an exception that a call-back let through; the loop goes on.
    """

    def __init__(self, on_error: Callable[[Exception], None]) -> None:
        self._epoll = select.epoll()
        #: Writes down what nobody can be answered.
        self.tell = on_error
        self._failures: dict[int, int] = {}
        self._calls: dict[int, Callback] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._count = itertools.count()
        self.is_running = False

    def watch(self, fd: int, events: int, call: Callback) -> None:
        self._calls[fd] = call
        self._epoll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Call it before the descriptor is closed."""
        self._failures.pop(fd, None)
        if self._calls.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        timer = Timer(time.monotonic() + seconds, call)
        heapq.heappush(self._timers, (timer.when, next(self._count), timer))
        return timer

    def run(self) -> None:
        """Until `stop`."""
        self.is_running = True
        poll, calls = self._epoll.poll, self._calls
        while self.is_running:
            for fd, events in poll(self._next_wait()):
                call = calls.get(fd)
                # An earlier call of this round may have closed it.
                if call is None:
                    continue
                try:
                    call(events)
                except Exception as error:
                    self._failed(fd, error)
            if self._timers:
                self._run_timers()

    def _failed(self, fd: int, error: Exception) -> None:
        """A bug met by one client must not end the service for all the others."""
        self.tell(error)
        self._failures[fd] = self._failures.get(fd, 0) + 1
        if self._failures[fd] > _PATIENCE:
            # It would be ready, and fail, for ever.
            self.forget(fd)

    def stop(self) -> None:
        self.is_running = False

    def _next_wait(self) -> float | None:
        while self._timers and self._timers[0][2].call is None:
            heapq.heappop(self._timers)
        if not self._timers:
            return None
        return max(0.0, self._timers[0][0] - time.monotonic())

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            if timer.call is None:
                continue
            try:
                timer.call()
            except Exception as error:
                self.tell(error)
