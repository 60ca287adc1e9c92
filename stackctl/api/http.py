"""One client's connection: HTTP/1.1 by h11 on an asyncio protocol, one exchange at a time.

    idle --head complete--> exchange (a task) --done--> idle        keep-alive
                               |--upgrade--> raw stream             both ways, half-closes apart
    idle --head or idle deadline, end of input--> closed

A connection without a request costs no task: thousands of half-open ones are
cheap, and have deadlines. Bytes wait in `_inbox` until somebody wants them; when
it is full the kernel makes the client wait. Knows nothing of routes.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote

import h11

from stackctl.errors import StackctlError, UsageError

log = logging.getLogger(__name__)

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
    #: Connections without a request; beyond, the oldest of them is closed.
    waiting: int = 1024
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


class ClientGone(ConnectionError):
    """The client closed its end; nobody is left to tell."""


class PayloadTooLarge(UsageError):
    kind = "too-large"
    status = 413


class RequestTimeout(UsageError):
    kind = "timeout"
    status = 408


class Host(Protocol):
    """What a connection needs of the server it belongs to."""

    limits: Limits

    def waiting(self, connection: Connection) -> None: ...
    def began(self, connection: Connection) -> None: ...
    def ended(self, connection: Connection) -> None: ...
    def lost(self, connection: Connection) -> None: ...
    def half_closed(self, connection: Connection) -> None: ...
    def peer_of(self, transport: asyncio.Transport) -> Peer | None:
        """None: not allowed to talk to us."""
        ...

    async def answer(self, exchange: Exchange) -> None: ...


class Connection(asyncio.Protocol):
    """The protocol object of one accepted socket."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._limits = host.limits
        self._loop = asyncio.get_running_loop()
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=self._limits.head_bytes)
        self._transport: asyncio.Transport
        self._inbox = bytearray()
        self._held = b""
        self._reading_paused = False
        self._writing_paused = False
        self._eof = False
        self._lost = False
        self._raw = False
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._in_head = False
        self._task: asyncio.Task[None] | None = None
        self.peer: Peer | None = None
        #: No request has come yet.
        self.fresh = True

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=self._limits.buffer_bytes)
        self.peer = self._host.peer_of(transport)
        if self.peer is None:
            self._refuse(403, "this user may not talk to the engine")
            return
        self._host.waiting(self)
        self._arm(self._limits.idle_seconds)

    def data_received(self, data: bytes) -> None:
        self._inbox += data
        if len(self._inbox) >= self._limits.buffer_bytes and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()
        _wake(self._reader)
        if self._task is None:
            self._next_request()

    def eof_received(self) -> bool:
        self._eof = True
        _wake(self._reader)
        if self._task is None:
            self._disarm()
            return False
        # The client may only have ended its own half; the host finds out.
        self._host.half_closed(self)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._disarm()
        self._host.lost(self)
        _wake(self._reader)
        _wake(self._writer)
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        _wake(self._writer)

    # -- for the host

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The exchange under way."""
        return self._task

    def fileno(self) -> int:
        number = self._transport.get_extra_info("socket").fileno()
        assert isinstance(number, int)
        return number

    def hurry(self, seconds: float) -> None:
        """A request that is on its way may still come, for so long."""
        self._arm(seconds)

    def close(self) -> None:
        """What is written is still sent."""
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    # -- requests

    def _next_request(self) -> None:
        """Begins the next exchange if its head has come."""
        self._feed()
        try:
            event = self._h11.next_event()
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint, str(error))
            return
        if event is h11.NEED_DATA and self._eof:
            self.close()
        elif event is h11.NEED_DATA:
            if not self._in_head and self._h11.trailing_data[0]:
                self._in_head = True
                self._arm(self._limits.head_seconds)
        elif isinstance(event, h11.Request):
            self._begin(event)
        else:
            self.close()

    def _begin(self, event: h11.Request) -> None:
        self._disarm()
        self._in_head = self.fresh = False
        names = [bytes(name) for name, _ in event.headers]
        if sum(len(n) + len(v) for n, v in event.headers) > self._limits.head_bytes:
            self._refuse(431, "the request's head is too large")
            return
        if b"content-length" in names and b"transfer-encoding" in names:
            # Two readers could see two different requests (RFC 9112, 6.1).
            self._refuse(400, "both Content-Length and Transfer-Encoding")
            return
        self._host.began(self)
        if self._eof:
            self._host.half_closed(self)
        self._task = self._loop.create_task(self._run(Exchange(self, event)))

    async def _run(self, exchange: Exchange) -> None:
        keep = False
        try:
            await self._host.answer(exchange)
            keep = await self._finish(exchange)
        except ClientGone:
            pass
        except h11.LocalProtocolError:
            log.exception("an answer broke HTTP's rules")
        finally:
            self._task = None
            self._host.ended(self)
            if not self._lost:
                if keep:
                    self._wait_again()
                elif exchange.complete or self._raw:
                    self.close()
                else:
                    # An answer cut short must not look like a whole one.
                    self.abort()

    async def _finish(self, exchange: Exchange) -> bool:
        """After an answer: True when the connection can be used again."""
        if self._raw or not exchange.complete or self._lost:
            return False
        if self._h11.their_state is h11.SEND_BODY:
            await self._discard(exchange)
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
            return not self._eof or self._has_more()
        return False

    async def _discard(self, exchange: Exchange) -> None:
        """Read what is left of a body: closing on unread bytes would reset the answer away."""
        left = self._limits.discard_bytes
        try:
            async with asyncio.timeout(self._limits.discard_seconds):
                while left > 0 and (chunk := await exchange.read()):
                    left -= len(chunk)
        except (TimeoutError, StackctlError):
            pass

    def _wait_again(self) -> None:
        self._host.waiting(self)
        self._arm(self._limits.idle_seconds)
        if self._has_more():
            self._next_request()

    def _has_more(self) -> bool:
        return bool(self._inbox or self._h11.trailing_data[0])

    def _refuse(self, status: int, reason: str) -> None:
        """Answers what never became an exchange, and closes."""
        self._disarm()
        text = json.dumps({"message": reason}).encode()
        self._transport.write(
            b"HTTP/1.1 %d Refused\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (status, len(text), text)
        )
        self.close()

    # -- deadlines

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._deadline = self._loop.call_later(seconds, self._expire)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        if self._in_head:
            self._refuse(408, "the request's head took too long")
        else:
            self.close()

    # -- bytes, for the exchange

    def _feed(self) -> None:
        """Hand to h11 what has come."""
        data = self._take()
        if data:
            self._h11.receive_data(data)
        elif self._eof and self._h11.their_state is not h11.CLOSED:
            self._h11.receive_data(b"")

    def _take(self) -> bytes:
        data = bytes(self._inbox)
        self._inbox.clear()
        if self._reading_paused and not self._lost:
            self._reading_paused = False
            self._transport.resume_reading()
        return data

    async def _arrival(self) -> None:
        """Until there is something in the inbox, or its end."""
        while not self._inbox and not self._eof:
            if self._lost:
                raise ClientGone
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None

    async def event(self) -> Any:
        """h11's next event of the request's body."""
        while True:
            try:
                event = self._h11.next_event()
            except h11.RemoteProtocolError as error:
                if self._eof:
                    raise ClientGone from error
                raise UsageError(f"the request's body is malformed: {error}") from error
            if event is not h11.NEED_DATA:
                return event
            if self._h11.they_are_waiting_for_100_continue:
                self.send(h11.InformationalResponse(status_code=100, headers=[]))
            await self._arrival()
            self._feed()

    def send(self, *events: Any, hold: bool = False) -> None:
        """Sends events of h11's in one piece; `hold` waits for the next. Raises ClientGone."""
        for event in events:
            self._held += self._h11.send(event) or b""
        if self._held and not hold:
            data, self._held = self._held, b""
            self.write(data)

    def write(self, data: bytes) -> None:
        if self._lost or self._transport.is_closing():
            raise ClientGone
        self._transport.write(data)

    async def drain(self) -> None:
        """Until the client has taken enough of what was written. Raises ClientGone."""
        while self._writing_paused and not self._lost:
            self._writer = self._loop.create_future()
            try:
                await self._writer
            finally:
                self._writer = None
        if self._lost:
            raise ClientGone

    # -- bytes, after an upgrade

    def become_raw(self) -> None:
        """From here on bytes are the session's; those that h11 holds come first."""
        self._raw = True
        held, _ = self._h11.trailing_data
        self._inbox[:0] = held

    async def read_raw(self) -> bytes:
        """What has come; b"" once the client has ended its half. Raises ClientGone."""
        await self._arrival()
        return self._take()

    def write_eof(self) -> None:
        if not self._lost and self._transport.can_write_eof():
            self._transport.write_eof()


class Exchange:
    """One request and its answer."""

    def __init__(self, connection: Connection, request: h11.Request) -> None:
        self._connection = connection
        self._limits = connection._limits
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
        if self._connection._h11.their_state is not h11.SEND_BODY:
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
        """The body as a JSON object; an empty body is an empty object. Raises UsageError."""
        text = await self.body()
        try:
            value = json.loads(text) if text.strip() else {}
        except (ValueError, RecursionError) as error:
            raise UsageError(f"the request is not JSON: {error}") from None
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
        return self._connection._writing_paused

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


class RawStream:
    """A connection after its upgrade: bytes both ways, each half with its own end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._limits = connection._limits

    async def read(self) -> bytes:
        """b"" once the client has ended its half. Raises ClientGone."""
        return await self._connection.read_raw()

    async def write(self, *parts: bytes) -> None:
        """Raises ClientGone."""
        self._connection.write(b"".join(parts))
        await self._connection.drain()

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


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
