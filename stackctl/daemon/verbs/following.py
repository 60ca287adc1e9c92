"""Log lines and ends of containers as one stream; a slow reader holds up nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from stackctl.daemon.jobs import Message
from stackctl.daemon.parts import Parts
from stackctl.daemon.said import log_message
from stackctl.model.record import ContainerRecord
from stackctl.runtime.logfile import Whole, follow

#: Messages that may wait for a slow reader before those who write them pause.
_BACKLOG = 1000


async def _nothing() -> None:
    """Nobody comes later."""


class Following:
    """Containers may be added at any time; one reader."""

    def __init__(
        self,
        parts: Parts,
        *,
        since: float = 0.0,
        since_start: bool = False,
        tail: int | None = None,
        until: float = 0.0,
        is_silent: Callable[[ContainerRecord], bool] = lambda record: False,
        is_beside: Callable[[ContainerRecord], bool] = lambda record: False,
    ) -> None:
        """`since`, `until` in Unix seconds; `since_start`: each from its own start. Of a silent
        container the end alone is told; nobody waits for the end of one that is `beside`."""
        self._parts = parts
        self._since_start = since_start
        self._is_silent = is_silent
        self._is_beside = is_beside
        self._range: dict[str, Any] = {"since": since, "tail": tail, "until": until}
        self._queue: asyncio.Queue[Message | None] = asyncio.Queue(_BACKLOG)
        self._pumps: dict[str, asyncio.Task[None]] = {}
        self._starts: dict[str, float] = {}
        self._beside: set[str] = set()

    def add(self, record: ContainerRecord, *, since_start: bool = False) -> None:
        """Listen to it from now on; nothing happens when that is so already.

        Of what was started after the others the whole run is told.
        """
        if self._is_beside(record):
            self._beside.add(record.id)
        pump = self._pumps.get(record.id)
        # One that has ended is listened to again only when it was started again.
        if pump is None or (pump.done() and record.started_at != self._starts[record.id]):
            self._starts[record.id] = record.started_at
            again = since_start or pump is not None
            self._pumps[record.id] = asyncio.create_task(self._pump(record, since_start=again))

    async def put(self, message: Message) -> None:
        """Something else for the reader, in its turn."""
        await self._queue.put(message)

    async def ended(self, look_again: Callable[[], Awaitable[None]] = _nothing) -> None:
        """Until all that were added have ended for good and have been told, but for those that
        are only heard beside others.

        `look_again` may add more when none is left.
        """
        while True:
            if not self._pending():
                await look_again()
            if not (pending := self._pending()):
                break
            await asyncio.wait(pending)
        for pump in self._pumps.values():
            if pump.done():
                pump.result()

    def _pending(self) -> list[asyncio.Task[None]]:
        return [
            pump
            for container_id, pump in self._pumps.items()
            if not pump.done() and container_id not in self._beside
        ]

    async def dead_ones_told(self) -> None:
        """The same for those that have ended by now."""
        find = self._parts.registry.find
        dead = [
            pump
            for container_id, pump in self._pumps.items()
            if (record := find(container_id)) is None or record.status.has_ended
        ]
        await asyncio.gather(*dead)

    async def messages(self, conduct: Awaitable[None]) -> AsyncIterator[Message]:
        """What comes until `conduct` has ended, which adds and waits; raises what it raises."""
        task = asyncio.create_task(self._conducted(conduct))
        try:
            while (message := await self._queue.get()) is not None:
                yield message
            await task
        finally:
            # Nobody reads any more: what waits for room in the queue must not wait for ever.
            left = (task, *self._pumps.values())
            for each in left:
                each.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _conducted(self, conduct: Awaitable[None]) -> None:
        try:
            await conduct
        except Exception:
            await self._queue.put(None)
            raise
        await self._queue.put(None)

    async def _pump(self, record: ContainerRecord, *, since_start: bool) -> None:
        ended = asyncio.create_task(
            self._parts.registry.wait(record.id, lambda r: r is None or r.status.has_ended)
        )
        where = dict(self._range)
        if since_start or self._since_start:
            where["since"], where["tail"] = record.started_at, None
        try:
            if not self._is_silent(record):
                lines = Whole()
                async for entry in follow(self._parts.paths, record.id, until_done=ended, **where):
                    if (line := lines.take(entry)) is not None:
                        await self._queue.put(log_message(record, line))
                for line in lines.rest():
                    await self._queue.put(log_message(record, line))
            message = exit_message(record, await ended)
            if record.id in self._beside:
                message = {**message, "beside": True}
            await self._queue.put(message)
        finally:
            ended.cancel()


def exit_message(record: ContainerRecord, final: ContainerRecord | None) -> Message:
    return {
        "type": "exit",
        "container": record.name,
        "service": record.config.service,
        "code": final.exit_code if final is not None else None,
    }
