"""Plans of `up` on an engine in memory, as they print."""

from __future__ import annotations

import asyncio

from stackctl.scheduler.desired import Desired, UpPolicy
from stackctl.scheduler.executor import Report, execute
from stackctl.scheduler.plan import up_plan
from stackctl.scheduler.show import render
from stackctl.testing.engine import MemoryEngine

UP = UpPolicy()


def up(engine: MemoryEngine, desired: Desired, policy: UpPolicy = UP) -> Report:
    plan = up_plan(desired, engine.observed("p"), policy)
    return asyncio.run(execute(plan, engine))


def shown(engine: MemoryEngine, desired: Desired, policy: UpPolicy = UP) -> list[str]:
    """The plan's lines."""
    return render(up_plan(desired, engine.observed("p"), policy)).splitlines()


def running(desired: Desired) -> MemoryEngine:
    """An engine on which the stack is up."""
    engine = MemoryEngine()
    report = up(engine, desired)
    assert report.ok, report.failure
    assert shown(engine, desired) == []
    return engine


def settles(engine: MemoryEngine, desired: Desired, policy: UpPolicy = UP) -> None:
    """The plan can be carried out, and after it there is nothing left to do."""
    report = up(engine, desired, policy)
    assert report.ok, report.failure
    assert shown(engine, desired) == []
