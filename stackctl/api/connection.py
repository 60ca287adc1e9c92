"""One client's connection: HTTP/1.1 by h11 on an asyncio protocol, one exchange at a time.

    idle --head complete--> exchange (a task) --done--> idle        keep-alive
                               |--upgrade--> raw stream             both ways, half-closes apart
    idle --head or idle deadline, end of input--> closed

A connection without a request costs no task, and on a unix socket is not here before
its first head is whole (`lobby`). All have deadlines. Bytes wait in `_inbox` until
somebody wants them; when it is full the kernel makes the client wait. Knows nothing of
routes.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import sys
import termios
from typing import Any, Protocol

import h11

from stackctl.api.http import ClientGone, Exchange, Limits, Peer, refusal
from stackctl.errors import StackctlError, UsageError

log = logging.getLogger(__name__)


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
        self.limits = host.limits
        self._loop = asyncio.get_running_loop()
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=self.limits.head_bytes)
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
        transport.set_write_buffer_limits(high=self.limits.buffer_bytes)
        self.peer = self._host.peer_of(transport)
        if self.peer is None:
            self._refuse(403, "this user may not talk to the engine")
            return
        self._host.waiting(self)
        self._arm(self.limits.idle_seconds)

    def data_received(self, data: bytes) -> None:
        self._inbox += data
        if len(self._inbox) >= self.limits.buffer_bytes and not self._reading_paused:
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
        self.cancel()

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

    def cancel(self) -> None:
        """Ends the exchange under way, if any. Once: a second time would cut its clean-up short."""
        if self._task is not None and not self._task.cancelling():
            self._task.cancel()

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
                self._arm(self.limits.head_seconds)
        elif isinstance(event, h11.Request):
            self._begin(event)
        else:
            self.close()

    def _begin(self, event: h11.Request) -> None:
        self._disarm()
        self._in_head = self.fresh = False
        names = [bytes(name) for name, _ in event.headers]
        if sum(len(n) + len(v) for n, v in event.headers) > self.limits.head_bytes:
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
        if self.has_body:
            await self._discard(exchange)
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
            return not self._eof or self._has_more()
        return False

    async def _discard(self, exchange: Exchange) -> None:
        """Read what is left of a body: closing on unread bytes would reset the answer away."""
        left = self.limits.discard_bytes
        try:
            async with asyncio.timeout(self.limits.discard_seconds):
                while left > 0 and (chunk := await exchange.read()):
                    left -= len(chunk)
        except (TimeoutError, StackctlError):
            pass

    def _wait_again(self) -> None:
        self._host.waiting(self)
        self._arm(self.limits.idle_seconds)
        if self._has_more():
            self._next_request()

    def _has_more(self) -> bool:
        return bool(self._inbox or self._h11.trailing_data[0])

    def _refuse(self, status: int, reason: str) -> None:
        """Answers what never became an exchange, and closes."""
        self._disarm()
        self._transport.write(refusal(status, reason))
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

    # -- bytes, for the exchange (http.Carrier)

    @property
    def has_body(self) -> bool:
        return self._h11.their_state is h11.SEND_BODY

    @property
    def congested(self) -> bool:
        return self._writing_paused

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

    def unread(self) -> int:
        """Bytes that the kernel keeps because the peer has not read them (unix(7), SIOCOUTQ)."""
        try:
            size = fcntl.ioctl(self.fileno(), termios.TIOCOUTQ, bytes(4))
            return int.from_bytes(size, sys.byteorder)
        except (OSError, ValueError):
            return 0

    def write_eof(self) -> None:
        if not self._lost and self._transport.can_write_eof():
            self._transport.write_eof()


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
