"""Questions about other people's names, forwarded to the machine's resolvers.

A query goes on as it came (EDNS and all) but for its id. The first resolver is
asked; when it refuses, fails or is silent for a while the next one is asked too,
and the first good answer wins. SERVFAIL only when all have failed. Every query
has its own socket: a port of its own is half of the protection against forged
answers, the id and the question are the other half.
"""

from __future__ import annotations

import functools
import os
import socket
import time
from collections import Counter
from collections.abc import Callable

from stackctl.net.keeper import codec
from stackctl.net.keeper.codec import Question
from stackctl.net.keeper.loop import READ, WRITE, Loop, Timer

Reply = Callable[[bytes], None]
#: (family, kind) -> a socket that does not block. OSError.
Maker = Callable[[int, int], socket.socket]

#: Seconds of silence after which the next resolver is asked, too.
_PATIENCE = 1.0
#: Seconds after which nobody will answer any more. Clients give up after 5.
_GIVE_UP = 4.5
#: Questions on their way: one container's, all of them, and one's when all are so many.
_MOST_OF_ONE, _MOST, _LEAST_OF_ONE = 512, 2048, 16
_BAD = (codec.SERVFAIL, codec.REFUSED, codec.NOTIMP, codec.FORMERR)


class Resolvers:
    """The addresses in a resolv.conf, read again when the file changes."""

    def __init__(self, path: str = "/etc/resolv.conf") -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._looked = float("-inf")
        self._found: tuple[str, ...] = ()

    def addresses(self) -> tuple[str, ...]:
        now = time.monotonic()
        if now - self._looked < 0.5:
            return self._found
        self._looked = now
        try:
            status = os.stat(self._path)
            stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
            if stamp != self._stamp:
                with open(self._path, encoding="utf-8", errors="replace") as file:
                    self._found = nameservers(file.read())
                self._stamp = stamp
        except OSError:
            self._found, self._stamp = (), None
        return self._found


def nameservers(text: str) -> tuple[str, ...]:
    """The nameserver lines of a resolv.conf (resolv.conf(5))."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            found.append(words[1])
    return tuple(dict.fromkeys(found))


class Forwarder:
    """Forwards queries, many at a time, and no asker's at the expense of the others."""

    def __init__(self, loop: Loop, resolvers: Resolvers, port: int = 53) -> None:
        self._loop = loop
        self._resolvers = resolvers
        self._port = port
        self._pending: Counter[str] = Counter()

    def ask(
        self,
        query: bytes,
        question: Question,
        reply: Reply,
        *,
        asker: str,
        tcp: bool = False,
        servers: tuple[str, ...] = (),
        maker: Maker = socket.socket,
    ) -> None:
        """`reply` is called once, with the answer that carries the query's id.

        `servers` are asked instead of the machine's, by sockets of `maker`.
        """
        asked = servers or self._resolvers.addresses()
        most = _MOST_OF_ONE if self._pending.total() < _MOST else _LEAST_OF_ONE
        if not asked or self._pending[asker] >= most:
            reply(codec.failure(query, question))
            return
        self._pending[asker] += 1
        if len(asked) == 1:
            asked *= 2  # a lost packet is asked for again

        def finish(answer: bytes) -> None:
            self._pending[asker] -= 1
            if not self._pending[asker]:
                del self._pending[asker]
            reply(answer)

        made = _Inquiry(self._loop, query, question, finish, asked, self._port, tcp, maker)
        made.next()


class _Inquiry:
    """One query on its way: sockets that may bring the answer, resolvers not asked yet."""

    def __init__(
        self,
        loop: Loop,
        query: bytes,
        question: Question,
        reply: Reply,
        servers: tuple[str, ...],
        port: int,
        tcp: bool,
        maker: Maker,
    ) -> None:
        self._make = maker
        self._loop, self._reply, self._tcp = loop, reply, tcp
        self._original, self._question = query, question
        self._query = os.urandom(2) + query[2:]
        self._servers = list(servers)
        self._port = port
        self._open: dict[int, socket.socket] = {}
        self._buffers: dict[int, bytearray] = {}
        self._bad_answer = b""
        self._timer: Timer | None = None
        self._end: Timer | None = loop.after(_GIVE_UP, self._give_up)

    def next(self) -> None:
        """Asks the next resolver; with none left and none open it has failed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._servers:
            try:
                self._start(self._servers.pop(0))
            except OSError:
                continue
            if self._servers:
                self._timer = self._loop.after(_PATIENCE, self.next)
            return
        if not self._open:
            self._give_up()

    def _start(self, server: str) -> None:
        found = socket.getaddrinfo(
            server, self._port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )
        family, address = found[0][0], found[0][4]
        kind = socket.SOCK_STREAM if self._tcp else socket.SOCK_DGRAM
        link = self._make(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            if self._tcp:
                link.connect_ex(address)
            else:
                link.connect(address)
                link.send(self._query)
        except OSError:
            link.close()
            raise
        fd = link.fileno()
        self._open[fd] = link
        events = WRITE if self._tcp else READ
        self._loop.watch(fd, events, functools.partial(self._ready, fd))

    def _ready(self, fd: int, events: int) -> None:
        try:
            reply = self._stream(fd, events) if self._tcp else self._open[fd].recv(65535)
        except BlockingIOError:
            return
        except OSError:
            self._close(fd)
            self.next()
            return
        if reply is None or not codec.answers_query(reply, self._query, self._question):
            return
        if codec.reply_code(reply) in _BAD:
            self._bad_answer = reply
            self._close(fd)
            self.next()
            return
        self._finish(reply)

    def _stream(self, fd: int, events: int) -> bytes | None:
        link = self._open[fd]
        if fd not in self._buffers:
            error = link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, os.strerror(error))
            link.sendall(len(self._query).to_bytes(2, "big") + self._query)
            self._buffers[fd] = bytearray()
            self._loop.change(fd, READ)
            return None
        data = link.recv(65536)
        if not data:
            raise ConnectionResetError("closed before the answer")
        buffer = self._buffers[fd]
        buffer += data
        length = int.from_bytes(buffer[:2], "big")
        if len(buffer) < 2 or len(buffer) < 2 + length:
            return None
        return bytes(buffer[2 : 2 + length])

    def _close(self, fd: int) -> None:
        link = self._open.pop(fd, None)
        if link is not None:
            self._loop.forget(fd)
            link.close()
        self._buffers.pop(fd, None)

    def _give_up(self) -> None:
        failed = self._bad_answer or codec.failure(self._query, self._question)
        self._finish(failed)

    def _finish(self, reply: bytes) -> None:
        for fd in list(self._open):
            self._close(fd)
        for timer in (self._timer, self._end):
            if timer is not None:
                timer.cancel()
        if self._end is None:
            return
        self._end = None
        self._reply(self._original[:2] + reply[2:])
