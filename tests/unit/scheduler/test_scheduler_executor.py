"""The executor on hand-made plans and an engine that does what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from stackctl.errors import ContainerError, InternalError
from stackctl.scheduler.draft import Draft
from stackctl.scheduler.executor import State, StepProgress, execute
from stackctl.scheduler.ops import Op, Plan, StartContainer, WaitHealthy


class Recorder:
    """Operations wait until they are let go; `broken` ones raise."""

    def __init__(self, broken: Iterable[str] = (), held: Iterable[str] = ()) -> None:
        self.broken = set(broken)
        self.held = {name: asyncio.Event() for name in held}
        self.began: list[str] = []
        self.ended: list[str] = []
        self.now = 0
        self.peak = 0

    async def perform(self, op: Op) -> str | None:
        assert isinstance(op, StartContainer | WaitHealthy)
        self.began.append(op.name)
        self.now += 1
        self.peak = max(self.peak, self.now)
        try:
            await asyncio.sleep(0)
            if op.name in self.held:
                await self.held[op.name].wait()
            if op.name in self.broken:
                raise ContainerError(f"{op.name} broke")
        except asyncio.CancelledError:
            self.ended.append(f"{op.name} cancelled")
            raise
        finally:
            self.now -= 1
        self.ended.append(op.name)
        return f"{op.name} is fine"


def plan(edges: dict[str, str], gates: str = "", tolerant: dict[str, str] | None = None) -> Plan:
    """Steps by one-letter name -> the names they wait for; `tolerant` ones may fail."""
    draft = Draft("p")
    numbers: dict[str, int] = {}
    for name, after in edges.items():
        op = WaitHealthy(name=name) if name in gates else StartContainer(name=name)
        numbers[name] = draft.add(
            op,
            "test",
            after=[numbers[other] for other in after],
            tolerates=[numbers[other] for other in (tolerant or {}).get(name, "")],
        )
    return draft.plan()


def states(report) -> dict[str, str]:
    return {o.step.op.name: str(o.state) for o in report.outcomes.values()}


def test_ready_steps_run_at_once_and_others_after_what_they_wait_for():
    async def scenario() -> None:
        engine = Recorder(held="ab")
        running = asyncio.create_task(execute(plan({"a": "", "b": "", "c": "ab"}), engine))
        while engine.began != ["a", "b"]:
            await asyncio.sleep(0)
        engine.held["b"].set()
        engine.held["a"].set()
        report = await running
        assert report.ok and engine.began == ["a", "b", "c"]
        assert report.outcomes[3].text == "c is fine"

    asyncio.run(scenario())


def test_an_empty_plan_is_done():
    assert asyncio.run(execute(Plan(project="p"), Recorder())).ok


def test_a_failure_skips_what_depends_on_it_and_nothing_else():
    engine = Recorder(broken="a")
    seen: list[StepProgress] = []
    graph = plan({"a": "", "b": "a", "c": "b", "d": "", "e": "d"})
    report = asyncio.run(execute(graph, engine, seen.append))
    assert states(report) == {
        "a": "failed",
        "b": "skipped",
        "c": "skipped",
        "d": "done",
        "e": "done",
    }
    assert report.failure is not None and report.failure.step.number == 1
    assert [report.outcomes[n].because for n in (2, 3)] == [1, 1]
    assert report.outcomes[3].text == "could not start container a"
    assert sorted(p.step.number for p in seen if p.state is State.RUNNING) == [1, 4, 5]
    assert sorted(p.step.number for p in seen if p.state is not State.RUNNING) == [1, 2, 3, 4, 5]
    with pytest.raises(ContainerError, match="a broke"):
        report.raise_failure()


def test_a_tolerated_failure_lets_go_on_even_over_a_skipped_step():
    engine = Recorder(broken="a")
    graph = plan({"a": "", "b": "a", "c": "", "d": "c"}, tolerant={"c": "b"})
    assert states(asyncio.run(execute(graph, engine))) == {
        "a": "failed",
        "b": "skipped",
        "c": "done",
        "d": "done",
    }


def test_an_optional_step_that_fails_is_no_failure():
    draft = Draft("p")
    gate = draft.add(WaitHealthy(name="a"), "test", optional=True)
    draft.add(StartContainer(name="b"), "test", tolerates=[gate])
    report = asyncio.run(execute(draft.plan(), Recorder(broken="a")))
    assert report.ok and states(report) == {"a": "failed", "b": "done"}


def test_a_bug_of_the_engine_is_told_as_one():
    class Buggy:
        async def perform(self, op: Op) -> str | None:
            raise KeyError("x")

    report = asyncio.run(execute(plan({"a": "", "b": "a"}), Buggy()))
    assert report.failure is not None
    assert isinstance(report.failure.error, InternalError)
    assert isinstance(report.failure.error.__cause__, KeyError)


def test_the_limit_counts_work_but_not_waits():
    async def scenario() -> None:
        engine = Recorder(held="w")
        graph = plan({"w": "", "a": "", "b": "", "c": "", "d": ""}, gates="w")
        running = asyncio.create_task(execute(graph, engine, parallel=2))
        while len(engine.ended) < 4:
            await asyncio.sleep(0)
        assert engine.peak == 3
        assert engine.ended == ["a", "b", "c", "d"]
        engine.held["w"].set()
        assert (await running).ok

    asyncio.run(scenario())


def test_a_cancelled_execution_ends_what_runs_and_says_so():
    async def scenario() -> None:
        engine = Recorder(held="ab")
        told: dict[str, str] = {}

        def listen(progress: StepProgress) -> None:
            told[progress.step.op.name] = str(progress.state)

        work = execute(plan({"a": "", "b": "", "c": "ab"}), engine, listen)
        running = asyncio.create_task(work)
        while len(engine.began) < 2:
            await asyncio.sleep(0)
        engine.held["b"].set()
        while "b" not in engine.ended:
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert engine.ended == ["b", "a cancelled"]
        assert told == {"a": "skipped", "b": "done", "c": "skipped"}
        assert running.cancelled()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())


def test_a_time_limit_around_an_execution_is_told_as_one():
    async def scenario() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await execute(plan({"a": ""}), Recorder(held="a"))

    asyncio.run(scenario())


def test_a_second_cancellation_does_not_leave_steps_behind():
    async def scenario() -> None:
        class Stubborn(Recorder):
            async def perform(self, op: Op) -> str | None:
                try:
                    return await super().perform(op)
                except asyncio.CancelledError:
                    await asyncio.sleep(0)
                    self.ended.append("cleaned up")
                    raise

        engine = Stubborn(held="a")
        running = asyncio.create_task(execute(plan({"a": ""}), engine))
        while not engine.began:
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())


def test_a_bug_in_the_listener_is_not_swallowed():
    def listen(progress: StepProgress) -> None:
        raise RuntimeError("listener")

    with pytest.raises(RuntimeError, match="listener"):
        asyncio.run(execute(plan({"a": "", "b": ""}), Recorder(), listen))


def test_elapsed_comes_from_the_clock_that_was_given():
    ticks = iter(range(100))
    report = asyncio.run(execute(plan({"a": ""}), Recorder(), clock=lambda: float(next(ticks))))
    assert report.outcomes[1].elapsed == 1.0
    assert report.elapsed == 3.0
