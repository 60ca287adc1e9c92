"""The REST server: its sockets, who may use them, and the connections on them.

Translation only: what a request means is in `routes`, what it does is behind
`Handlers`. A unix socket is root's (and a group's, when one is configured), TCP is for
those who have a certificate: whoever can talk to us is root.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from stackctl.api import browsers
from stackctl.api.connection import Connection
from stackctl.api.handlers import Handlers, Session
from stackctl.api.hangups import Hangups
from stackctl.api.http import Exchange, Limits, Peer
from stackctl.api.lobby import Lobby
from stackctl.errors import MachineError

if TYPE_CHECKING:
    import ssl

    from stackctl.api.tls import Handshake

__all__ = ["LEAVING", "Handlers", "Limits", "Server", "Session", "only_root"]

log = logging.getLogger(__name__)

#: sun_path of unix(7) without its final zero.
_LONGEST_PATH = 107
#: So many may have connected that are not accepted yet: beyond, clients with a time limit get
#: an error at once (EAGAIN of connect), and who comes last waits for all of them.
_BACKLOG = 4096
#: asm-generic/socket.h; the socket module has no name for it.
_SO_PEERGROUPS = 59
_MOST_GROUPS = 256
#: Connections accepted before the others get their turn.
_AT_ONCE = 32
#: How long a connection that was made before we left may take to send its request.
_LATE_SECONDS = 0.2
#: Header of a 503: the request was not begun, another engine may take it.
LEAVING = "X-Stackctl-Leaving"


def only_root(peer: Peer) -> bool:
    """Root, and the user that runs the engine (tests)."""
    return peer.uid in (0, os.geteuid())


def or_group(allow: Callable[[Peer], bool], group: int | None) -> Callable[[Peer], bool]:
    """`allow`, and the members of the group that may use the socket."""
    if group is None:
        return allow
    return lambda peer: allow(peer) or group == peer.gid or group in peer.groups


class Server:
    """Accepts, authorises, counts, and ends connections. Implements connection.Host."""

    def __init__(
        self,
        routes: Callable[[Exchange], Awaitable[None]],
        *,
        allow: Callable[[Peer], bool] = only_root,
        limits: Limits | None = None,
        busy_changed: Callable[[int], None] = lambda count: None,
    ) -> None:
        """`busy_changed` hears how many requests are being answered, at every change."""
        self.limits = limits or _affordable(Limits())
        self._routes = routes
        self._allow = allow
        self._busy_changed = busy_changed
        self._connections: set[Connection] = set()
        #: Without a request, the longest waiting first.
        self._waiting: dict[Connection, None] = {}
        self._busy = 0
        self._leaving = False
        self._emptied = asyncio.Event()
        #: Each with the path of its socket, when it has one.
        self._listeners: list[tuple[asyncio.Server | Lobby, Path | None]] = []
        #: TCP clients that have not shown a certificate yet, the longest waiting first.
        self._handshakes: dict[Handshake, None] = {}
        self._hangups = Hangups()

    # -- life

    async def listen(self, path: Path, *, group: int | None = None) -> None:
        """Serves a unix socket at `path`, replacing one that is there: call it under the lock.

        `group` (a gid) may use it too. Raises MachineError.
        """
        sock = _bind(path, group)
        sock.listen(_BACKLOG)
        self._listeners.append((Lobby(sock, lambda: Connection(self), self.limits), path))

    async def listen_tls(self, host: str, port: int, context: ssl.SSLContext) -> int:
        """Serves TCP at `host` ("" is every address) to clients with a certificate; the port,
        which the kernel chooses for 0. Raises MachineError.
        """
        # Loaded by those who want it: not by an engine on its unix socket alone.
        from stackctl.api.tls import Handshake

        def shaking() -> Handshake:
            return Handshake(
                context,
                lambda: Connection(self),
                seconds=self.limits.head_seconds,
                began=self._shaking,
                ended=lambda handshake: self._handshakes.pop(handshake, None),
            )

        sock = _bind_tcp(host, port)
        chosen: int = sock.getsockname()[1]
        loop = asyncio.get_running_loop()
        server = await loop.create_server(shaking, sock=sock, backlog=_AT_ONCE)
        # asyncio accepts as many in one turn as its backlog says; the kernel's queue is longer.
        sock.listen(_BACKLOG)
        self._listeners.append((server, None))
        return chosen

    async def close(self, grace: float = 5.0) -> None:
        """Takes no more requests, ends those under way, then returns.

        Who connected a moment too late is told to try again (503, LEAVING), not reset:
        nobody can connect once the path is gone, and the listener stays until all are told.
        `grace` seconds are for handlers to clean up.
        """
        if self._leaving:
            return
        self._leaving = True
        for _, path in self._listeners:
            if path is not None:
                path.unlink(missing_ok=True)
        for handshake in tuple(self._handshakes):
            handshake.abort()
        self.limits = replace(self.limits, idle_seconds=_LATE_SECONDS)
        for connection in tuple(self._waiting):
            if connection.fresh:
                connection.hurry(_LATE_SECONDS)
            else:
                connection.close()
        for connection in tuple(self._connections):
            connection.cancel()
        try:
            async with asyncio.timeout(grace):
                # Accepting what has queued takes the loop a few turns.
                for _ in range(5):
                    await asyncio.sleep(0)
                lobbies = [s for s, _ in self._listeners if isinstance(s, Lobby)]
                for lobby in lobbies:
                    lobby.hurry(_LATE_SECONDS)
                while any(lobby.occupied for lobby in lobbies):
                    await asyncio.sleep(_LATE_SECONDS / 20)
                while self._connections:
                    self._emptied.clear()
                    await self._emptied.wait()
        except TimeoutError:
            pass
        for server, _ in self._listeners:
            server.close()
        for connection in tuple(self._connections):
            connection.abort()
        await asyncio.sleep(0)
        self._hangups.close()

    @property
    def busy(self) -> int:
        """Requests that are being answered."""
        return self._busy

    # -- connection.Host

    def peer_of(self, transport: asyncio.Transport) -> Peer | None:
        sock = transport.get_extra_info("socket")
        if sock.family != socket.AF_UNIX:
            # It comes through `listen_tls`, and has shown its certificate.
            return Peer(0, 0, 0, certified=True)
        size = struct.calcsize("3i")
        pid, uid, gid = struct.unpack(
            "3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        )
        # uid_t is unsigned; -1 and the overflow user come from namespaces we do not know.
        peer = Peer(pid, uid & 0xFFFFFFFF, gid & 0xFFFFFFFF, _groups(sock))
        if not self._allow(peer):
            log.warning("refused a client", extra={"uid": peer.uid, "pid": peer.pid})
            return None
        return peer

    def waiting(self, connection: Connection) -> None:
        self._connections.add(connection)
        self._waiting[connection] = None
        while len(self._waiting) > self.limits.waiting:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest.abort()

    def _shaking(self, handshake: Handshake) -> None:
        self._handshakes[handshake] = None
        while len(self._handshakes) > self.limits.waiting:
            oldest = next(iter(self._handshakes))
            del self._handshakes[oldest]
            oldest.abort()

    def began(self, connection: Connection) -> None:
        self._waiting.pop(connection, None)
        self._count(+1)

    def ended(self, connection: Connection) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._hangups.forget(connection.fileno())
        self._count(-1)

    def lost(self, connection: Connection) -> None:
        self._waiting.pop(connection, None)
        self._connections.discard(connection)
        self._emptied.set()
        with contextlib.suppress(OSError, ValueError):
            self._hangups.forget(connection.fileno())

    def half_closed(self, connection: Connection) -> None:
        self._hangups.watch(connection.fileno(), connection.abort)

    async def answer(self, exchange: Exchange) -> None:
        if self._leaving:
            message = "the engine is leaving"
            headers = [(LEAVING, "1"), ("Connection", "close")]
            await exchange.respond_json(503, {"message": message}, headers)
            return
        if reason := browsers.refusal(exchange):
            await exchange.respond_json(403, {"message": reason})
            return
        await self._routes(exchange)

    def _count(self, change: int) -> None:
        self._busy += change
        self._busy_changed(self._busy)


def _groups(sock: socket.socket) -> tuple[int, ...]:
    """The peer's supplementary groups when it connected; those of a crowd are cut."""
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 4 * _MOST_GROUPS)
    except OSError:
        return ()
    return struct.unpack(f"{len(raw) // 4}I", raw)


