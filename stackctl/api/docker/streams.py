"""Output and input of containers: logs, attach, and what exec needs of both.

Frames are Docker's (see api.hijack); with a terminal there are none.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

from stackctl.api import websocket
from stackctl.api.docker.call import Call, DockerError
from stackctl.api.docker.detaching import Watch, sequence
from stackctl.api.docker.failures import container_found
from stackctl.api.docker.port import DockerEngine, LogEntry, Streams
from stackctl.api.docker.table import Table
from stackctl.api.hijack import MULTIPLEXED, RAW
from stackctl.api.http import ClientGone, RawStream
from stackctl.errors import NotFound
from stackctl.model.record import ContainerRecord

#: What a process's streams go through.
BothWays = RawStream | websocket.WebSocket
_NUMBERS = {"stdout": 1, "stderr": 2}
#: Output that is at hand goes out in pieces of about this size.
_ENOUGH = 65536


class StreamRoutes:
    def __init__(self, engine: DockerEngine) -> None:
        self._engine = engine

    def register(self, table: Table) -> None:
        table.add("GET", "/containers/{id}/logs", self.logs)
        table.add("POST", "/containers/{id}/attach", self.attach)
        table.add("GET", "/containers/{id}/attach/ws", self.attach_by_web_socket)

    async def logs(self, call: Call) -> None:
        record = container_found(self._engine, call["id"])
        wanted = _streams(call)
        if not wanted:
            raise DockerError(400, "Bad parameters: you must choose at least one stream")
        if not record.config.logging.keeps:
            raise DockerError(501, "configured logging driver does not support reading")
        tty = record.config.tty
        entries = self._engine.logs(
            record,
            follow=call.flag("follow"),
            tail=_tail(call.text("tail")),
            since=call.moment("since"),
            until=call.moment("until"),
        )
        stamps = call.flag("timestamps")
        call.stream(content_type(call, tty=tty))
        await self._send(call, entries, wanted, tty=tty, stamps=stamps)
        await call.exchange.end()

    async def _send(
        self,
        call: Call,
        entries: AsyncIterator[LogEntry],
        wanted: frozenset[str],
        *,
        tty: bool,
        stamps: bool,
    ) -> None:
        """Entries in pieces: what comes without a pause goes together."""
        pending = bytearray()
        loop = asyncio.get_running_loop()
        flushing: asyncio.Handle | None = None

        def flush() -> None:
            nonlocal flushing
            flushing = None
            if pending:
                data = bytes(pending)
                pending.clear()
                try:
                    call.exchange.send(data)
                except ClientGone:
                    return  # the exchange's task is being cancelled for the same reason

        try:
            async for entry in entries:
                if entry.stream not in wanted:
                    continue
                pending += framed(entry, tty=tty, stamps=stamps)
                if len(pending) >= _ENOUGH:
                    flush()
                    await call.exchange.drain()
                    await asyncio.sleep(0)
                elif flushing is None:
                    flushing = loop.call_soon(flush)
        finally:
            if flushing is not None:
                flushing.cancel()
        flush()

    async def attach(self, call: Call) -> None:
        record = self._attachable(call)
        await call.exchange.body()
        tty = record.config.tty
        await self._attach(call, record, lambda: hijacked(call, tty=tty), frames=not tty)

    async def attach_by_web_socket(self, call: Call) -> None:
        """The same in messages; what is written to the two outputs comes as one stream."""
        record = self._attachable(call)
        key = websocket.checked_key(call.exchange)
        opened = partial(websocket.accepted, call.exchange, key)
        await self._attach(call, record, opened, frames=False)

    def _attachable(self, call: Call) -> ContainerRecord:
        record = container_found(self._engine, call["id"])
        if record.status == "paused":
            raise DockerError(409, f"container {record.id} is paused, unpause it before attach")
        if record.status == "restarting":
            raise DockerError(409, f"Container {record.id} is restarting, wait until it is running")
        return record

    async def _attach(
        self, call: Call, record: ContainerRecord, opened: Callable[[], BothWays], *, frames: bool
    ) -> None:
        wanted = _streams(call)
        keys = sequence(call.text("detachKeys")) if record.config.tty else b""
        session = await self._engine.attach(record) if call.flag("stream") else None
        attached_at = time.time()
        try:
            raw = opened()
            if call.flag("logs"):
                await raw.head_taken()
                await self._replay(raw, record, wanted, until=attached_at, frames=frames)
            if session is None:
                await raw.finish()
                return
            stdin = call.flag("stdin")
            once = record.config.stdin_once
            detached = False
            try:
                detached = await pump(
                    raw, session, wanted=wanted, stdin=stdin, once=once, keys=keys, frames=frames
                )
            finally:
                if stdin and once and not detached:
                    # Whoever held its input is gone, however that came.
                    await self._end_input(record.id, session)
            if detached:
                self._engine.detached(record)
        finally:
            if session is not None:
                await session.close()

    async def _end_input(self, container_id: str, session: Streams) -> None:
        try:
            lives = self._engine.container(container_id).status.is_alive
        except NotFound:
            return
        if lives:
            await session.close_stdin()

    async def _replay(
        self,
        raw: BothWays,
        record: ContainerRecord,
        wanted: frozenset[str],
        *,
        until: float,
        frames: bool,
    ) -> None:
        entries = self._engine.logs(record, follow=False, tail=None, since=0.0, until=until)
        async for entry in entries:
            if entry.stream in wanted:
                await raw.write(framed(entry, tty=not frames, stamps=False))


def hijacked(call: Call, *, tty: bool) -> RawStream:
    """The connection's bytes: after 101 for who asks for an upgrade, after a 200 else."""
    kind = content_type(call, tty=tty)
    if call.exchange.headers.get("upgrade", "").lower() == "tcp":
        return call.exchange.upgrade(
            [("Content-Type", kind), ("Connection", "Upgrade"), ("Upgrade", "tcp")]
        )
    return call.exchange.take_over(kind)


