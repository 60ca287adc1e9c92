"""The server's side of a web socket (RFC 6455) on a connection that is raw bytes by now.

    client --GET, Upgrade: websocket, Sec-WebSocket-Key-> server
           <-101, Sec-WebSocket-Accept-------------------
           ==masked frames: text, binary, ping, close===>  what they carry, as it comes
           <=binary frames, pongs, one close=============

No extensions and no subprotocols: each message is a piece of a stream.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import struct

from stackctl.api.http import ClientGone, Exchange, RawStream
from stackctl.errors import UsageError

#: RFC 6455, 1.3.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
#: Close codes: all is well; against the protocol; too much at once.
NORMAL, MISTAKEN, TOO_BIG = 1000, 1002, 1009
_LARGEST = 1024 * 1024


class Closed(ClientGone):
    """The client has closed the web socket."""


class WebSocket:
    """Reads and writes as http.RawStream does; made by `accepted`."""

    def __init__(self, raw: RawStream) -> None:
        self._raw = raw
        self._inbox = bytearray()
        self._sending = asyncio.Lock()
        self._closed = False

    async def head_taken(self) -> None:
        await self._raw.head_taken()

    async def read(self) -> bytes:
        """What the next message with any content carries. Raises Closed."""
        while True:
            opcode, data = await self._frame()
            if opcode in (_CONTINUATION, _TEXT, _BINARY):
                if data:
                    return data
            elif opcode == _PING:
                await self._send(_PONG, data)
            elif opcode == _CLOSE:
                await self._close(data[:2])
                raise Closed
            elif opcode != _PONG:
                await self._fail(MISTAKEN)

    async def write(self, *parts: bytes) -> None:
        """One binary message. Raises ClientGone."""
        await self._send(_BINARY, b"".join(parts))

    async def finish(self) -> None:
        """Closes, and takes what the client still sends for a while."""
        try:
            await self._close(struct.pack(">H", NORMAL))
            await self._raw.finish()
        except ClientGone:
            pass

    # -- frames

    async def _frame(self) -> tuple[int, bytes]:
        """Opcode, and what it carries without its mask."""
        first, second = await self._exactly(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack(">H", await self._exactly(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", await self._exactly(8))
        # Clients have to mask, and no extension is agreed on that the reserved bits could mean.
        is_control = first & 0x08
        if not second & 0x80 or first & 0x70 or (is_control and length > 125):
            await self._fail(MISTAKEN)
        if length > _LARGEST:
            await self._fail(TOO_BIG)
        mask = await self._exactly(4)
        return first & 0x0F, unmasked(await self._exactly(length), mask)

    async def _exactly(self, count: int) -> bytes:
        while len(self._inbox) < count:
            data = await self._raw.read()
            if not data:
                raise Closed
            self._inbox += data
        found = bytes(self._inbox[:count])
        del self._inbox[:count]
        return found

    async def _send(self, opcode: int, data: bytes) -> None:
        length = len(data)
        if length < 126:
            head = struct.pack(">BB", 0x80 | opcode, length)
        elif length < 1 << 16:
            head = struct.pack(">BBH", 0x80 | opcode, 126, length)
        else:
            head = struct.pack(">BBQ", 0x80 | opcode, 127, length)
        async with self._sending:  # output and pongs come from two tasks
            if not self._closed:
                await self._raw.write(head, data)

    async def _close(self, reason: bytes) -> None:
        await self._send(_CLOSE, reason)
        self._closed = True

    async def _fail(self, code: int) -> None:
        await self._close(struct.pack(">H", code))
        raise Closed


def unmasked(data: bytes, mask: bytes) -> bytes:
    """RFC 6455, 5.3. Masking is the same."""
    length = len(data)
    stretched = (mask * (length // 4 + 1))[:length]
    mixed = int.from_bytes(data, "big") ^ int.from_bytes(stretched, "big")
    return mixed.to_bytes(length, "big")


def checked_key(exchange: Exchange) -> str:
    """The client's key. UsageError for a request that is none for a web socket."""
    headers = exchange.headers
    key = headers.get("sec-websocket-key", "")
    if headers.get("upgrade", "").lower() != "websocket" or not key:
        raise UsageError(
            "this is for web sockets: the request has no Upgrade: websocket with a key"
        )
    if headers.get("sec-websocket-version") != "13":
        raise UsageError("web sockets of version 13 are spoken here")
    return key


def accepted(exchange: Exchange, key: str) -> WebSocket:
    """Answers with 101."""
    # Not for security (RFC 6455, 1.3): it shows that we speak the protocol.
    digest = hashlib.sha1(key.encode("latin-1") + _GUID, usedforsecurity=False).digest()
    accept = base64.b64encode(digest).decode()
    headers = [("Connection", "Upgrade"), ("Upgrade", "websocket")]
    return WebSocket(exchange.upgrade([*headers, ("Sec-WebSocket-Accept", accept)]))
