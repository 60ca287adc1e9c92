"""One request and its answer, and what a client may cost; the bytes are `connection`'s."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote

import h11

from stackctl.errors import UsageError
from stackctl.values import dataclass

Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a client may cost. Sizes are bytes, times seconds."""

    head_bytes: int = 64 * 1024
    #: From the first byte of a request's head to its end.
    head_seconds: float = 10.0
    #: Between requests, and before the first.
    idle_seconds: float = 300.0
    #: A JSON body: all of it, in this time.
    body_bytes: int = 16 * 1024 * 1024
    body_seconds: float = 30.0
    #: An upload: without a single byte.
    stall_seconds: float = 120.0
    #: Connections between two requests; beyond, the oldest of them is closed.
    waiting: int = 1024
    #: Connections before their first request, and beyond. They cost next to nothing.
    lobby: int = 8192
    #: After an answer: bytes and time for what the client still sends.
    discard_bytes: int = 1024 * 1024
    discard_seconds: float = 2.0
    #: What waits unread, or unsent, before the other side is made to wait.
    buffer_bytes: int = 256 * 1024


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a unix socket, as the kernel says (SO_PEERCRED)."""

    pid: int
    uid: int
    gid: int
    #: Further groups (SO_PEERGROUPS); only where a group may use the socket.
    groups: tuple[int, ...] = ()
    #: It came over TCP and has shown a certificate of ours; the numbers say nothing then.
    certified: bool = False


class ClientGone(ConnectionError):
    """The client closed its end; nobody is left to tell."""


class PayloadTooLarge(UsageError):
    kind = "too-large"
    status = 413


class RequestTimeout(UsageError):
    kind = "timeout"
    status = 408


def refusal(status: int, reason: str) -> bytes:
    """The answer to what never became an exchange; the connection ends with it."""
    text = json.dumps({"message": reason}).encode()
    return (
        b"HTTP/1.1 %d Refused\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (status, len(text), text)
    )


class Carrier(Protocol):
    """What an exchange needs of the connection that carries it; see connection.Connection."""

    limits: Limits
    peer: Peer | None

    @property
    def has_body(self) -> bool:
        """Some of the request's body may still come."""
        ...

    @property
    def congested(self) -> bool:
        """The client takes less than we have written."""
        ...

    async def event(self) -> Any: ...
    def send(self, *events: Any, hold: bool = False) -> None: ...
    def write(self, data: bytes) -> None: ...
    async def drain(self) -> None: ...
    def become_raw(self) -> None: ...
    async def read_raw(self) -> bytes: ...
    def unread(self) -> int: ...
    def write_eof(self) -> None: ...


