"""Walks a plan: every step that is ready runs at once. Takes no decision.

    step ready  --perform-->  done     -> dependents that waited for it alone are ready
                              failed   -> dependents are skipped, unless they tolerate it
                              cancelled (the whole execution was) -> nothing more begins

The only asyncio of the scheduler. The engine is a port: the daemon has the real
one, stackctl.testing one in memory.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from stackctl.errors import InternalError, StackctlError
from stackctl.scheduler.ops import Op, Pause, Plan, Step, WaitCompleted, WaitHealthy
from stackctl.scheduler.show import sentence
from stackctl.values import dataclass

#: They only wait: no limit on work counts them.
_WAITING = WaitHealthy | WaitCompleted | Pause


class Engine(Protocol):
    """Who performs the operations. The methods of one engine run concurrently."""

    async def perform(self, op: Op) -> str | None:
        """Gives a short text for the progress ("healthy after 0.4 s"), or None.

        Raises StackctlError when the operation failed. When it is cancelled it
        cleans up and lets the CancelledError through.
        """
        ...


class State(StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepProgress:
    """A step changed its state. `elapsed` in seconds; 0 when running or skipped."""

    step: Step
    state: State
    elapsed: float = 0.0
    text: str = ""
    error: StackctlError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a step ended. `because`: for a skipped one, the number of the step that failed
    first (0: the execution was cancelled)."""

    step: Step
    state: State
    elapsed: float = 0.0
    text: str = ""
    error: StackctlError | None = None
    because: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a plan went. `outcomes` by step number; a step that never began is skipped."""

    plan: Plan
    outcomes: dict[int, Outcome]
    elapsed: float
    #: The step that failed first of those that matter; None when all went well.
    failure: Outcome | None = None

    @property
    def ok(self) -> bool:
        return self.failure is None

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """All of them that matter; the one that failed first comes first."""
        if self.failure is None:
            return ()
        others = (
            outcome
            for outcome in self.outcomes.values()
            if outcome.state is State.FAILED and not outcome.step.optional
        )
        return (self.failure, *(each for each in others if each is not self.failure))

    def raise_failure(self) -> None:
        """Raises the error of the step that failed first; does nothing when none did."""
        if self.failure is not None and self.failure.error is not None:
            raise self.failure.error


async def execute(
    plan: Plan,
    engine: Engine,
    on_progress: Callable[[StepProgress], None] = lambda progress: None,
    *,
    parallel: int | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Report:
    """Performs the steps in the order that the plan allows; independent ones at once.

    `parallel` limits how many run at a time (None: no limit); steps that only
    wait are not counted, lest they keep out what they wait for. `on_progress` is
    called in the loop's thread and must not block. Failed steps are in the
    report, not raised. When it is cancelled, what runs is cancelled and awaited, and
    `on_progress` hears of the steps that are skipped.
    """
    return await _Execution(plan, engine, on_progress, parallel, clock).run()


class _Execution:
    def __init__(
        self,
        plan: Plan,
        engine: Engine,
        on_progress: Callable[[StepProgress], None],
        parallel: int | None,
        clock: Callable[[], float],
    ) -> None:
        self._plan = plan
        self._engine = engine
        self._on_progress = on_progress
        self._free = len(plan.steps) if parallel is None else max(parallel, 1)
        self._clock = clock
        self._steps = {step.number: step for step in plan.steps}
        self._waiting_for = {step.number: len(step.after) for step in plan.steps}
        self._followers: dict[int, list[Step]] = {step.number: [] for step in plan.steps}
        for step in plan.steps:
            for before in step.after:
                self._followers[before].append(step)
        #: Numbers of steps that could run but for the limit; the lowest goes first.
        self._queue: list[int] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._outcomes: dict[int, Outcome] = {}
        self._failure: Outcome | None = None
        self._cancelled = False

    async def run(self) -> Report:
        began = self._clock()
        self._idle = asyncio.get_running_loop().create_future()
        for step in self._plan.steps:
            if not step.after:
                self._ready(step)
        self._fill()
        try:
            if self._tasks:
                await self._idle
        except asyncio.CancelledError:
            await self._end_all()
            self._skip_rest()
            raise  # the same: asyncio.timeout knows its own by their class
        except BaseException:
            await self._end_all()
            raise
        return self._report(began)

    def _skip_rest(self) -> None:
        """The execution ends before their turn comes."""
        for step in self._plan.steps:
            if step.number not in self._outcomes:
                self._skip(step, because=0, text="cancelled")

    def _report(self, began: float) -> Report:
        self._skip_rest()
        return Report(
            plan=self._plan,
            outcomes={number: self._outcomes[number] for number in sorted(self._outcomes)},
            elapsed=self._clock() - began,
            failure=self._failure,
        )

    def _ready(self, step: Step) -> None:
        if isinstance(step.op, _WAITING):
            self._launch(step)
        else:
            heapq.heappush(self._queue, step.number)

    def _fill(self) -> None:
        while self._queue and self._free and not self._cancelled:
            self._free -= 1
            self._launch(self._steps[heapq.heappop(self._queue)])

    def _launch(self, step: Step) -> None:
        if self._cancelled:
            return
        task = asyncio.get_running_loop().create_task(self._perform(step))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        # Steps report their failures themselves: what gets here is a bug in on_progress.
        bug = None if task.cancelled() else task.exception()
        if self._idle.done():
            return
        if bug is not None:
            self._idle.set_exception(bug)
        elif not self._tasks:
            self._idle.set_result(None)

    async def _perform(self, step: Step) -> None:
        self._on_progress(StepProgress(step=step, state=State.RUNNING))
        began = self._clock()
        text, error = "", None
        try:
            text = await self._engine.perform(step.op) or ""
        except StackctlError as failure:
            error = failure
        except asyncio.CancelledError:
            if self._cancelled:
                # Somebody changed their mind: nothing has failed.
                self._skip(step, because=0, text="cancelled")
                return
            error = StackctlError(f"{sentence(step.op)}: cancelled")
        except Exception as failure:
            error = InternalError(
                f"{sentence(step.op)}: {type(failure).__name__}: {failure}",
                hint="this is a bug of stackctl: please report it with the daemon's log",
            )
            error.__cause__ = failure
        if not isinstance(step.op, _WAITING):
            self._free += 1
        self._settle(step, self._clock() - began, text, error)

    def _settle(self, step: Step, elapsed: float, text: str, error: StackctlError | None) -> None:
        state = State.DONE if error is None else State.FAILED
        outcome = Outcome(step=step, state=state, elapsed=elapsed, text=text, error=error)
        self._outcomes[step.number] = outcome
        if (
            error is not None
            and self._failure is None
            and not step.optional
            and not self._cancelled
        ):
            self._failure = outcome
        self._on_progress(
            StepProgress(step=step, state=state, elapsed=elapsed, text=text, error=error)
        )
        self._release(step, 0 if error is None else step.number)
        self._fill()

    def _release(self, step: Step, culprit: int) -> None:
        """Tells the followers; `culprit` is the failed step that skips those who do not tolerate
        it, or 0."""
        pending = [(step, culprit)]
        while pending:
            ended, guilty = pending.pop()
            for follower in self._followers[ended.number]:
                if follower.number in self._outcomes:
                    continue
                if guilty and ended.number not in follower.tolerates:
                    self._skip(follower, guilty, f"could not {self._why(guilty)}")
                    pending.append((follower, guilty))
                    continue
                self._waiting_for[follower.number] -= 1
                if not self._waiting_for[follower.number]:
                    self._ready(follower)

    def _why(self, number: int) -> str:
        return sentence(self._steps[number].op)

    def _skip(self, step: Step, because: int, text: str) -> None:
        self._outcomes[step.number] = Outcome(
            step=step, state=State.SKIPPED, text=text, because=because
        )
        self._on_progress(StepProgress(step=step, state=State.SKIPPED, text=text))

    async def _end_all(self) -> None:
        """Cancels what runs and waits for it, however often it is asked to hurry."""
        self._cancelled = True
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            try:
                await asyncio.wait(self._tasks)
            except asyncio.CancelledError:
                continue
