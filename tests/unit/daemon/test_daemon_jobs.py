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


async def _result(emit: Emit) -> dict[str, Any]:
    return {"type": "result", "exit_code": 0}


async def _for_ever(emit: Emit) -> dict[str, Any]:
    emit({"type": "plan"})
    await asyncio.Event().wait()
    raise AssertionError


def test_who_waits_is_told_and_leaves_nothing_when_it_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stackctl.daemon.jobs._SILENCE", 0.01)

    async def scenario() -> None:
        jobs = Jobs()
        first = jobs.begin("shop", _for_ever, name="up")
        reader = asyncio.create_task(_read(first))
        second = jobs.begin("shop", _for_ever, name="restart")
        said = second.messages()
        message = await anext(said)
        assert message["text"] == 'waiting for "up" of the same project to end'
        assert message["unbegun"]
        await said.aclose()  # type: ignore[attr-defined]
        third = jobs.begin("shop", _result, name="scale")
        assert not first.done
        first.cancel(by="down")
        with pytest.raises(Conflict):
            await reader
        assert (await _read(third))[-1] == {"type": "result", "exit_code": 0}
        # It has never begun: a plan would be the first that it says.
        assert second.done
        assert await _left_over(second) == []

    asyncio.run(scenario())


async def _left_over(job: Job) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    with pytest.raises(asyncio.CancelledError):
        async for message in job.messages():
            found.append(message)
    return found


def test_a_job_that_nobody_reads_any_more_gives_way() -> None:
    async def scenario() -> None:
        jobs = Jobs()
        first = jobs.begin("shop", _for_ever, name="up")
        said = first.messages()
        assert await anext(said) == {"type": "plan"}
        await said.aclose()  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        assert not first.done
        second = jobs.begin("shop", _result, name="up")
        told, result = await _read(second)
        assert told["text"] == '"up", which went on when its caller left, gives way to this'
        assert result == {"type": "result", "exit_code": 0}
        assert first.done

    asyncio.run(scenario())
