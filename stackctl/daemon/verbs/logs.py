"""logs: the log files of a project's containers as one stream, in order of time."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterator,
    Mapping,
    Sequence,
)
from typing import Any

from stackctl.daemon.events import Event
from stackctl.daemon.jobs import Jobs, Message
from stackctl.daemon.parts import Parts
from stackctl.daemon.projects import Projects
from stackctl.daemon.said import log_message
from stackctl.daemon.verbs.following import Following
from stackctl.errors import NotFound, StackctlError, UsageError
from stackctl.model.record import ContainerRecord
from stackctl.runtime.logfile import LogLine, read, whole

#: What is told of a container in place of its log.
NO_LOG = "keeps no log: its logging has the driver none"
#: Lines that are read before the first of them is sent.
_PIECE = 1000


class Logs:
    def __init__(self, parts: Parts, projects: Projects, jobs: Jobs) -> None:
        self._parts = parts
        self._jobs = jobs
        self._projects = projects

    async def logs(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """The `logs` verb: what is there, merged by time, then (follow) what comes.

        As with compose nobody hears one-offs, nor, unless it is named, what is not attached to.
        """
        name = await self._projects.name(body)
        index, services = int(body.get("index") or 0), set(body.get("services") or ())
        if index and len(services) != 1:
            raise UsageError("--index is of one service: name it")
        scope = None if services else await self._projects.scope(body)

        def is_meant(record: ContainerRecord) -> bool:
            config = record.config
            # Without a file nobody knows what is meant to be heard.
            heard = config.attach or (scope is None and not services)
            wanted = config.service in services if services else heard
            wanted = wanted and (scope is None or config.service in scope.active)
            mine = config.project == name and not config.oneoff
            return mine and wanted and index in (0, config.number)

        records = [r for r in await self._projects.chosen(body) if is_meant(r)]
        if index and not records:
            raise NotFound(f'service "{min(services)}" has no container number {index}')
        for record in records:
            if not record.config.logging.keeps:
                yield _no_log(record)
        if not body.get("follow"):
            async for message in self.of(records, body):
                yield message
            return
        following = _following(self._parts, body)

        async def conduct() -> None:
            with self._parts.events.subscribe() as events:
                for record in records:
                    following.add(record)
                listening = asyncio.create_task(self._add_started(following, events, is_meant))
                try:
                    await following.ended(self._later(following, name, is_meant))
                finally:
                    listening.cancel()

        async for message in following.messages(conduct()):
            yield message
        yield {"type": "result", "exit_code": 0}

    def _later(
        self, following: Following, project: str, is_meant: Callable[[ContainerRecord], bool]
    ) -> Callable[[], Awaitable[None]]:
        """Whether somebody is just about to start them again: then there is more to come."""
        began = time.time()

        async def look_again() -> None:
            await self._jobs.settled(project)
            for record in self._parts.registry.of_project(project):
                if record.status.is_alive and record.started_at > began and is_meant(record):
                    following.add(record, since_start=True)

        return look_again

    async def of(
        self, records: Sequence[ContainerRecord], body: Mapping[str, Any]
    ) -> AsyncIterator[Message]:
        """The same for these containers."""
        tail = _tail(body.get("tail"))
        since, until = _moment(body.get("since")), _moment(body.get("until"))
        if body.get("follow"):
            following = _following(self._parts, body)
            for record in records:
                following.add(record)
            async for message in following.messages(following.ended()):
                yield message
        else:
            lines = self._merged(records, tail=tail, since=since, until=until)
            # Piece by piece: a log may be larger than memory.
            while piece := await asyncio.to_thread(lambda: list(itertools.islice(lines, _PIECE))):
                for record, line in piece:
                    yield log_message(record, line)
        yield {"type": "result", "exit_code": 0}

    def _merged(
        self, records: Sequence[ContainerRecord], *, tail: int | None, since: float, until: float
    ) -> Iterator[tuple[ContainerRecord, LogLine]]:
        """Lines of all containers by time; `tail` counts per container. Blocking."""

        def of(record: ContainerRecord) -> Iterator[tuple[ContainerRecord, LogLine]]:
            paths = self._parts.paths
            entries = read(paths, record.id, tail=tail, since=since, until=until)
            for line in whole(entries):
                yield record, line

        return heapq.merge(*map(of, records), key=lambda entry: entry[1].time)

    async def attached(
        self,
        work: AsyncIterator[Message],
        project: str,
        body: Mapping[str, Any],
        watched: Collection[str],
    ) -> AsyncIterator[Message]:
        """What `up` says; beside it, from their starts on, logs and ends of its containers.

        After "attached" (all are up) it goes on until all of the services that are `watched`
        have ended, and the result of `up` comes last. With `watch` containers that come later
        are listened to as well, and it ends with its reader.
        """
        is_silent = _silent(body)
        following = Following(
            self._parts,
            since_start=True,
            is_silent=is_silent,
            is_beside=lambda record: record.config.service not in watched,
        )
        services = set(body.get("services") or ())

        def is_ours(record: ContainerRecord) -> bool:
            config = record.config
            mine = config.project == project and not config.oneoff
            return mine and (not services or config.service in services)

        async def conduct() -> None:
            result: Message = {}
            with self._parts.events.subscribe() as events:
                listening = asyncio.create_task(self._add_started(following, events, is_ours))
                try:
                    async for message in work:
                        if message["type"] == "result":
                            result = message
                        else:
                            await following.put(message)
                    found = map(self._parts.registry.find, result["containers"])
                    records = [record for record in found if record is not None]
                    told = [record for record in records if not is_silent(record)]
                    for record in told:
                        if not record.config.logging.keeps:
                            await following.put(_no_log(record))
                    heard = [record.id for record in told if record.config.logging.keeps]
                    await following.put({"type": "attached", "containers": heard})
                    for record in records:
                        following.add(record)
                    if body.get("watch"):
                        await listening
                    await following.ended(self._later(following, project, is_ours))
                except StackctlError:
                    # Whoever waits for the cause has its last words first.
                    await following.dead_ones_told()
                    raise
                finally:
                    listening.cancel()
                await following.put(result)

        async for message in following.messages(conduct()):
            yield message

    async def _add_started(
        self,
        following: Following,
        events: AsyncIterable[Event],
        is_ours: Callable[[ContainerRecord], bool],
    ) -> None:
        """Whatever starts; ends when the engine does."""
        async for event in events:
            if (event.kind, event.action) == ("container", "start"):
                record = self._parts.registry.find(event.id)
                if record is not None and is_ours(record):
                    following.add(record, since_start=True)


def _following(parts: Parts, body: Mapping[str, Any]) -> Following:
    return Following(
        parts,
        since=_moment(body.get("since")),
        tail=_tail(body.get("tail")),
        until=_moment(body.get("until")),
    )


def _silent(body: Mapping[str, Any]) -> Callable[[ContainerRecord], bool]:
    """Of which containers an attached `up` shows no lines."""
    only = set(body.get("attach_services") or ())
    without = set(body.get("no_attach") or ())

    def is_silent(record: ContainerRecord) -> bool:
        service = record.config.service
        if only:
            return service not in only
        return service in without or not record.config.attach

    return is_silent


def _no_log(record: ContainerRecord) -> Message:
    return {"type": "warning", "text": f"{record.name} {NO_LOG}", "place": ""}


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
