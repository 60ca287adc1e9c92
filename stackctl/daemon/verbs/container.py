"""Single containers, found by name, id or the beginning of an id: their life.

A verb on several containers does all of them at once and says, in the order asked for,
what became of each: a row with the name as it was given, or a failure. The result's exit
code is 1 when one of them failed.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from stackctl.daemon.committing import Committing
from stackctl.daemon.containers import Containers
from stackctl.daemon.creation import Creation
from stackctl.daemon.jobs import Message, heard_warnings
from stackctl.daemon.parts import Parts
from stackctl.daemon.sessions import OpenSession, Sessions, Streams, terminal_size
from stackctl.daemon.signals import signal_number
from stackctl.errors import Conflict, StackctlError, UsageError
from stackctl.model.container import Status
from stackctl.model.record import ContainerRecord

Verb = Callable[[Mapping[str, Any]], AsyncIterator[Message]]
Act = Callable[[ContainerRecord], Awaitable[object]]


class ContainerVerbs:
    def __init__(
        self,
        parts: Parts,
        containers: Containers,
        creation: Creation,
        committing: Committing,
        sessions: Sessions,
    ) -> None:
        self._parts = parts
        self._containers = containers
        self._creation = creation
        self._committing = committing
        self._sessions = sessions

    def table(self) -> dict[str, Verb]:
        return {
            "container-create": self.create,
            "container-run": self.run,
            "container-start": self.start,
            "container-stop": self.stop,
            "container-restart": self.restart,
            "container-kill": self.kill,
            "container-rm": self.rm,
            "container-pause": self.pause,
            "container-unpause": self.unpause,
            "container-rename": self.rename,
            "container-wait": self.wait,
            "container-update": self.update,
            "container-prune": self.prune,
            "container-diff": self.diff,
            "container-commit": self.commit,
        }

    def find(self, reference: object) -> ContainerRecord:
        return self._parts.registry.store.find_container(str(reference or ""))

    # -- making one

    async def create(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """`wish` in the form of Docker's create request, `name`; the result has its id."""
        with heard_warnings() as warnings:
            record = await self._create(body)
        yield _made(record, warnings)

    async def run(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """create and start; nobody listens (`run -d`)."""
        with heard_warnings() as warnings:
            record = await self._creation.start(await self._create(body, start_soon=True))
        yield _made(record, warnings)

    async def run_session(self, body: Mapping[str, Any]) -> OpenSession:
        """create, listen and start, in one request: nothing of the output is lost."""
        with heard_warnings() as warnings:
            record = await self._create(body, start_soon=True)
        return await self._started_session(record, body, warnings)

    async def _create(
        self, body: Mapping[str, Any], *, start_soon: bool = False
    ) -> ContainerRecord:
        wish = body.get("wish")
        if not isinstance(wish, dict):
            raise UsageError('the request has no "wish"')
        return await self._creation.create(
            wish,
            name=str(body.get("name") or ""),
            platform=str(body.get("platform") or ""),
            start_soon=start_soon,
        )

    async def start_session(self, body: Mapping[str, Any]) -> OpenSession:
        """start one container with its streams (`start -a`)."""
        record = self.find(body.get("container"))
        if record.status.is_alive:
            return await self.attach_session(body)
        return await self._started_session(record, body)

    async def attach_session(self, body: Mapping[str, Any]) -> OpenSession:
        """The streams of a container that runs."""
        record = self.find(body.get("container"))
        if not record.status.is_alive:
            raise Conflict(
                f"container {record.name} is not running", hint="start it first: start -a"
            )
        if record.status is Status.PAUSED:
            raise Conflict(f"container {record.name} is paused", hint="unpause it first")
        return await self._session(record, body)

    async def _started_session(
        self, record: ContainerRecord, body: Mapping[str, Any], made: Sequence[str] = ()
    ) -> OpenSession:
        """`made`: the warnings of its creation, to which those of its start are added."""
        session = await self._session(record, body)
        try:
            with heard_warnings() as warnings:
                await self._creation.start(record, terminal_size(body))
            session.warnings = [*made, *warnings]
        except BaseException:
            await session.close()
            raise
        return session

    async def _session(self, record: ContainerRecord, body: Mapping[str, Any]) -> OpenSession:
        streams: Streams = await self._parts.runtime.attach(record)
        if record.config.auto_remove:
            streams = _UntilRemoved(streams, self._gone(record))
        session = self._sessions.add(
            OpenSession(
                streams,
                tty=record.config.tty,
                container=record.id,
                exit_frame=bool(body.get("exit_frame")),
                ends_input=record.config.stdin_once and bool(body.get("stdin", True)),
            )
        )
        if record.config.tty and record.status.is_alive and (size := terminal_size(body)):
            session.resize_soon(*size)
        return session

    def _gone(self, record: ContainerRecord) -> Callable[[], Awaitable[object]]:
        return lambda: self._parts.registry.wait(record.id, lambda r: r is None)

    # -- life

    def start(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        return self._each(body, self._creation.start)

    def stop(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        timeout, signame = _timeout(body), str(body.get("signal") or "")
        return self._each(body, lambda r: self._containers.stop(r.id, timeout, signame))

    def restart(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        timeout, signame = _timeout(body), str(body.get("signal") or "")

        return self._each(body, lambda r: self._creation.restart(r, timeout, signame))

    def kill(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        number = signal_number(str(body.get("signal") or signal.SIGKILL.name))
        return self._each(body, lambda r: self._containers.kill(r.id, number))

    def rm(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        force, volumes = bool(body.get("force")), bool(body.get("volumes"))

        async def act(record: ContainerRecord) -> None:
            if record.status.needs_stop and not force:
                raise Conflict(
                    f"container {record.name} is {record.status}",
                    hint="stop it first, or remove it with --force",
                )
            await self._creation.remove(record, force=force, volumes=volumes)

        return self._each(body, act)

    def pause(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        return self._each(body, lambda r: self._containers.pause(r.id))

    def unpause(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        return self._each(body, lambda r: self._containers.unpause(r.id))

    async def rename(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        from stackctl.daemon.single import checked_name

        name = checked_name(str(body.get("name") or ""))
        await self._containers.set_name(self.find(body.get("container")).id, name)
        yield {"type": "result", "exit_code": 0}

    async def wait(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Exit codes, in the order asked for; `condition` as Docker's API has it."""
        condition = str(body.get("condition") or "not-running")

        async def act(record: ContainerRecord) -> Message:
            return await self.exit_of(record, condition)

        async for message in self._each(body, act, goes_on=False):
            yield message

    async def exit_of(self, record: ContainerRecord, condition: str) -> Message:
        """{"ExitCode": number or None (honestly unknown), "Error": text} once it holds."""
        registry = self._parts.registry
        if condition == "next-exit" and not record.status.is_alive:
            await registry.wait(record.id, lambda r: r is None or r.status.is_alive)
        final = await registry.wait(record.id, lambda r: r is None or not _will_go_on(r))
        if condition == "removed":
            await registry.wait(record.id, lambda r: r is None)
        if final is None:
            return {"ExitCode": 0, "Error": ""}
        return {"ExitCode": final.exit_code, "Error": final.error}

    def update(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Limits and restart policy of containers that may run (`host`: Docker's HostConfig)."""
        host = body.get("host")
        return self._each(body, lambda r: self._creation.update(r, host or {}))

    async def prune(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Removes all that have ended or were never started. Rows have what was removed."""
        from stackctl.daemon.filters import prunable

        freed = 0
        wanted = prunable(body.get("filters") or {})
        for record in self._parts.registry.all():
            if record.status.needs_stop or not wanted(record.created_at, record.config.labels):
                continue
            try:
                size = await self._creation.writable_size(record)
                await self._creation.remove(record)
            except StackctlError:
                continue  # started, or removed, by somebody else meanwhile
            freed += size
            yield {"type": "row", "Name": record.id}
        yield {"type": "result", "exit_code": 0, "SpaceReclaimed": freed}

    # -- what it became

    async def diff(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Rows with Path and Kind, as Docker's API has them."""
        for change in await self._committing.changes(self.find(body.get("container"))):
            yield {"type": "row", **change}
        yield {"type": "result", "exit_code": 0}

    async def commit(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """See Committing.commit; the result has the image's id."""
        made = await self._committing.commit(self.find(body.get("container")), body)
        yield {"type": "result", "exit_code": 0, "id": made.id}

    # -- several at once

    async def _each(
        self, body: Mapping[str, Any], act: Act, *, goes_on: bool = True
    ) -> AsyncIterator[Message]:
        """`goes_on`: what was asked for is done even when the caller leaves."""
        given = [str(name) for name in body.get("containers") or ()]

        async def one(name: str) -> Message:
            with heard_warnings() as warnings:
                more = await act(self.find(name))
            return {**(more if isinstance(more, dict) else {}), "Warnings": warnings}

        tasks = [asyncio.create_task(one(name)) for name in given]
        code = 0
        try:
            for name, task in zip(given, tasks, strict=True):
                try:
                    more = await asyncio.shield(task)
                except StackctlError as error:
                    code = 1
                    yield {"type": "failure", "Name": name, "error": error.to_json()}
                else:
                    for text in more.pop("Warnings"):
                        yield {"type": "warning", "text": text, "place": ""}
                    yield {"type": "row", "Name": name, **more}
        finally:
            for task in tasks:
                task.add_done_callback(lambda t: t.cancelled() or t.exception())
                if not goes_on:
                    task.cancel()
        yield {"type": "result", "exit_code": code}


class _UntilRemoved:
    """Streams whose end is the removal of their container: its name is free again then."""

    def __init__(self, streams: Streams, gone: Callable[[], Awaitable[object]]) -> None:
        self._streams = streams
        self._gone = gone
        self.read = streams.read
        self.write = streams.write
        self.close_stdin = streams.close_stdin
        self.close = streams.close
        self.resize = streams.resize

    async def wait(self) -> int:
        code = await self._streams.wait()
        await self._gone()
        return code


def _will_go_on(record: ContainerRecord) -> bool:
    return record.status.is_alive or record.status is Status.RESTARTING


def _made(record: ContainerRecord, warnings: list[str]) -> Message:
    return {
        "type": "result",
        "exit_code": 0,
        "container": record.id,
        "name": record.name,
        "warnings": warnings,
    }


def _timeout(body: Mapping[str, Any]) -> float | None:
    raw = body.get("timeout")
    if raw is None:
        return None
    # Docker's -1: as long as it takes.
    return float(raw) if float(raw) >= 0 else 1e9
