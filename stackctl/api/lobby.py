"""Where those who connect to a unix socket wait to be seated.

    listening socket -> accept -> the whole head is there -> seated at once
                                  nothing                  -> as soon as something comes, or
                                  a part of it             -> later, some a turn

Accepting costs a fiftieth of what a protocol with its transport costs. When thousands connect
and say little, who asks something waits for the accepting alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import select
import socket
from collections.abc import Callable

log = logging.getLogger(__name__)

#: Accepted, and seated of those who can wait, before others get their turn.
_ACCEPTED, _SEATED = 256, 4
#: Seconds until the next try when the process or the machine has no descriptor left.
_PAUSE = 1.0
_HEAD = 16384


class Lobby:
    """Owns a listening socket, from the first moment to `close`."""

    def __init__(
        self, sock: socket.socket, protocol: Callable[[], asyncio.Protocol], most: int
    ) -> None:
        """`sock` does not block. Beyond `most` the longest waiting are let go. Called in a
        running loop."""
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._protocol = protocol
        self._most = most
        #: By descriptor, the longest waiting first.
        self._queue: dict[int, socket.socket] = {}
        #: Tells of those who have said nothing, once each.
        self._silent = select.epoll()
        self._turn: asyncio.Handle | None = None
        #: Held: a task that nobody holds may be collected while it runs.
        self._seating: set[asyncio.Task[object]] = set()
        self._loop.add_reader(sock, self._accept)
        self._loop.add_reader(self._silent, self._heard)

    @property
    def occupied(self) -> bool:
        """Somebody was accepted, and has no protocol yet."""
        return bool(self._queue or self._seating)

    def close(self) -> None:
        """No more are accepted; those who wait are let go."""
        self._loop.remove_reader(self._sock)
        self._sock.close()
        if self._turn is not None:
            self._turn.cancel()
        self._loop.remove_reader(self._silent)
        self._silent.close()
        for one in self._queue.values():
            one.close()
        self._queue.clear()

    def _accept(self) -> None:
        came = []
        for _ in range(_ACCEPTED):
            try:
                came.append(self._sock.accept()[0])
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                break
            except OSError as error:
                # It would be ready again at once, and again.
                log.error("cannot accept a client: %s", error)
                self._loop.remove_reader(self._sock)
                self._loop.call_later(_PAUSE, self._resume)
                break
        crowded = bool(self._queue) or len(came) > _SEATED
        for one in came:
            one.setblocking(False)
            if crowded:
                self._sort(one)
            else:
                self._seat(one)
        while len(self._queue) > self._most:
            self._next().close()
        self._go_on()

    def _sort(self, one: socket.socket) -> None:
        said = _said(one)
        if said is None or _is_whole(said):
            self._seat(one)
            return
        self._queue[one.fileno()] = one
        if not said:
            self._silent.register(one, select.EPOLLIN | select.EPOLLET)

    def _heard(self) -> None:
        """From those who had said nothing: nearly all clients say all at once."""
        for descriptor, _ in self._silent.poll(0, _ACCEPTED):
            self._silent.unregister(descriptor)
            said = _said(self._queue[descriptor])
            if said is None or _is_whole(said):
                self._seat(self._queue.pop(descriptor))

    def _next(self) -> socket.socket:
        descriptor = next(iter(self._queue))
        with contextlib.suppress(FileNotFoundError):
            self._silent.unregister(descriptor)
        return self._queue.pop(descriptor)

    def _resume(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.add_reader(self._sock, self._accept)

    def _go_on(self) -> None:
        if self._queue and self._turn is None:
            self._turn = self._loop.call_soon(self._seat_some)

    def _seat_some(self) -> None:
        self._turn = None
        for _ in range(min(_SEATED, len(self._queue))):
            self._seat(self._next())
        self._go_on()

    def _seat(self, sock: socket.socket) -> None:
        task = self._loop.create_task(self._loop.connect_accepted_socket(self._protocol, sock))
        self._seating.add(task)
        task.add_done_callback(self._seated)

    def _seated(self, task: asyncio.Task[object]) -> None:
        self._seating.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("a client could not be taken on: %s", error)


def _said(sock: socket.socket) -> bytes | None:
    """What has come so far, left where it is; None for an end or an error."""
    try:
        return sock.recv(_HEAD, socket.MSG_PEEK) or None
    except BlockingIOError:
        return b""
    except OSError:
        return None  # it is told when it is read


def _is_whole(said: bytes) -> bool:
    return b"\r\n\r\n" in said or len(said) == _HEAD
