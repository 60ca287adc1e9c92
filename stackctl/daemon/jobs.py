"""Work that goes on when the terminal that asked for it goes away.

A job runs in a task of its own and says what it does as messages; a request
reads them as they come. One job at a time changes a project: a later one waits,
and a command that ends the project (stop, down, kill) cancels the one before.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import Any

Message = dict[str, Any]
Emit = Callable[[Message], None]
#: Who hears of a build that is a step of a plan.
EMIT: ContextVar[Emit | None] = ContextVar("EMIT", default=None)
Work = Callable[[Emit], Awaitable[Message]]


class Job:
    """A running piece of work; `messages` is for one reader."""

    def __init__(self, work: Work, after: Job | None, *, cancel_before: bool) -> None:
        self._queue: asyncio.Queue[Message | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._run(work, after, cancel_before))

    async def _run(self, work: Work, after: Job | None, cancel_before: bool) -> Message:
        try:
            if after is not None and not after.done:
                if cancel_before:
                    after.cancel()
                await after.finished()
            return await work(self._queue.put_nowait)
        finally:
            self._queue.put_nowait(None)

    @property
    def done(self) -> bool:
        return self._task.done()

    def cancel(self) -> None:
        self._task.cancel()

    async def finished(self) -> None:
        """Wait until it has ended, however it does."""
        await asyncio.wait([self._task])

    async def messages(self) -> AsyncIterator[Message]:
        """What it says, then its result; raises what it raised.

        A reader that leaves early leaves the job running.
        """
        while (message := await self._queue.get()) is not None:
            yield message
        yield await asyncio.shield(self._task)


class Jobs:
    """The jobs of all projects."""

    def __init__(self) -> None:
        self._latest: dict[str, Job] = {}

    def begin(self, project: str, work: Work, *, cancel_before: bool = False) -> Job:
        """Start `work` once the project's job before it has ended (or was cancelled)."""
        job = Job(work, self._latest.get(project), cancel_before=cancel_before)
        self._latest[project] = job
        job._task.add_done_callback(lambda _: self._forget(project, job))
        return job

    def _forget(self, project: str, job: Job) -> None:
        if self._latest.get(project) is job:
            del self._latest[project]
        # A failure without a reader has been told by nobody; the reader re-raises it otherwise.
        if not job._task.cancelled():
            job._task.exception()

    @property
    def idle(self) -> bool:
        return not self._latest

    async def close(self) -> None:
        jobs = list(self._latest.values())
        for job in jobs:
            job.cancel()
        for job in jobs:
            await job.finished()
