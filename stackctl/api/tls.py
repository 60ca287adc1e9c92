"""TLS between a TCP connection and `connection`, both halves of it with an end of their own.

    TCP  <--records-->  Handshake (ssl.SSLObject over memory)  <--bytes-->  Connection

asyncio's own TLS transports close both ways as soon as the other side has no more to say
(close_notify); a client that ends a process's standard input says exactly that and goes
on listening. Only clients with a certificate of our authority get as far as a Connection:
until then no byte of a request is looked at.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)

_PIECE = 256 * 1024


class Handshake(asyncio.Protocol):
    """The protocol of a TCP connection: shakes hands, then carries a protocol's bytes.

    `make` gives that protocol once the client has shown its certificate. `began` and
    `ended` frame the time until then, in which the owner may call `abort`.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        make: Callable[[], asyncio.Protocol],
        *,
        seconds: float,
        began: Callable[[Handshake], None],
        ended: Callable[[Handshake], None],
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._make = make
        self._seconds = seconds
        self._began = began
        self._ended = ended
        self._deadline: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport
        self._carried: asyncio.Protocol | None = None
        self._ended_by_peer = False
        self.closing = False

    # -- asyncio.Protocol: records

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._deadline = asyncio.get_running_loop().call_later(self._seconds, self.abort)
        self._began(self)

    def data_received(self, data: bytes) -> None:
        self._incoming.write(data)
        if self._carried is None and not self._shake_hands():
            return
        self._decrypt()

    def eof_received(self) -> None:
        """The client is gone: one that only has no more to say sends close_notify first."""

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        self._settle()
        if self._carried is not None:
            self._carried.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._carried is not None:
            self._carried.pause_writing()

    def resume_writing(self) -> None:
        if self._carried is not None:
            self._carried.resume_writing()

    # -- for the owner and the carried protocol's transport

    def abort(self) -> None:
        self.closing = True
        self._transport.abort()

    def close(self) -> None:
        """What is written is still sent, and that it was all."""
        if not self.closing:
            self.write_eof()
            self.closing = True
            self._transport.close()

    @property
    def transport(self) -> asyncio.Transport:
        return self._transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[self._tls.write(view) :]
        except ssl.SSLError as error:
            log.warning("a TLS connection broke: %s", error)
            self.abort()
            return
        self._flush()

    def write_eof(self) -> None:
        """close_notify. The other direction stays open."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # the other side has not said so yet, or has broken off
        self._flush()

    # -- how

    def _shake_hands(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError as error:
            # The alert tells the client why.
            self._flush()
            self._settle()
            log.warning("refused a client", extra={"reason": error.reason, "from": self._address})
            self.closing = True
            self._transport.close()
            return False
        self._flush()
        self._settle()
        self._carried = self._make()
        self._carried.connection_made(Secured(self))
        return True

    def _decrypt(self) -> None:
        assert self._carried is not None
        while not self._ended_by_peer and not self.closing:
            try:
                data = self._tls.read(_PIECE)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                data = b""  # its end, behind ours
            except ssl.SSLError as error:
                self._flush()
                log.warning("a TLS connection broke: %s", error)
                self.abort()
                return
            if data:
                self._carried.data_received(data)
                continue
            self._ended_by_peer = True
            if not self._carried.eof_received():
                self.close()
        self._flush()

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def _settle(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
            self._ended(self)

    @property
    def _address(self) -> str:
        name = self._transport.get_extra_info("peername") or ("?",)
        return str(name[0])


class Secured(asyncio.Transport):
    """What the carried protocol writes to."""

    def __init__(self, handshake: Handshake) -> None:
        super().__init__()
        self._handshake = handshake

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._handshake.transport.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self._handshake.closing or self._handshake.transport.is_closing()

    def close(self) -> None:
        self._handshake.close()

    def abort(self) -> None:
        self._handshake.abort()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._handshake.write(data)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._handshake.write_eof()

    def pause_reading(self) -> None:
        if not self._handshake.transport.is_closing():
            self._handshake.transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._handshake.transport.is_closing():
            self._handshake.transport.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._handshake.transport.set_write_buffer_limits(high, low)
