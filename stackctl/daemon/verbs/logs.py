"""logs: the log files of a project's containers as one stream, in order of time."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
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
        """Logs since each container's start, and exits, until all of them have ended."""
        only = set(body.get("attach_services") or ())
        without = set(body.get("no_attach") or ())
        records = [r for r in map(self._parts.registry.find, container_ids) if r is not None]
        async for message in self._follow(
            records,
            silent={
                r.id
                for r in records
                if (only and r.config.service not in only)
                or r.config.service in without
                or (not only and not r.config.attach)
            },
            since_start=True,
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
        silent: Collection[str] = (),
    ) -> AsyncIterator[Message]:
        """Lines as they come and each container's exit, until all have ended for good."""
        queue: asyncio.Queue[Message | None] = asyncio.Queue(_BACKLOG)

        async def pump(record: ContainerRecord) -> None:
            ended = asyncio.create_task(
                self._parts.registry.wait(record.id, lambda r: r is None or r.status.has_ended)
            )
            try:
                if record.id not in silent:
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
                await asyncio.gather(*(pump(r) for r in records))
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