def content_type(call: Call, *, tty: bool) -> str:
    """Since 1.42 the type says whether there are frames."""
    return MULTIPLEXED if not tty and call.version >= (1, 42) else RAW


async def pump(
    raw: BothWays,
    session: Streams,
    *,
    wanted: frozenset[str],
    stdin: bool,
    frames: bool,
    once: bool = True,
    keys: bytes = b"",
    ended: Callable[[], Awaitable[object]] | None = None,
) -> bool:
    """Both ways until the output ends (and `ended` returns), or the client goes.

    Without `frames` the output goes as it is. The end of the client's input is the process's
    when `once` is set. True when the client has typed `keys` and let go. Raises Closed.
    """
    watch = Watch(keys)
    feeding = asyncio.create_task(_feed(raw, session, watch, once=once) if stdin else _drop(raw))
    copying = asyncio.create_task(_copy(raw, session, wanted, frames=frames))
    try:
        await asyncio.wait((feeding, copying), return_when=asyncio.FIRST_COMPLETED)
        detached = feeding.done() and feeding.result()
        if not detached:
            await copying
            if ended is not None:
                # Clients ask for the exit code as soon as the stream has ended.
                await ended()
    finally:
        feeding.cancel()
        copying.cancel()
        await asyncio.gather(feeding, copying, return_exceptions=True)
    await raw.finish()
    return detached


async def _copy(raw: BothWays, session: Streams, wanted: frozenset[str], *, frames: bool) -> None:
    await raw.head_taken()
    numbers = {_NUMBERS[name] for name in wanted}
    while (piece := await session.read()) is not None:
        number, data = piece
        if session.tty:
            number = 1
        if not data or not (number in numbers or (session.tty and not frames)):
            continue
        if frames:
            await raw.write(struct.pack(">BxxxL", number, len(data)), data)
        else:
            await raw.write(data)


async def _feed(raw: BothWays, session: Streams, watch: Watch, *, once: bool) -> bool:
    """Client to standard input; True when it typed the keys that let go."""
    try:
        while data := await raw.read():
            data, detached = watch.feed(data)
            if detached:
                if data:
                    await session.write(data)
                return True
            try:
                await session.write(data)
            except OSError:
                # The process reads no more; what the client still sends must not block it.
                return await _drop(raw)
        if once:
            await session.close_stdin()
    except websocket.Closed:
        raise
    except (ClientGone, OSError):
        pass
    return False


async def _drop(raw: BothWays) -> bool:
    try:
        while await raw.read():
            pass
    except websocket.Closed:
        raise
    except ClientGone:
        pass
    return False


def framed(entry: LogEntry, *, tty: bool, stamps: bool) -> bytes:
    text = entry.text if entry.partial else entry.text + "\n"
    data = (f"{entry.time} {text}" if stamps else text).encode("utf-8", "surrogatepass")
    if tty:
        return data
    return struct.pack(">BxxxL", _NUMBERS.get(entry.stream, 1), len(data)) + data


def _streams(call: Call) -> frozenset[str]:
    return frozenset(name for name in _NUMBERS if call.flag(name))


def _tail(text: str) -> int | None:
    """None is everything, as Docker reads what is no number."""
    try:
        number = int(text)
    except ValueError:
        return None
    return number if number >= 0 else None
