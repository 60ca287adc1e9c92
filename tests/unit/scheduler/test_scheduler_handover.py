"""Names that go from one container to another; ports and addresses are in test_scheduler_up.py."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from stackctl.errors import Conflict
from stackctl.scheduler.desired import Desired, ServicePolicy, UpPolicy
from stackctl.scheduler.executor import execute
from stackctl.scheduler.ops import RemoveContainer, RenameContainer, StartContainer
from stackctl.scheduler.plan import start_plan, up_plan
from stackctl.scheduler.show import render
from stackctl.testing.engine import MemoryEngine
from stackctl.testing.stacks import depends, ends, service, stack


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
    # The other way round: b comes first, and gets its name when all it waits for is there.
    before = stack(service("a", called="x"), service("job", argv=ends(0)))
    b = service("b", depends("job", "completed_successfully"), called="x")
    after = stack(service("a", depends("b")), b, service("job", argv=ends(0), version="2"))
    plan, names = becomes(before, after)
    assert names == {"p-a-1": "a", "x": "b", "p-job-1": "job"}
    wait = next(line for line in plan.splitlines() if "wait until p-job-1" in line)
    aside = next(line for line in plan.splitlines() if "take its name from" in line)
    number = wait.partition("#")[2].split()[0]
    assert number in aside.partition("]")[0].removeprefix("[").split(",")


def test_a_name_that_went_to_another_comes_back() -> None:
    """An update that fails in the middle, and the file as it was before."""
    good = stack(service("a", called="n1"), service("b", depends("a"), called="n2"))
    bad = stack(service("a", called="n2"), service("b", depends("a"), called="n1"))
    engine, policy = MemoryEngine(), UpPolicy(remove_orphans=True)

    def carry_out(desired: Desired, wait: bool = True) -> bool:
        plan = up_plan(desired, engine.observed("p"), replace(policy, wait=wait))
        return asyncio.run(execute(plan, engine)).ok

    assert carry_out(good)
    before = {r.name: r.id for r in engine.containers.values()}
    for broken in (StartContainer, RenameContainer, RemoveContainer):
        engine.fail(broken, "n2")
        carry_out(bad)
        engine.mend()
        assert carry_out(good), broken
        assert {r.name for r in engine.containers.values()} == {"n1", "n2"}
        assert not up_plan(good, engine.observed("p"), policy)
    # What was not replaced was only called something else for a while; it starts by what it is
    # called then.
    engine.fail(StartContainer, "n2")
    carry_out(bad)
    engine.mend()
    for record in [*engine.containers.values()]:
        if record.status.needs_stop:
            engine.end(record.name, 0)
    starting = start_plan(engine.observed("p"), ServicePolicy(services=("b",), no_deps=True))
    started = [step.op.name for step in starting.steps if isinstance(step.op, StartContainer)]
    assert before["n2"] in {engine._named(name).id for name in started}
    assert carry_out(good)
    assert before["n2"] in engine.containers


def test_a_name_of_somebody_who_stays_is_told_before_the_first_step() -> None:
    engine = MemoryEngine()
    first = stack(service("a", called="one"), service("b", called="two"))
    asyncio.run(execute(up_plan(first, engine.observed("p"), UpPolicy()), engine))
    swapped = stack(service("a", called="two"), service("b", called="one"))
    seen = engine.observed("p")
    taken = 'service "a": the container name "two" is in use'
    with pytest.raises(Conflict, match=taken):
        up_plan(swapped, seen, UpPolicy(services=("a",)))
    assert up_plan(swapped, seen, UpPolicy())
    # An orphan that stays, and one that goes.
    alone = stack(service("a", called="two"))
    with pytest.raises(Conflict, match=taken):
        up_plan(alone, seen, UpPolicy())
    assert up_plan(alone, seen, UpPolicy(remove_orphans=True))
    # Somebody of another project.
    with pytest.raises(Conflict, match='"c": the container name "uno" is in use'):
        others = replace(seen, other_containers=frozenset({"uno"}))
        up_plan(stack(*first.services, service("c", called="uno")), others, UpPolicy())


def test_ports_and_names_go_together() -> None:
    def both(a: str, b: str) -> Desired:
        ports = {"x": [80], "y": [81]}
        return stack(service("a", called=a, ports=ports[a]), service("b", called=b, ports=ports[b]))

    assert becomes(both("x", "y"), both("y", "x"))[1] == {"y": "a", "x": "b"}
