"""What the kernel cannot lead to a container is handed on by this process.

It leads nearly everything by itself, also what arrives at 127.0.0.1. It has no
such way for ::1: answers that are translated back to ::1 are dropped where they
come in from a bridge (ip6_rcv). So "localhost", which many programs look up as
::1 first, needs somebody who accepts here and connects there. Nor does it
translate IPv6 to IPv4: a port of an IPv6 address whose container has IPv4 only
(`[::]:8080:80`) is served from here as a whole. The container sees the bridge's
address as its client, as it does for 127.0.0.1. Nothing else is handed on: who
comes another way has the kernel's way, or none.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable
from functools import partial

from stackctl.net.keeper.loop import HANGUP, READ, WRITE, Loop

#: (address, port) inside.
Way = tuple[str, int]
#: (its address as the socket module has it, the address that it sent to)
Sender = tuple[tuple[str, int, int, int], bytes]

LOOPBACK6 = "::1"

_PKTINFO = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)
_ANY_INTERFACE = bytes(4)
_NOTE_SPACE = socket.CMSG_SPACE(20)
_CHUNK = 1 << 17
_MOST_SENDERS = 512
#: Seconds without a datagram after which a sender's socket is given up.
_IDLE = 90.0


def serves(way: Way, address: str) -> bool:
    """Whether what arrives at an IPv6 `address` of the machine is the keeper's to hand on."""
    return address == LOOPBACK6 or ":" not in way[0]


def socket_to(way: Way, kind: socket.SocketKind) -> socket.socket:
    """A socket on its way to a container; OSError when there is none."""
    family = socket.AF_INET6 if ":" in way[0] else socket.AF_INET
    link = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    code = link.connect_ex(way)
    if code not in (0, errno.EINPROGRESS):
        link.close()
        raise OSError(code, os.strerror(code))
    return link


class _Side:
    """One end of a stream: what is still to be sent to it, and whether it has ended."""

    __slots__ = ("ended", "link", "pending", "watched")

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.pending = bytearray()
        self.ended = False
        self.watched = 0


class Stream:
    """One connection, both ways, each closed on its own. `gone` is called once."""

    def __init__(
        self, loop: Loop, client: socket.socket, server: socket.socket, gone: Callable[[], None]
    ) -> None:
        self._loop, self._gone = loop, gone
        self._client, self._server = _Side(client), _Side(server)
        self._is_connected = False
        self._is_open = True
        for side in (self._client, self._server):
            side.link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._arm()

    def _other(self, side: _Side) -> _Side:
        return self._server if side is self._client else self._client

    def _arm(self) -> None:
        """Waits for what can go on, and for nothing else: a paused end must not wake us."""
        for side in (self._client, self._server):
            wanted = 0
            if self._is_connected and not side.ended and not self._other(side).pending:
                wanted |= READ
            if side.pending or (side is self._server and not self._is_connected):
                wanted |= WRITE
            if wanted == side.watched:
                continue
            fd = side.link.fileno()
            if not wanted:
                self._loop.forget(fd)
            elif side.watched:
                self._loop.change(fd, wanted)
            else:
                self._loop.watch(fd, wanted, partial(self._ready, side))
            side.watched = wanted

    def _ready(self, side: _Side, events: int) -> None:
        try:
            if not self._is_connected:
                code = side.link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    raise OSError(code, os.strerror(code))
                self._is_connected = True
            elif events & (READ | HANGUP) and side.watched & READ:
                self._read(side)
            if side.pending:
                self._send(side)
        except BlockingIOError:
            pass
        except OSError:
            self.close()
        if not self._is_open:
            return
        if all(s.ended and not s.pending for s in (self._client, self._server)):
            self.close()
        else:
            self._arm()

    def _read(self, side: _Side) -> None:
        data = side.link.recv(_CHUNK)
        other = self._other(side)
        if data:
            other.pending += data
        else:
            side.ended = True
        self._send(other)

    def _send(self, side: _Side) -> None:
        if side.pending:
            try:
                sent = side.link.send(side.pending)
            except BlockingIOError:
                return
            del side.pending[:sent]
        if not side.pending and self._other(side).ended:
            side.link.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Ends both sides; what had not come to its end sees a reset."""
        if not self._is_open:
            return
        self._is_open = False
        whole = all(s.ended and not s.pending for s in (self._client, self._server))
        for side in (self._client, self._server):
            if side.watched:
                self._loop.forget(side.link.fileno())
            if not whole:
                reset(side.link)
            side.link.close()
        self._gone()


class Datagrams:
    """A held UDP port: each sender has a socket of its own towards the container."""

    def __init__(self, loop: Loop, link: socket.socket, way: Way) -> None:
        self._loop, self._link, self.way = loop, link, way
        #: sender -> (socket, when it was last used)
        self._senders: dict[Sender, tuple[socket.socket, list[float]]] = {}
        # Which address was asked: the answer has to come from there.
        link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        loop.watch(link.fileno(), READ, self._arrived)

    def _arrived(self, _: int) -> None:
        try:
            data, notes, _flags, address = self._link.recvmsg(65535, _NOTE_SPACE)
        except OSError:
            return
        asked = next((note[:16] for *kind, note in notes if tuple(kind) == _PKTINFO), b"")
        if not asked or not serves(self.way, socket.inet_ntop(socket.AF_INET6, asked)):
            return
        sender: Sender = (address, asked)
        known = self._senders.get(sender) or self._open(sender)
        if known is not None:
            known[1][0] = time.monotonic()
            try:
                known[0].send(data)
            except OSError:
                self._drop(sender)  # nobody listens there: as if the packet were lost

    def _open(self, sender: Sender) -> tuple[socket.socket, list[float]] | None:
        if len(self._senders) >= _MOST_SENDERS:
            return None
        try:
            link = socket_to(self.way, socket.SOCK_DGRAM)
        except OSError:
            return None
        made = self._senders[sender] = (link, [0.0])
        self._loop.watch(link.fileno(), READ, partial(self._answered, sender))
        self._loop.after(_IDLE, partial(self._look, sender))
        return made

    def _answered(self, sender: Sender, _: int) -> None:
        link, used = self._senders[sender]
        address, asked = sender
        try:
            data = link.recv(65535)
            used[0] = time.monotonic()
            self._link.sendmsg([data], [(*_PKTINFO, asked + _ANY_INTERFACE)], 0, address)
        except BlockingIOError:
            return
        except OSError:
            self._drop(sender)

    def _look(self, sender: Sender) -> None:
        """Gives up a sender that has been silent for long."""
        known = self._senders.get(sender)
        if known is None:
            return
        left = known[1][0] + _IDLE - time.monotonic()
        if left > 0:
            self._loop.after(left, partial(self._look, sender))
        else:
            self._drop(sender)

    def _drop(self, sender: Sender) -> None:
        known = self._senders.pop(sender, None)
        if known is not None:
            self._loop.forget(known[0].fileno())
            known[0].close()

    def close(self) -> None:
        """Leaves the held socket to its owner, unwatched."""
        for sender in list(self._senders):
            self._drop(sender)
        self._loop.forget(self._link.fileno())


def reset(link: socket.socket) -> None:
    """Makes the coming close an abortion: the other end sees a reset."""
    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
