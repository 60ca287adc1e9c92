"""Names that go from one container to another; ports and addresses are in test_scheduler_up.py."""

from __future__ import annotations

import asyncio

from stackctl.scheduler.desired import Desired, UpPolicy
from stackctl.scheduler.executor import execute
from stackctl.scheduler.plan import up_plan
from stackctl.scheduler.show import render
from stackctl.testing.engine import MemoryEngine
from stackctl.testing.stacks import depends, service, stack


def becomes(before: Desired, after: Desired) -> tuple[str, dict[str, str]]:
    """The plan, and who has which name when it has been carried out."""
    engine, policy = MemoryEngine(), UpPolicy(remove_orphans=True)
    for desired in (before, after):
        plan = up_plan(desired, engine.observed("p"), policy)
        asyncio.run(execute(plan, engine)).raise_failure()
    assert not up_plan(after, engine.observed("p"), policy)
    return render(plan), {r.name: r.config.service for r in engine.containers.values()}


def test_a_service_under_another_key_takes_its_containers_name() -> None:
    plan, names = becomes(stack(service("old", called="x")), stack(service("new", called="x")))
    assert names == {"x": "new"}
    # The orphan has it, and goes first.
    assert "#2 remove container x: orphan" in plan and "[2] -> #3 create container x" in plan


def test_names_are_swapped_whatever_the_order() -> None:
    def named(a: str, b: str) -> Desired:
        return stack(service("a", depends("b"), called=a), service("b", called=b))

    for before, after in (("x", "y"), ("y", "x")), (("x", ""), ("", "x")), (("", "x"), ("x", "")):
        plan, names = becomes(named(*before), named(*after))
        a, b = (called or f"p-{name}-1" for called, name in zip(after, "ab", strict=True))
        assert names == {a: "a", b: "b"}
        # b comes first; whoever has its name then gives it up, and goes on until its own update.
        assert ("take its name from container" in plan) is bool(before[0] and after[1])


def test_a_new_service_gets_the_name_of_one_that_goes_on() -> None:
    before = stack(service("a", called="x"))
    plan, names = becomes(before, stack(service("a"), service("b", called="x")))
    assert names == {"p-a-1": "a", "x": "b"}
    assert "take its name from container x" in plan


def test_ports_and_names_go_together() -> None:
    def both(a: str, b: str) -> Desired:
        ports = {"x": [80], "y": [81]}
        return stack(service("a", called=a, ports=ports[a]), service("b", called=b, ports=ports[b]))

    assert becomes(both("x", "y"), both("y", "x"))[1] == {"y": "a", "x": "b"}
