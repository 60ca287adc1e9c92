"""One job at a time changes a project, however many commands come at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stackctl.daemon.jobs import Emit, Job, Jobs
from stackctl.errors import Conflict


async def _read(job: Job) -> list[dict[str, Any]]:
    return [message async for message in job.messages()]


def test_a_job_that_ends_others_waits_for_all_of_them() -> None:
    async def scenario() -> None:
        jobs = Jobs()
        inside: list[str] = []
        overlaps: list[tuple[str, ...]] = []
        began = asyncio.Event()

        def work(name: str, forever: bool) -> Any:
            async def run(emit: Emit) -> dict[str, Any]:
                inside.append(name)
                overlaps.append(tuple(inside))
                began.set()
                try:
                    if forever:
                        await asyncio.Event().wait()
                finally:
                    # Undoing takes a while too, and nobody may begin meanwhile.
                    for _ in range(5):
                        await asyncio.sleep(0)
                    inside.remove(name)
                return {"type": "result", "exit_code": 0}

            return run

        first = jobs.begin("shop", work("one", True), name="up")
        await began.wait()
        second = jobs.begin("shop", work("two", True), name="up")
        await asyncio.sleep(0)
        down = jobs.begin("shop", work("down", False), name="down", cancel_before=True)
        assert await _read(down) == [{"type": "result", "exit_code": 0}]
        assert all(len(names) == 1 for names in overlaps), overlaps
        for ended in (first, second):
            with pytest.raises(Conflict, match='"up" was ended by "down"'):
                await _read(ended)
        assert jobs.idle

    asyncio.run(scenario())


def test_jobs_of_one_project_follow_each_other_and_others_do_not_wait() -> None:
    async def scenario() -> None:
        jobs = Jobs()
        gate = asyncio.Event()
        order: list[str] = []

        def work(name: str, wait: bool) -> Any:
            async def run(emit: Emit) -> dict[str, Any]:
                if wait:
                    await gate.wait()
                order.append(name)
                return {"type": "result", "exit_code": 0}

            return run

        first = jobs.begin("shop", work("first", True))
        second = jobs.begin("shop", work("second", False))
        other = jobs.begin("blog", work("other", False))
        await other.finished()
        gate.set()
        await second.finished()
        assert order == ["other", "first", "second"]
        assert first.done

    asyncio.run(scenario())


def test_a_reader_that_leaves_does_not_end_the_job() -> None:
    async def scenario() -> None:
        jobs = Jobs()
        gate = asyncio.Event()
        done: list[bool] = []

        async def work(emit: Emit) -> dict[str, Any]:
            emit({"type": "status"})
            await gate.wait()
            done.append(True)
            return {"type": "result", "exit_code": 0}

        job = jobs.begin("shop", work)
        async for _ in job.messages():
            break
        gate.set()
        await job.finished()
        assert done == [True]

    asyncio.run(scenario())
