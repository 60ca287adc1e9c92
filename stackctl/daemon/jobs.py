"""Work that goes on when the terminal that asked for it goes away.

A job runs in a task of its own and says what it does as messages; a request
reads them as they come. One job at a time changes a project: a later one waits, and says so.
It does not wait for a job that nobody reads any more, which gives way to it; and a command
that ends the project (stop, down, kill) cancels the one before in any case.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from stackctl.errors import Conflict, StackctlError

Message = dict[str, Any]
Emit = Callable[[Message], None]
#: Who hears of what happens by the way: a build that is a step of a plan, a warning.
EMIT: ContextVar[Emit | None] = ContextVar("EMIT", default=None)
#: Who hears what cannot wait for the first message of the verb: that it waits for somebody.
ASIDE: ContextVar[Emit | None] = ContextVar("ASIDE", default=None)
#: Failures that keep nothing else from being done; None: for this work they are warnings.
LATE: ContextVar[list[StackctlError] | None] = ContextVar("LATE", default=None)
Work = Callable[[Emit], Awaitable[Message]]
#: Seconds that a job waits for the one before until it is told.
_SILENCE = 1.0


def warn(text: str) -> None:
    """Tells whoever asked for what is being done; nobody, when nobody listens."""
    emit = EMIT.get()
    if emit is not None:
        emit({"type": "warning", "text": text, "place": ""})


def fail_late(error: StackctlError) -> None:
    """Tells of a failure after which the work goes on, at its end or as a warning."""
    late = LATE.get()
    if late is not None:
        late.append(error)
        return
    said = f" ({error.details[-1]})" if error.details else ""
    warn(f"{error.brief}{said}")


@contextmanager
def heard_warnings() -> Iterator[list[str]]:
    """The texts of the warnings that what is done inside emits."""
    texts: list[str] = []

    def emit(message: Message) -> None:
        if message["type"] == "warning":
            texts.append(str(message["text"]))

    token = EMIT.set(emit)
    try:
        yield texts
    finally:
        EMIT.reset(token)


class Job:
    """A running piece of work; `messages` is for one reader."""

    def __init__(
        self, name: str, work: Work, before: Job | None, *, cancel_before: bool = False
    ) -> None:
        self.name = name
        self._ended_by = ""
        self._before = before
        self._abandoned = False
        self._queue: asyncio.Queue[Message | None] = asyncio.Queue()
        if before is not None and not before.done:
            if cancel_before:
                before.cancel(by=name)
            elif before._abandoned:
                before._task.cancel()
                text = f'"{before.name}", which went on when its caller left, gives way to this'
                self._queue.put_nowait({"type": "warning", "text": text, "place": ""})
        self._task: asyncio.Task[Message] = asyncio.create_task(self._run(work))

    async def _run(self, work: Work) -> Message:
        ASIDE.set(self._queue.put_nowait)
        try:
            await self._wait_turn()
            return await work(self._queue.put_nowait)
        finally:
            self._before = None
            self._queue.put_nowait(None)

    async def _wait_turn(self) -> None:
        """Until the job before has ended; also when this one is cancelled meanwhile.

        Whoever comes next waits for this job alone: it must not end while the one
        before still changes the project.
        """
        cancelled: asyncio.CancelledError | None = None
        is_told = False
        while self._before is not None and not self._before.done:
            try:
                await self._before.finished(None if is_told else _SILENCE)
            except asyncio.CancelledError as error:
                cancelled = error
            if not is_told and not self._before.done:
                is_told = True
                text = f'waiting for "{self._before.name}" of the same project to end'
                # Who gives up now has begun nothing.
                message = {"type": "warning", "text": text, "place": "", "unbegun": True}
                self._queue.put_nowait(message)
        if cancelled is not None:
            raise cancelled

    @property
    def done(self) -> bool:
        return self._task.done()

    def cancel(self, *, by: str = "") -> None:
        """End it, and those it waits for. `by` is what its reader is told."""
        self._ended_by = self._ended_by or by
        self._task.cancel()
        if self._before is not None:
            self._before.cancel(by=by)

    async def finished(self, timeout: float | None = None) -> None:
        """Wait until it has ended, however it does; at most `timeout` seconds."""
        await asyncio.wait([self._task], timeout=timeout)

    async def messages(self) -> AsyncIterator[Message]:
        """What it says, then its result; raises what it raised.

        A reader that leaves early leaves the job running, if it has begun.
        """
        try:
            while (message := await self._queue.get()) is not None:
                yield message
            await self.finished()
        finally:
            self._left()
        if self._task.cancelled() and self._ended_by:
            raise Conflict(
                f'"{self.name}" was ended by "{self._ended_by}"',
                hint="another command on the same project took over",
            )
        yield self._task.result()

    def _left(self) -> None:
        """Its reader has gone."""
        if not self.done:
            self._abandoned = True
            if self._before is not None:
                self._task.cancel()

    def forget(self) -> None:
        """A failure without a reader is nobody's; a reader has raised it."""
        if not self._task.cancelled():
            self._task.exception()

    def on_end(self, call: Callable[[], None]) -> None:
        self._task.add_done_callback(lambda _: call())


class Jobs:
    """The jobs of all projects."""

    def __init__(self) -> None:
        self._latest: dict[str, Job] = {}

    def begin(
        self, project: str, work: Work, *, name: str = "a command", cancel_before: bool = False
    ) -> Job:
        """Start `work` once all the project's jobs before it have ended (or were cancelled)."""
        job = Job(name, work, self._latest.get(project), cancel_before=cancel_before)
        self._latest[project] = job
        job.on_end(lambda: self._forget(project, job))
        return job

    def _forget(self, project: str, job: Job) -> None:
        if self._latest.get(project) is job:
            del self._latest[project]
        job.forget()

    async def settled(self, project: str) -> None:
        """Until no job of the project is under way."""
        while (job := self._latest.get(project)) is not None and not job.done:
            await job.finished()

    @property
    def idle(self) -> bool:
        return not self._latest

    async def close(self) -> None:
        jobs = list(self._latest.values())
        for job in jobs:
            job.cancel()
        for job in jobs:
            await job.finished()
