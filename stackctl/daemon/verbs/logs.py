"""logs: the log files of a project's containers as one stream, in order of time."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import Any

from stackctl.daemon.containers import Parts
from stackctl.daemon.jobs import Message
from stackctl.daemon.projects import Projects
from stackctl.errors import UsageError
from stackctl.model.record import ContainerRecord
from stackctl.runtime.logfile import LogLine, follow, read

#: Messages of all followers that may wait for a slow reader before they pause.
_BACKLOG = 1000


class Logs:
    def __init__(self, parts: Parts, projects: Projects) -> None:
        self._parts = parts
        self._projects = projects

    async def logs(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """The `logs` verb: what is there, merged by time, then (follow) what comes."""
        name = await self._projects.name(body)
        records = self._projects.select(name, body.get("services") or (), oneoff=True)
        async for message in self.of(records, body):
            yield message

    async def of(
        self, records: Sequence[ContainerRecord], body: Mapping[str, Any]
    ) -> AsyncIterator[Message]:
        """The same for these containers."""
        tail = _tail(body.get("tail"))
        since, until = _moment(body.get("since")), _moment(body.get("until"))
        if body.get("follow"):
            async for message in self._follow(records, since=since, tail=tail, until=until):
                yield message
        else:
            for record, line in await asyncio.to_thread(
                self._merged, records, tail=tail, since=since, until=until
            ):
                yield log_message(record, line)
        yield {"type": "result", "exit_code": 0}

    def _merged(
        self, records: Sequence[ContainerRecord], *, tail: int | None, since: float, until: float
    ) -> list[tuple[ContainerRecord, LogLine]]:
        """Lines of all containers by time; `tail` counts per container."""
        streams = [
            [
                (line.time, index, line)
                for line in read(self._parts.paths, r.id, tail=tail, since=since, until=until)
            ]
            for index, r in enumerate(records)
        ]
        merged = heapq.merge(*streams, key=lambda entry: entry[0])
        return [(records[index], line) for _, index, line in merged]

    async def attached(
        self, project: str, body: Mapping[str, Any], container_ids: Sequence[str]
    ) -> AsyncIterator[Message]:
        """Logs since each container's start, and exits, until all of them have ended.

        With `watch` the containers that come later are listened to as well, and it ends
        with its reader.
        """
        only = set(body.get("attach_services") or ())
        without = set(body.get("no_attach") or ())
        services = set(body.get("services") or ())

        def is_silent(record: ContainerRecord) -> bool:
            service = record.config.service
            if only:
                return service not in only
            return service in without or not record.config.attach

        def is_later(record: ContainerRecord) -> bool:
            config = record.config
            ours = config.project == project and not config.oneoff
            return ours and (not services or config.service in services)

        records = [r for r in map(self._parts.registry.find, container_ids) if r is not None]
        async for message in self._follow(
            records,
            is_silent=is_silent,
            since_start=True,
            is_later=is_later if body.get("watch") else None,
        ):
            yield message

    async def _follow(
        self,
        records: Sequence[ContainerRecord],
        *,
        since: float = 0.0,
        since_start: bool = False,
        tail: int | None = None,
        until: float = 0.0,
        is_silent: Callable[[ContainerRecord], bool] = lambda record: False,
        is_later: Callable[[ContainerRecord], bool] | None = None,
    ) -> AsyncIterator[Message]:
        """Lines as they come and each container's exit, until all have ended for good.

        With `is_later` it does not end: containers that start meanwhile are followed, too.
        """
        queue: asyncio.Queue[Message | None] = asyncio.Queue(_BACKLOG)

        async def pump(record: ContainerRecord) -> None:
            ended = asyncio.create_task(
                self._parts.registry.wait(record.id, lambda r: r is None or r.status.has_ended)
            )
            try:
                if not is_silent(record):
                    async for line in follow(
                        self._parts.paths,
                        record.id,
                        tail=tail,
                        since=record.started_at if since_start else since,
                        until=until,
                        until_done=ended,
                    ):
                        await queue.put(log_message(record, line))
                await queue.put(exit_message(record, await ended))
            finally:
                ended.cancel()

        async def all_of_them() -> None:
            try:
                if is_later is None:
                    await asyncio.gather(*(pump(r) for r in records))
                else:
                    await self._pump_all(records, pump, is_later)
            finally:
                await queue.put(None)

        task = asyncio.create_task(all_of_them())
        try:
            while (message := await queue.get()) is not None:
                yield message
            await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _pump_all(
        self,
        records: Sequence[ContainerRecord],
        pump: Callable[[ContainerRecord], Coroutine[Any, Any, None]],
        is_later: Callable[[ContainerRecord], bool],
    ) -> None:
        """These, and whatever starts later; ends when the engine does."""
        with self._parts.events.subscribe() as events:
            async with asyncio.TaskGroup() as group:
                running = {r.id: group.create_task(pump(r)) for r in records}
                async for event in events:
                    if (event.kind, event.action) != ("container", "start"):
                        continue
                    record = self._parts.registry.find(event.id)
                    task = running.get(event.id)
                    if record is None or not is_later(record):
                        continue
                    if task is None or task.done():
                        running[record.id] = group.create_task(pump(record))


def exit_message(record: ContainerRecord, final: ContainerRecord | None) -> Message:
    return {
        "type": "exit",
        "container": record.name,
        "service": record.config.service,
        "code": final.exit_code if final is not None else None,
    }


def log_message(record: ContainerRecord, line: LogLine) -> Message:
    return {
        "type": "log",
        "container": record.name,
        "service": record.config.service,
        "number": record.config.number,
        "stream": line.stream,
        "time": line.time,
        "line": line.text,
    }


def _tail(raw: object) -> int | None:
    """ "all", None or a negative number: everything."""
    if raw in (None, "", "all"):
        return None
    try:
        count = int(str(raw))
    except ValueError:
        raise UsageError(f'--tail takes a number or "all", not "{raw}"') from None
    return count if count >= 0 else None


def _moment(raw: object) -> float:
    """Unix seconds from what the CLI sends; 0.0 means without limit."""
    return float(raw) if isinstance(raw, int | float) else 0.0
