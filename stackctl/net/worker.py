"""One thread for blocking work, fed from an asyncio loop, flushed once a round.

setns(2) is per thread, so everything that enters a namespace stays on one. All
jobs that wait when the thread is free make one round: each is called, then
`flush` does what they left pending together (one nftables batch), then they are
answered. `late` does what nobody should wait for (removals): when a job of the
round asked for it, and else when the thread has had nothing to do for a moment,
so that much of it comes together.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from stackctl.values import dataclass

T = TypeVar("T")

log = logging.getLogger(__name__)

#: Seconds without a job after which late work is done.
_QUIET = 0.03


@dataclass(slots=True)
class _Job:
    call: Callable[[], Any]
    future: asyncio.Future[Any]
    is_late: bool
    result: Any = None
    error: BaseException | None = None


class Worker:
    """The thread. `run` may be awaited from the loop that `start` was called on only."""

    def __init__(self, flush: Callable[[], None], late: Callable[[], None]) -> None:
        self._flush, self._late = flush, late
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def is_running(self) -> bool:
        return self._thread is not None

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="stackctl-net", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Ends the thread after the jobs that wait."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            await asyncio.get_running_loop().run_in_executor(None, thread.join)

    async def run(self, call: Callable[[], T], *, late: bool = False) -> T:
        """Calls on the thread; the result when its round was flushed.

        A cancelled caller does not stop the call. `late`: answered after `late`.
        """
        if self._loop is None or self._thread is None:
            raise RuntimeError("the net worker is not running")
        result: T = await self._put(self._loop, call, late)
        return result

    def call_soon(self, call: Callable[[], object]) -> None:
        """Calls on the thread when it is free; nobody is told how it went."""
        if self._loop is not None and self._thread is not None:
            self._put(self._loop, call, late=False).add_done_callback(_forget)

    def _put(
        self, loop: asyncio.AbstractEventLoop, call: Callable[[], Any], late: bool
    ) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = loop.create_future()
        self._jobs.put(_Job(call, future, late))
        return future

    def _work(self) -> None:
        is_over = False
        quiet: float | None = None
        while not is_over:
            round_ = self._next_round(quiet)
            is_over = None in round_
            jobs = [job for job in round_ if job is not None]
            if jobs:
                quiet = None if self._do(jobs) else _QUIET
            elif not is_over:
                quiet = None
                self._late_alone()

    def _next_round(self, quiet: float | None) -> list[_Job | None]:
        """All jobs that wait; none when there were none for so many seconds."""
        round_: list[_Job | None] = []
        try:
            round_.append(self._jobs.get(timeout=quiet))
            while True:
                round_.append(self._jobs.get_nowait())
        except queue.Empty:
            return round_

    def _late_alone(self) -> None:
        try:
            self._late()
        except Exception:
            log.exception("late work of the network failed")

    def _do(self, jobs: list[_Job]) -> bool:
        """One round; whether the late work was part of it."""
        for job in jobs:
            try:
                job.result = job.call()
            except BaseException as error:
                job.error = error
        self._together(jobs, self._flush)
        self._answer([job for job in jobs if not job.is_late])
        late = [job for job in jobs if job.is_late]
        if late:
            self._together(late, self._late)
            self._answer(late)
        return bool(late)

    def _together(self, jobs: list[_Job], call: Callable[[], None]) -> None:
        """What fails for all of them is the error of each that had none of its own."""
        try:
            call()
        except BaseException as error:
            for job in jobs:
                job.error = job.error or error

    def _answer(self, jobs: list[_Job]) -> None:
        if jobs and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_resolve, jobs)


def _forget(future: asyncio.Future[Any]) -> None:
    """Marks an error as seen: whoever needs the thing meets it again."""
    if not future.cancelled():
        future.exception()


def _resolve(jobs: list[_Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)
