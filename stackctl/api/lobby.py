"""Where those who connect to a unix socket wait until they have asked something.

    listening socket -> accepted -> a whole head is there  -> seated: a protocol with its transport
                                    nothing, or a part of it -> waits; one epoll tells of more
                                    ended, late, one too many -> let go

Waiting costs a descriptor and an entry of a table: no task, no transport, no parser and no timer
each. So when thousands connect and say little, who asks something waits for the accepting alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import select
import socket
from collections.abc import Callable
from dataclasses import replace
from itertools import islice

from stackctl.api.http import Limits, refusal
from stackctl.linux.sockets import accept

log = logging.getLogger(__name__)

#: Accepted, and listened to, before others get their turn; let go, which takes more.
_AT_ONCE, _LET_GO = 256, 32
#: Seconds until the next try when the process or the machine has no descriptor left.
_PAUSE = 1.0
#: A head that is longer is read where it can be refused.
_HEAD = 16384
#: Edges: each arrival is told once, and that the other side has ended.
_MASK = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
_ENDED = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR

#: By descriptor, the longest waiting first; since when.
_Row = dict[int, tuple[socket.socket, float]]


class Lobby:
    """Owns a listening socket, from the first moment to `close`."""

    def __init__(
        self, sock: socket.socket, protocol: Callable[[], asyncio.Protocol], limits: Limits
    ) -> None:
        """`sock` does not block. Of `limits` those count that end the waiting for a head.
        Called in a running loop."""
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._protocol = protocol
        self._limits = limits
        self._silent: _Row = {}
        self._begun: _Row = {}
        self._ears = select.epoll()
        self._said = bytearray(_HEAD)
        self._sweeper: asyncio.TimerHandle | None = None
        #: Held: a task that nobody holds may be collected while it runs.
        self._seating: set[asyncio.Task[object]] = set()
        self._loop.add_reader(sock, self._accept)
        self._loop.add_reader(self._ears, self._listen)

    @property
    def occupied(self) -> bool:
        """Somebody was accepted, and has no protocol yet."""
        return bool(self._silent or self._begun or self._seating)

    def hurry(self, seconds: float) -> None:
        """From now on nobody waits longer than this."""
        self._limits = replace(self._limits, idle_seconds=seconds, head_seconds=seconds)
        now = self._loop.time()
        for row in (self._silent, self._begun):
            row.update({number: (sock, now) for number, (sock, _) in row.items()})
        self._arm()

    def close(self) -> None:
        """No more are accepted; those who wait are let go."""
        self._loop.remove_reader(self._sock)
        self._sock.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._loop.remove_reader(self._ears)
        self._ears.close()
        for row in (self._silent, self._begun):
            for sock, _ in row.values():
                sock.close()
            row.clear()

    def _accept(self) -> None:
        now, listener = self._loop.time(), self._sock.fileno()
        for _ in range(_AT_ONCE):
            try:
                number = accept(listener)
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                break
            except OSError as error:
                # It would be ready again at once, and again.
                log.error("cannot accept a client: %s", error)
                self._loop.remove_reader(self._sock)
                self._loop.call_later(_PAUSE, self._resume)
                break
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, number)
            self._silent[number] = (sock, now)
            self._ears.register(number, _MASK)
        self._listen()

    def _resume(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.add_reader(self._sock, self._accept)

    def _listen(self) -> None:
        """Hears those of whom something came, and lets those go who are too many."""
        now = self._loop.time()
        for number, events in self._ears.poll(0, _AT_ONCE):
            row = self._begun if number in self._begun else self._silent
            if number not in row:
                continue
            sock, _ = row[number]
            length = self._peek(sock)
            if self._is_for_the_parser(length):
                del row[number]
                self._ears.unregister(number)
                self._seat(sock)
            elif events & _ENDED or length is None:
                del row[number]
                sock.close()
            elif row is self._silent:
                del row[number]
                self._begun[number] = (sock, now)
        for _ in range(len(self._silent) + len(self._begun) - self._limits.lobby):
            self._longest_waiting().close()
        self._arm()

    def _peek(self, sock: socket.socket) -> int | None:
        """How much has come so far, left where it is; None for an end or an error."""
        try:
            flags = socket.MSG_PEEK | socket.MSG_DONTWAIT
            return sock.recv_into(self._said, _HEAD, flags) or None
        except BlockingIOError:
            return 0
        except OSError:
            return None

    def _is_for_the_parser(self, length: int | None) -> bool:
        """Of what was seen last: a whole head, or what can never become one."""
        if not length:
            return False
        said = self._said
        # As h11 has it: line ends without \r are lines too, and nothing begins with a control.
        whole = said.find(b"\n\r\n", 0, length) >= 0 or said.find(b"\n\n", 0, length) >= 0
        return whole or length == _HEAD or said[0] <= ord(" ")

    def _longest_waiting(self) -> socket.socket:
        """Taken out of its row."""
        rows = [row for row in (self._silent, self._begun) if row]
        row = min(rows, key=lambda row: next(iter(row.values()))[1])
        return row.pop(next(iter(row)))[0]

    def _seat(self, sock: socket.socket) -> None:
        task = self._loop.create_task(self._loop.connect_accepted_socket(self._protocol, sock))
        self._seating.add(task)
        task.add_done_callback(self._seated)

    def _seated(self, task: asyncio.Task[object]) -> None:
        self._seating.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("a client could not be taken on: %s", error)

    # -- deadlines: one timer for all

    def _arm(self) -> None:
        due = [next(iter(row.values()))[1] + seconds for row, seconds in self._patience() if row]
        if not due:
            return
        if self._sweeper is not None:
            if self._sweeper.when() <= min(due):
                return
            self._sweeper.cancel()
        self._sweeper = self._loop.call_at(min(due), self._sweep)

    def _patience(self) -> tuple[tuple[_Row, float], ...]:
        return (
            (self._silent, self._limits.idle_seconds),
            (self._begun, self._limits.head_seconds),
        )

    def _sweep(self) -> None:
        self._sweeper = None
        now = self._loop.time()
        for row, seconds in self._patience():
            for number, (sock, since) in tuple(islice(row.items(), _LET_GO)):
                if since + seconds > now:
                    break
                del row[number]
                if row is self._begun:
                    self._tell(sock)
                sock.close()
        self._arm()

    def _tell(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            # What is left unread would reset the answer away.
            sock.recv_into(self._said, _HEAD, socket.MSG_DONTWAIT)
            sock.send(refusal(408, "the request's head took too long"), socket.MSG_DONTWAIT)
