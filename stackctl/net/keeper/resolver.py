"""One container's resolver: 127.0.0.11 in its network namespace, UDP and TCP.

The sockets are made inside the container's namespace and are served from here;
they say who asks. Port 53 there is led to our port by rules in that namespace,
so that the container may itself bind port 53.
"""

from __future__ import annotations

import fcntl
import os
import socket

from stackctl.linux import ns
from stackctl.net.keeper import codec
from stackctl.net.keeper.codec import Question, Refusal
from stackctl.net.keeper.loop import READ, Loop, Timer
from stackctl.net.keeper.names import Directory, Elsewhere
from stackctl.net.keeper.upstream import Forwarder, Reply

ADDRESS = "127.0.0.11"

_IP_FREEBIND = 15
#: Of a socket: a descriptor of its network namespace.
_SIOCGSKNS = 0x894C
_CACHED = 256
_IDLE = 20.0
_MOST_CONNECTIONS = 64
_LARGEST = 65535


class Resolver:
    """Serves one container. `servers` replaces the machine's resolvers.

    The machine's are asked from the machine, by all that can reach anybody outside.
    Those that the user named are asked from the container, by its own ways: 127.0.0.1 is
    the container itself, and what it cannot reach is not reached for it.
    """

    def __init__(
        self,
        loop: Loop,
        directory: Directory,
        forwarder: Forwarder,
        container: str,
        servers: tuple[str, ...] = (),
    ) -> None:
        self._loop, self._directory, self._forwarder = loop, directory, forwarder
        self.container, self.servers = container, servers
        self.netns = 0
        self._home = -1
        self.port = 0
        self._udp: socket.socket | None = None
        self._tcp: socket.socket | None = None
        self._connections: set[_Connection] = set()
        self._cache: dict[bytes, bytes] = {}
        self._cached_at = -1

    @property
    def is_open(self) -> bool:
        return self._udp is not None

    def open(self, pid: int, port: int, home: int) -> None:
        """Makes the sockets in the namespace of `pid`. `home`: the keeper's own. OSError."""
        self.close()
        there = ns.open_netns(pid)
        try:
            self.netns = os.fstat(there).st_ino
            with ns.in_netns(there, home):
                udp = self._udp = _bound(socket.SOCK_DGRAM, port)
                tcp = self._tcp = _bound(socket.SOCK_STREAM, port)
                tcp.listen(64)
        except OSError:
            self.close()
            raise
        finally:
            os.close(there)
        self.port, self._home = port, home
        self._loop.watch(udp.fileno(), READ, self._on_udp)
        self._loop.watch(tcp.fileno(), READ, self._on_tcp)

    def close(self) -> None:
        """Lets go of the container's network namespace."""
        for connection in list(self._connections):
            connection.close()
        for link in (self._udp, self._tcp):
            if link is not None:
                self._loop.forget(link.fileno())
                link.close()
        self._udp = self._tcp = None
        self.netns = 0

    def _on_udp(self, _: int) -> None:
        link = self._udp
        if link is None:
            return
        try:
            query, sender = link.recvfrom(4096)
        except OSError:
            return
        if self._cached_at == self._directory.generation:
            known = self._cache.get(query[2:])
            if known is not None:
                _send(link, query[:2] + known, sender)
                return
        self._answer_udp(link, query, sender)

    def _answer_udp(self, link: socket.socket, query: bytes, sender: tuple[str, int]) -> None:
        question = codec.parse(query)
        if isinstance(question, Refusal):
            if question.code is not None:
                _send(link, codec.refusal(query, question.flags, question.code), sender)
            return
        found = self._directory.answer(self.container, question, question.udp_limit)
        match found:
            case Elsewhere.FORWARD | Elsewhere.NOBODY if self._asks(found):
                self._forward(query, question, lambda reply: _send(link, reply, sender))
            case Elsewhere():
                _send(link, codec.failure(query, question, codec.NXDOMAIN), sender)
            case (answer, steady):
                _send(link, query[:2] + answer, sender)
                if steady:
                    self._remember(query[2:], answer)

    def _remember(self, query: bytes, answer: bytes) -> None:
        if self._cached_at != self._directory.generation or len(self._cache) >= _CACHED:
            self._cache.clear()
            self._cached_at = self._directory.generation
        self._cache[query] = answer

    def _on_tcp(self, _: int) -> None:
        if self._tcp is None:
            return
        try:
            link, _address = self._tcp.accept()
        except OSError:
            return
        if len(self._connections) >= _MOST_CONNECTIONS:
            link.close()
            return
        link.setblocking(False)
        self._connections.add(_Connection(self, link, self._loop))

    def answer_tcp(self, query: bytes, connection: _Connection) -> None:
        question = codec.parse(query)
        if isinstance(question, Refusal):
            if question.code is None:
                connection.close()
            else:
                connection.send(codec.refusal(query, question.flags, question.code))
            return
        found = self._directory.answer(self.container, question, _LARGEST)
        match found:
            case Elsewhere.FORWARD | Elsewhere.NOBODY if self._asks(found):
                self._forward(query, question, connection.send, tcp=True)
            case Elsewhere():
                connection.send(codec.failure(query, question, codec.NXDOMAIN))
            case (answer, _steady):
                connection.send(query[:2] + answer)

    def _asks(self, where: Elsewhere) -> bool:
        """Who reaches nobody outside may still ask servers of its own."""
        return where is Elsewhere.FORWARD or any(s != ADDRESS for s in self.servers)

    def _forward(
        self, query: bytes, question: Question, reply: Reply, *, tcp: bool = False
    ) -> None:
        servers = tuple(server for server in self.servers if server != ADDRESS)
        self._forwarder.ask(
            query,
            question,
            reply,
            asker=self.container,
            tcp=tcp,
            servers=servers,
            maker=self._inside if servers else socket.socket,
        )

    def _inside(self, family: int, kind: int) -> socket.socket:
        """A socket in the container's network namespace. OSError when it has ended."""
        if self._udp is None:
            raise OSError("the container has ended")
        there = fcntl.ioctl(self._udp, _SIOCGSKNS)
        try:
            with ns.in_netns(there, self._home):
                return socket.socket(family, kind)
        finally:
            os.close(there)

    def forget(self, connection: _Connection) -> None:
        self._connections.discard(connection)


