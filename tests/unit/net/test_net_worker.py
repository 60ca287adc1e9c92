"""The worker thread: rounds, one flush a round, errors where they belong."""

import asyncio
import threading

import pytest

from stackctl.net.worker import Worker


def test_all_that_waits_makes_one_round_and_one_flush() -> None:
    flushed: list[list[int]] = []
    done: list[int] = []
    gate = threading.Event()

    def work(number: int) -> int:
        done.append(number)
        return number

    async def scenario() -> list[int]:
        worker = Worker(lambda: flushed.append(list(done)), lambda: None)
        worker.start()
        first = asyncio.ensure_future(worker.run(lambda: gate.wait(10)))
        others = [
            asyncio.ensure_future(worker.run(lambda n=n: done.append(n) or n)) for n in (1, 2, 3)
        ]
        await asyncio.sleep(0)
        gate.set()
        await first
        results = [await task for task in others]
        await worker.stop()
        return results

    assert asyncio.run(scenario()) == [1, 2, 3]
    assert flushed[-1] == [1, 2, 3]
    assert len(flushed) <= 2


def test_a_failing_job_does_not_fail_its_neighbours_but_a_failing_flush_does() -> None:
    fail = False

    def flush() -> None:
        if fail:
            raise OSError("the batch was refused")

    def bad() -> None:
        raise ValueError("only mine")

    async def scenario() -> None:
        nonlocal fail
        worker = Worker(flush, lambda: None)
        worker.start()
        results = await asyncio.gather(
            worker.run(bad), worker.run(lambda: 7), return_exceptions=True
        )
        assert isinstance(results[0], ValueError)
        assert results[1] == 7
        fail = True
        with pytest.raises(OSError, match="batch"):
            await worker.run(lambda: 8)
        await worker.stop()

    asyncio.run(scenario())


def test_only_late_jobs_wait_for_the_late_work() -> None:
    gate = threading.Event()

    def late_work() -> None:
        gate.wait(10)

    async def scenario() -> None:
        worker = Worker(lambda: None, late_work)
        worker.start()
        soon = asyncio.ensure_future(worker.run(lambda: "soon"))
        late = asyncio.ensure_future(worker.run(lambda: "late", late=True))
        assert await soon == "soon"
        assert not late.done()
        gate.set()
        assert await late == "late"
        await worker.stop()

    asyncio.run(scenario())


def test_late_work_that_nobody_asked_for_is_done_when_it_is_quiet() -> None:
    done = threading.Event()

    async def scenario() -> None:
        worker = Worker(lambda: None, done.set)
        worker.start()
        await worker.run(lambda: None)
        assert await asyncio.to_thread(done.wait, 10)
        await worker.stop()

    asyncio.run(scenario())