def _bind(path: Path, group: int | None) -> socket.socket:
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise MachineError(
            f"{path} is too long for a socket ({_LONGEST_PATH} bytes at most)",
            hint="set STACKCTL_RUN to a shorter directory",
        )
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    # The mode must be right from the first moment, not after a chmod.
    umask = os.umask(0o117)
    try:
        path.unlink(missing_ok=True)
        sock.bind(os.fspath(path))
        if group is not None:
            os.chown(path, -1, group)
    except OSError as error:
        sock.close()
        hint = "is STACKCTL_RUN on a file system that is full or read-only?"
        if error.errno == errno.ENAMETOOLONG:
            hint = "set STACKCTL_RUN to a shorter directory"
        raise MachineError(f"cannot listen on {path}: {error.strerror}", hint=hint) from error
    finally:
        os.umask(umask)
    return sock


def _bind_tcp(host: str, port: int) -> socket.socket:
    try:
        if not host:
            both = socket.has_dualstack_ipv6()
            family = socket.AF_INET6 if both else socket.AF_INET
            return socket.create_server(("", port), family=family, dualstack_ipv6=both)
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise MachineError(
            f"cannot listen on tcp://{host}:{port}: {error.strerror or error}",
            hint="another program may have the port: `ss -ltnp` tells",
        ) from error


def _affordable(limits: Limits) -> Limits:
    """Half-open connections must not use up the descriptors that the engine itself needs."""
    most = max(16, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
    return replace(limits, waiting=min(limits.waiting, most), lobby=min(limits.lobby, most))
