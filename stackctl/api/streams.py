"""A verb's messages as lines of JSON, each sent as soon as it exists.

Messages that come without a pause between them travel together: the loop
flushes when the verb waits for something, or when enough has gathered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator

from stackctl.api.handlers import Message
from stackctl.api.http import ClientGone, Exchange
from stackctl.daemon.jobs import ASIDE
from stackctl.errors import EngineUnreachable, InternalError, StackctlError

log = logging.getLogger(__name__)

CONTENT_TYPE = "application/x-ndjson"
_ENOUGH = 32 * 1024


class Lines:
    """Writes messages to an exchange, which begins with the first."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._loop = asyncio.get_running_loop()
        self._pending = bytearray()
        self._flush_handle: asyncio.Handle | None = None

    async def put(self, message: Message) -> None:
        """Sends it now or with its neighbours. Waits while the client is slow."""
        self._add(message)
        if len(self._pending) >= _ENOUGH:
            self.flush()
            await self._exchange.drain()
            # A verb that never waits must not keep the loop from others.
            await asyncio.sleep(0)
        elif self._exchange.congested:
            await self._exchange.drain()
        elif self._flush_handle is None:
            self._flush_handle = self._loop.call_soon(self._flush_later)

    def aside(self, message: Message) -> None:
        """Sends it at once, whatever is in front of it. Nothing when the client has gone."""
        with contextlib.suppress(ClientGone):
            self._add(message)
            self.flush()

    def _add(self, message: Message) -> None:
        if not self._exchange.started:
            headers = [("Content-Type", CONTENT_TYPE), ("Cache-Control", "no-cache")]
            self._exchange.begin(200, headers, hold=True)
        self._pending += json.dumps(message, separators=(",", ":")).encode() + b"\n"

    def flush(self) -> None:
        """Raises ClientGone."""
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
        if self._pending:
            data = bytes(self._pending)
            self._pending.clear()
            self._exchange.send(data)

    async def finish(self, last: Message | None = None) -> None:
        """Sends what is left, and the end. Raises ClientGone."""
        if last is not None:
            self._add(last)
        self.flush()
        await self._exchange.end()

    def _flush_later(self) -> None:
        self._flush_handle = None
        try:
            self.flush()
        except ClientGone:
            # The exchange's task is being cancelled for the same reason.
            pass


async def serve(exchange: Exchange, messages: AsyncIterator[Message]) -> None:
    """Streams all messages; whatever happens, the iterator is closed.

    An error before the first message becomes the answer's status (by raising); a later one
    becomes the last message, also when something was told before (jobs.ASIDE).
    """
    lines = Lines(exchange)
    is_awaited = True

    def aside(message: Message) -> None:
        # Whoever was begun meanwhile, and goes on, knows this one as well.
        if is_awaited:
            # Without a job: who leaves now leaves nothing undone.
            lines.aside({**message, "unbegun": True})

    try:
        before = ASIDE.set(aside)
        try:
            last = await _all(exchange, lines, messages)
        finally:
            is_awaited = False
            ASIDE.reset(before)
        if last.get("type") not in ("result", "error"):
            log.error("a verb gave no result", extra={"path": exchange.path})
            error = InternalError("the engine gave no result")
            await lines.put({"type": "error", "error": error.to_json()})
        await lines.finish()
    finally:
        close = getattr(messages, "aclose", None)
        if close is not None:
            await close()


def unexpected(error: Exception) -> InternalError:
    """A bug of ours, as the client sees it; the log has its trace."""
    return InternalError(
        f"the engine failed: {type(error).__name__}: {error}",
        hint="this is a bug in stackctl; daemon.log in its root directory has the details",
    )


async def _all(exchange: Exchange, lines: Lines, messages: AsyncIterator[Message]) -> Message:
    """Gives the last message that was written. Raises what comes before the answer has begun."""
    last: Message = {}
    try:
        async for message in messages:
            last = message
            await lines.put(message)
    except ClientGone:
        raise
    except asyncio.CancelledError:
        if exchange.started:
            # Either the client is gone, then nobody reads this, or the engine leaves.
            leaving = EngineUnreachable(
                "the engine is shutting down", hint="containers go on; the next command finds them"
            )
            with contextlib.suppress(ClientGone):
                await lines.finish({"type": "error", "error": leaving.to_json()})
        raise
    except Exception as error:
        if not exchange.started:
            raise
        if not isinstance(error, StackctlError):
            log.exception("a verb failed")
            error = unexpected(error)
        last = {"type": "error", "error": error.to_json()}
        await lines.put(last)
    return last
