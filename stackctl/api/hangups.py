"""Tells a client that went away from one that only has no more to say.

Reading gives end-of-input in both cases. EPOLLHUP is only raised when both
directions are shut, and is reported without being asked for, so an epoll set
with empty masks wakes the loop exactly then (epoll_ctl(2)). One descriptor for
all connections.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable


class Hangups:
    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, Callable[[], None]] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._epoll.fileno(), self._wake)

    def watch(self, fd: int, gone: Callable[[], None]) -> None:
        """Calls `gone` once when the other end of the stream socket `fd` is closed entirely."""
        if fd not in self._watched:
            self._epoll.register(fd, 0)
        self._watched[fd] = gone

    def forget(self, fd: int) -> None:
        """Before the descriptor is closed, or when nobody cares any more."""
        if self._watched.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def close(self) -> None:
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        self._watched.clear()

    def _wake(self) -> None:
        for fd, _ in self._epoll.poll(0):
            gone = self._watched.get(fd)
            self.forget(fd)
            if gone is not None:
                gone()
