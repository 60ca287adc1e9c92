"""A remote engine's connection as a plain socket, for a client that knows nothing of TLS.

    client  <--socketpair-->  a thread  <--TLS over TCP-->  engine

Both ways with an end of their own: the client's half-close becomes close_notify, and the
engine's close_notify becomes the end of what the client reads. What the client does with
its socket (peek, poll, descriptors) needs no second way of doing it.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Callable

from stackctl.api.certificates import client_context
from stackctl.errors import EngineUnreachable
from stackctl.state.endpoints import RemoteEngine

_PIECE = 64 * 1024
#: Seconds until a machine that does not answer counts as unreachable.
_PATIENCE = 15.0


class TunnelSocket(socket.socket):
    """The client's end; `failure` says why the other end went away, if TLS knows."""

    failure = ""


def connect(engine: RemoteEngine) -> TunnelSocket:
    """Raises EngineUnreachable, and UsageError for files that are no certificates."""
    context = client_context(engine.files)
    try:
        raw = socket.create_connection((engine.host or "localhost", engine.port), _PATIENCE)
    except OSError as error:
        raise EngineUnreachable(
            f"no engine answers at {engine}: {error.strerror or error}",
            hint="on its machine: stackctl daemon --host tcp://... --tlsverify ...",
        ) from error
    secured = _Secured(raw, context.wrap_bio, engine.host or "localhost")
    try:
        secured.shake_hands()
    except OSError as error:
        raw.close()
        raise _untrusted(engine, error) from error
    raw.setblocking(False)
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    tunnel = TunnelSocket(ours.family, ours.type, ours.proto, ours.detach())
    thread = threading.Thread(target=_carry, args=(secured, theirs, tunnel), daemon=True)
    thread.start()
    return tunnel


def _untrusted(engine: RemoteEngine, error: OSError) -> EngineUnreachable:
    if isinstance(error, ssl.SSLCertVerificationError):
        return EngineUnreachable(
            f"the certificate of {engine} cannot be trusted: {error.verify_message}",
            hint=f"{engine.files.authority} has to be the authority that signed it",
        )
    reason = getattr(error, "reason", None) or error.strerror or str(error)
    return EngineUnreachable(
        f"{engine} does not speak TLS with us: {reason}",
        hint="is it an engine, and is this its port?",
    )


class _Secured:
    """TLS over memory beside a TCP socket.

    ssl.SSLSocket would do, but for its `unwrap`: that looks for the other side's close_notify
    at once, and fails on what the other side still says.
    """

    def __init__(
        self, raw: socket.socket, wrap: Callable[..., ssl.SSLObject], server_name: str
    ) -> None:
        self.raw = raw
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = wrap(self._incoming, self._outgoing, server_hostname=server_name)
        #: Records that the network has not taken yet.
        self.records = bytearray()

    def shake_hands(self) -> None:
        """Blocking. Raises OSError, of which ssl.SSLError is one."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self.raw.sendall(self._outgoing.read())
                data = self.raw.recv(_PIECE)
                if not data:
                    raise ConnectionResetError("the connection was closed") from None
                self._incoming.write(data)
            else:
                break
            finally:
                if self._outgoing.pending:
                    self.raw.sendall(self._outgoing.read())

    def decrypted(self, records: bytes) -> tuple[bytes, bool]:
        """What they say, and whether it was the end."""
        self._incoming.write(records)
        data, ended = bytearray(), False
        while not ended:
            try:
                part = self._tls.read(_PIECE)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                part = b""
            data += part
            ended = not part
        self.records += self._outgoing.read()
        return bytes(data), ended

    def encrypt(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._tls.write(view) :]
        self.records += self._outgoing.read()

    def end(self) -> None:
        """close_notify."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # theirs has not come yet
        self.records += self._outgoing.read()


def _carry(secured: _Secured, plain: socket.socket, tunnel: TunnelSocket) -> None:
    """Until the engine has ended its half, or the client both of its own."""
    down = bytearray()
    up_ended = down_ended = False
    raw = secured.raw
    try:
        while not down_ended or down:
            poll = select.poll()
            # Each side is read when what it said before has been passed on.
            wants_raw = 0 if down or down_ended else select.POLLIN
            if wants_raw or secured.records:
                poll.register(raw, wants_raw | (select.POLLOUT if secured.records else 0))
            wants_plain = 0 if secured.records or up_ended else select.POLLIN
            if wants_plain or down or not secured.records:
                # Hang-ups are told without being asked for.
                poll.register(plain, wants_plain | (select.POLLOUT if down else 0))
            events = dict(poll.poll())
            if up_ended and not secured.records and events.get(plain.fileno(), 0) & select.POLLHUP:
                return
            if events.get(plain.fileno(), 0) and wants_plain:
                up_ended = _taken(plain, secured)
            if (
                events.get(raw.fileno(), 0)
                and wants_raw
                and (records := _received(raw)) is not None
            ):
                data, down_ended = secured.decrypted(records)
                down_ended = down_ended or not records
                down += data
            _send(raw, secured.records)
            _send(plain, down)
        plain.shutdown(socket.SHUT_WR)
    except (OSError, ValueError) as error:
        if isinstance(error, ssl.SSLError):
            tunnel.failure = error.reason or str(error)
    finally:
        plain.close()
        raw.close()


def _taken(plain: socket.socket, secured: _Secured) -> bool:
    """Encrypts what the client says; whether it was the end."""
    data = _received(plain)
    if data:
        secured.encrypt(data)
    elif data is not None:
        secured.end()
    return data == b""


def _received(sock: socket.socket) -> bytes | None:
    """None: nothing yet."""
    try:
        return sock.recv(_PIECE)
    except BlockingIOError:
        return None


def _send(sock: socket.socket, waiting: bytearray) -> None:
    try:
        while waiting:
            del waiting[: sock.send(waiting)]
    except BlockingIOError:
        pass
