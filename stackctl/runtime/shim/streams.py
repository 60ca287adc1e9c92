"""A container's output: read once, logged, copied to whoever is attached.

    process --pipe or pty--> Output --> LogWriter
                                   `--> Attacher ... (a unix socket each)

An attacher that does not read fills its bounded buffer; then this container's
output is left in its pipe until there is room. No other container notices.
"""

from __future__ import annotations

import _socket
import os
import time

from stackctl.runtime.shim.logs import LogWriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READ_SIZE = 65536
#: Bytes that wait for one attacher before the container has to.
BUFFER_LIMIT = 262144
STDOUT, STDERR = 1, 2
_NAMES = {STDOUT: "stdout", STDERR: "stderr"}

EPOLLIN, EPOLLOUT, EPOLLHUP = 1, 4, 16


class Poller:
    """What streams need of the shim's loop: callbacks by descriptor."""

    def watch(self, fd: int, events: int, callback: Callable[[int], object]) -> None:
        raise NotImplementedError

    def change(self, fd: int, events: int) -> None:
        raise NotImplementedError

    def unwatch(self, fd: int) -> None:
        raise NotImplementedError


class Attacher:
    """One attached client: raw bytes with a terminal, else Docker's frames."""

    __slots__ = ("_closing", "_framed", "_outputs", "_pending", "_poller", "_waiting", "sock")

    def __init__(
        self, sock: _socket.socket, poller: Poller, outputs: Outputs, *, framed: bool
    ) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._poller = poller
        self._outputs = outputs
        self._framed = framed
        self._pending = bytearray()
        self._closing = False
        self._waiting = False
        # Nothing is ever read from it: this tells when the other side has gone.
        poller.watch(sock.fileno(), EPOLLIN, self._ready)

    @property
    def is_full(self) -> bool:
        return len(self._pending) > BUFFER_LIMIT

    def give(self, stream: int, data: bytes) -> None:
        if self._framed:
            self._pending += bytes((stream, 0, 0, 0)) + len(data).to_bytes(4, "big")
        self._pending += data
        self._flush()

    def finish(self) -> None:
        """Close as soon as everything was delivered."""
        self._closing = True
        self._flush()

    def _ready(self, events: int) -> None:
        if events & ~EPOLLOUT:
            try:
                gone = not self.sock.recv(4096)
            except BlockingIOError:
                gone = False
            except OSError:
                gone = True
            if gone:
                self.close()
                return
        self._flush()

    def _flush(self) -> None:
        try:
            while self._pending:
                sent = self.sock.send(self._pending[:READ_SIZE], _socket.MSG_NOSIGNAL)
                del self._pending[:sent]
        except BlockingIOError:
            if not self._waiting:
                self._waiting = True
                self._poller.change(self.sock.fileno(), EPOLLIN | EPOLLOUT)
            self._outputs.resume()
            return
        except OSError:
            self.close()
            return
        if self._closing:
            self.close()
            return
        if self._waiting:
            self._waiting = False
            self._poller.change(self.sock.fileno(), EPOLLIN)
        self._outputs.resume()

    def close(self) -> None:
        if self.sock.fileno() < 0:
            return
        self._poller.unwatch(self.sock.fileno())
        self.sock.close()
        self._pending.clear()
        self._outputs.forget(self)


class Outputs:
    """The reading ends of one container's output."""

    __slots__ = ("_attachers", "_fds", "_log", "_poller", "_stalled", "framed")

    def __init__(self, poller: Poller, log: LogWriter, *, framed: bool) -> None:
        self._poller = poller
        self._log = log
        self._fds: dict[int, int] = {}
        self._attachers: list[Attacher] = []
        self._stalled = False
        self.framed = framed

    def add(self, fd: int, stream: int) -> None:
        """Take over `fd` (non-blocking from now on)."""
        os.set_blocking(fd, False)
        self._fds[fd] = stream
        self._poller.watch(fd, EPOLLIN, lambda _: self._read(fd))

    def attach(self, sock: _socket.socket) -> None:
        self._attachers.append(Attacher(sock, self._poller, self, framed=self.framed))

    def forget(self, attacher: Attacher) -> None:
        if attacher in self._attachers:
            self._attachers.remove(attacher)
        self.resume()

    def resume(self) -> None:
        """Read again, unless somebody is still behind."""
        if self._stalled and not any(a.is_full for a in self._attachers):
            self._stalled = False
            for fd in self._fds:
                self._poller.change(fd, EPOLLIN)

    def drain(self) -> None:
        """The process has ended: take what is in the pipes, then close everything."""
        for fd in list(self._fds):
            while fd in self._fds and self._read(fd):
                pass
            if fd in self._fds:
                self._close(fd)
        self._log.finish(time.time_ns())
        for attacher in list(self._attachers):
            attacher.finish()

    def _read(self, fd: int) -> bool:
        """One piece; False when there was none."""
        try:
            data = os.read(fd, READ_SIZE)
        except BlockingIOError:
            return False
        except OSError:  # EIO: the last user of the terminal has gone
            data = b""
        if not data:
            self._close(fd)
            return False
        stream = self._fds[fd]
        self._log.feed(_NAMES[stream], data, time.time_ns())
        for attacher in list(self._attachers):
            attacher.give(stream, data)
        if not self._stalled and any(a.is_full for a in self._attachers):
            self._stalled = True
            for each in self._fds:
                self._poller.change(each, 0)
        return True

    def _close(self, fd: int) -> None:
        self._poller.unwatch(fd)
        del self._fds[fd]
        os.close(fd)