class Exchange:
    """One request and its answer."""

    def __init__(self, connection: Carrier, request: h11.Request) -> None:
        self._connection = connection
        self._limits = connection.limits
        self.method = request.method.decode("ascii")
        target, _, query = request.target.decode("ascii", "replace").partition("?")
        self.path = unquote(target)
        self.query: Mapping[str, list[str]] = parse_qs(query, keep_blank_values=True)
        #: Names in lower case; of a repeated one the first.
        self.headers: dict[str, str] = {}
        for name, value in request.headers:
            self.headers.setdefault(name.decode("ascii"), value.decode("latin-1"))
        self.started = False
        self.complete = False
        self._chunked = True

    @property
    def peer(self) -> Peer | None:
        return self._connection.peer

    def parameter(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        return self.query.get(name, [default])[0]

    def flag(self, name: str) -> bool:
        """A query parameter as Docker reads booleans: empty, 0, no, false and none are false."""
        return self.parameter(name).strip().lower() not in ("", "0", "no", "false", "none")

    # -- the request's body

    async def read(self) -> bytes:
        """The next piece of the body, b"" at its end. Raises RequestTimeout, ClientGone."""
        if not self._connection.has_body:
            return b""
        try:
            async with asyncio.timeout(self._limits.stall_seconds):
                event = await self._connection.event()
        except TimeoutError:
            raise RequestTimeout("the request's body stopped coming") from None
        return bytes(event.data) if isinstance(event, h11.Data) else b""

    async def chunks(self) -> AsyncIterator[bytes]:
        """All of the body, as it comes."""
        while chunk := await self.read():
            yield chunk

    async def body(self) -> bytes:
        """All of a small body. Raises PayloadTooLarge, RequestTimeout."""
        parts = bytearray()
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while chunk := await self.read():
                    parts += chunk
                    if len(parts) > self._limits.body_bytes:
                        raise PayloadTooLarge(
                            f"the request is larger than {self._limits.body_bytes} bytes"
                        )
        except TimeoutError:
            raise RequestTimeout("the request took too long to come") from None
        return bytes(parts)

    async def json(self) -> dict[str, Any]:
        """The body as a JSON object; an empty body, or null, is an empty one. UsageError."""
        text = await self.body()
        try:
            value = json.loads(text) if text.strip() else None
        except (ValueError, RecursionError) as error:
            raise UsageError(f"the request is not JSON: {error}") from None
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise UsageError("the request is not a JSON object")
        return value

    # -- the answer

    async def respond(
        self, status: int, body: bytes = b"", content_type: str = "", headers: Headers = ()
    ) -> None:
        """A whole answer. Of one to HEAD only the head is sent."""
        head = [*headers, ("Content-Length", str(len(body)))]
        if content_type:
            head.append(("Content-Type", content_type))
        self.begin(status, head, hold=True)
        if body and self.method != "HEAD":
            self._connection.send(h11.Data(data=body), hold=True)
        await self.end()

    async def respond_json(self, status: int, value: Any, headers: Headers = ()) -> None:
        await self.respond(status, json.dumps(value).encode() + b"\n", "application/json", headers)

    def begin(self, status: int, headers: Headers, *, hold: bool = False) -> None:
        """Sends the head, with `hold` together with the first piece of the body.

        Without a Content-Length the body goes in chunks.
        """
        self.started = True
        reason = HTTPStatus(status).phrase.encode()
        response = h11.Response(status_code=status, reason=reason, headers=_encoded(headers))
        self._connection.send(response, hold=hold)

    def send(self, data: bytes) -> None:
        """A piece of the body, now; `drain` afterwards keeps memory bounded."""
        self._connection.send(h11.Data(data=data))

    async def drain(self) -> None:
        await self._connection.drain()

    @property
    def congested(self) -> bool:
        """The client takes less than we have written."""
        return self._connection.congested

    async def end(self) -> None:
        self._connection.send(h11.EndOfMessage())
        self.complete = True
        await self._connection.drain()

    def upgrade(self, headers: Headers) -> RawStream:
        """101: from here on the connection carries raw bytes. The body must have been read."""
        self.started = True
        # Docker's word; clients compare it.
        response = h11.InformationalResponse(
            status_code=101, reason=b"UPGRADED", headers=_encoded(headers)
        )
        self._connection.send(response)
        self._connection.become_raw()
        return RawStream(self._connection)

    def take_over(self, content_type: str) -> RawStream:
        """200 without a length: from here on the connection carries raw bytes both ways, as
        for clients of Docker's that ask for no upgrade. The body must have been read."""
        self.started = True
        self._connection.become_raw()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n"
        self._connection.write(head.encode("ascii"))
        return RawStream(self._connection)


class RawStream:
    """A connection after its upgrade: bytes both ways, each half with its own end."""

    def __init__(self, connection: Carrier) -> None:
        self._connection = connection
        self._limits = connection.limits

    async def read(self) -> bytes:
        """b"" once the client has ended its half. Raises ClientGone."""
        return await self._connection.read_raw()

    async def write(self, *parts: bytes) -> None:
        """Raises ClientGone."""
        self._connection.write(b"".join(parts))
        await self._connection.drain()

    async def head_taken(self) -> None:
        """Until the client has read the head, for a while.

        Some clients (docker-py) read the head through a buffer and the stream past it: what
        came in the same piece is lost to them. Nothing tells when a peer has read, so this
        looks; most have by the first time.
        """
        for _ in range(100):
            if not self._connection.unread():
                return
            await asyncio.sleep(0.002)

    async def finish(self) -> None:
        """Ends our half, then takes what the client still sends for a while.

        Closing on unread bytes would reset the connection, and the client could lose the
        end of the output.
        """
        self._connection.write_eof()
        try:
            async with asyncio.timeout(self._limits.discard_seconds):
                while await self.read():
                    pass
        except (TimeoutError, ClientGone):
            pass


Answer = Callable[[Exchange], Awaitable[None]]


def _encoded(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]