class _Connection:
    """One TCP client: queries with a length before each (RFC 7766)."""

    def __init__(self, owner: Resolver, link: socket.socket, loop: Loop) -> None:
        self._owner, self._link, self._loop = owner, link, loop
        self._buffer = bytearray()
        self._is_open = True
        self._timer: Timer = loop.after(_IDLE, self.close)
        loop.watch(link.fileno(), READ, self._ready)

    def _ready(self, _: int) -> None:
        try:
            data = self._link.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._timer.cancel()
        self._timer = self._loop.after(_IDLE, self.close)
        buffer = self._buffer
        buffer += data
        while self._is_open and len(buffer) >= 2:
            length = int.from_bytes(buffer[:2], "big")
            if len(buffer) < 2 + length:
                return
            query = bytes(buffer[2 : 2 + length])
            del buffer[: 2 + length]
            self._owner.answer_tcp(query, self)

    def send(self, reply: bytes) -> None:
        """Answers fit into the socket's buffer; a client that does not read loses."""
        if not self._is_open:
            return
        data = len(reply).to_bytes(2, "big") + reply
        try:
            if self._link.send(data) != len(data):
                self.close()
        except OSError:
            self.close()

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._timer.cancel()
            self._loop.forget(self._link.fileno())
            self._link.close()
            self._owner.forget(self)


def _bound(kind: socket.SocketKind, port: int) -> socket.socket:
    link = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        # lo may still be down: the network is attached at the same time.
        link.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        if kind == socket.SOCK_STREAM:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        link.bind((ADDRESS, port))
    except OSError:
        link.close()
        raise
    return link


def _send(link: socket.socket, data: bytes, target: tuple[str, int]) -> None:
    try:
        link.sendto(data, target)
    except OSError:
        pass  # the asker is gone, or its buffer is full: as if the packet were lost
