"""Laws of plans, for any stack: they converge, keep their order, and never unblock a dependent."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from stackctl.model.container import ContainerConfig, Mount, Status, VolumeMount
from stackctl.scheduler.desired import (
    Condition,
    Dependency,
    Desired,
    DesiredService,
    DownPolicy,
    Recreate,
    Rollout,
    UpPolicy,
)
from stackctl.scheduler.executor import Report, State, execute
from stackctl.scheduler.ops import CreateContainer, Op, Plan, StartContainer, WaitCompleted
from stackctl.scheduler.plan import down_plan, up_plan
from stackctl.scheduler.show import render, target
from stackctl.testing.engine import MemoryEngine
from stackctl.testing.stacks import HEALTHY, RUNS, ends, service, stack

NAMES = ("a", "b", "c", "d", "e")
PORTS = (80, 81)


def _checked(service: DesiredService) -> list[Condition]:
    return [Condition.HEALTHY] if service.has_healthcheck else []


@st.composite
def stacks(draw: st.DrawFn, *, optional: bool = True) -> Desired:
    """A few services that depend on earlier ones; jobs end with 0 and are waited for as such.

    Which services are jobs is fixed by name, so that two stacks drawn for one
    test can be two versions of one project.
    """
    names = draw(st.permutations(NAMES))[: draw(st.integers(0, len(NAMES)))]
    jobs = {"d", "e"}
    ports = iter(draw(st.permutations(PORTS)))
    calls = iter(draw(st.permutations(["x", "y", "", ""])))
    services: list[DesiredService] = []
    for name in names:
        needs = tuple(
            Dependency(
                service=other.name,
                condition=Condition.COMPLETED
                if other.name in jobs
                else draw(st.sampled_from([Condition.STARTED, *_checked(other)])),
                required=not optional or draw(st.booleans()),
                restart=draw(st.booleans()),
            )
            for other in services
            if draw(st.booleans())
        )
        scale = draw(st.integers(0, 3))
        lenders = [
            o.name
            for o in services
            if o.name in {n.service for n in needs}
            and f"p-{o.name}-1" in {c.name for c in o.replicas}
        ]
        services.append(
            service(
                name,
                *needs,
                scale=scale,
                argv=ends(0) if name in jobs else RUNS,
                health=HEALTHY if name not in jobs and draw(st.booleans()) else None,
                networks=sorted(draw(st.sets(st.sampled_from(["front", "back"]), max_size=2))),
                volumes=draw(st.sets(st.sampled_from(["v", "w"]), max_size=1)),
                anonymous=draw(st.sets(st.just("/x"))),
                volumes_from=draw(st.sets(st.sampled_from(lenders), max_size=1)) if lenders else (),
                ports=[next(ports)] if scale == 1 and name in ("a", "b") else [],
                called=next(calls) if scale == 1 and name in ("a", "b", "d") else "",
                version=draw(st.sampled_from(["1", "2"])),
            )
        )
    rollouts = st.builds(
        Rollout,
        start_first=st.booleans(),
        parallelism=st.integers(0, 2),
        delay=st.sampled_from([0.0, 1.0]),
    )
    services = [replace(one, rollout=draw(rollouts)) for one in services]
    shuffled = draw(st.permutations(services))
    versions = st.sampled_from(["1", "2"])
    return stack(*shuffled, network_version=draw(versions), volume_version=draw(versions))


policies = st.builds(
    UpPolicy,
    recreate=st.sampled_from([Recreate.CHANGED, Recreate.CHANGED, Recreate.FORCE]),
    remove_orphans=st.just(True),
    wait=st.booleans(),
    renew_anonymous_volumes=st.booleans(),
    renew_volumes=st.booleans(),
)


def carry_out(engine: MemoryEngine, plan: Plan) -> Report:
    """Executes with steps that take their time, each another: order must come from the plan."""
    chance = Random(len(engine.performed))

    async def dawdle(op: Op) -> None:
        for _ in range(chance.choice((0, 0, 1, 3, 20))):
            await asyncio.sleep(0)

    engine.pause = dawdle
    check_order(plan)
    return asyncio.run(execute(plan, engine))


def check_order(plan: Plan) -> None:
    """Numbers count from 1, and every step comes after all that it waits for."""
    assert [step.number for step in plan.steps] == list(range(1, len(plan.steps) + 1))
    for step in plan.steps:
        assert step.cause
        assert all(0 < before < step.number for before in step.after)
        assert step.tolerates <= step.after


def asked_again(desired: Desired) -> Desired:
    """The same read once more: new anonymous volumes have names that nobody ever had."""

    def named(mount: Mount) -> Mount:
        is_new = isinstance(mount, VolumeMount) and mount.anonymous
        return replace(mount, volume=secrets.token_hex(8)) if is_new else mount

    def config(old: ContainerConfig) -> ContainerConfig:
        return replace(old, mounts=tuple(map(named, old.mounts)))

    services = (replace(s, replicas=tuple(map(config, s.replicas))) for s in desired.services)
    return replace(desired, services=tuple(services))


def breaks(
    engine: MemoryEngine, before: Desired, after: Desired, policy: UpPolicy, data: st.DataObject
) -> bool:
    """An update of which up to three steps fail; False when there is nothing to update."""
    carry_out(engine, up_plan(before, engine.observed("p"), UpPolicy())).raise_failure()
    plan = up_plan(after, engine.observed("p"), policy)
    if not plan:
        return False
    for step in data.draw(st.lists(st.sampled_from(plan.steps), min_size=1, max_size=3)):
        engine.fail(type(step.op), target(step.op))
    carry_out(engine, plan)
    engine.mend()
    return True


def rests(engine: MemoryEngine, desired: Desired) -> None:
    """Nothing is left to do, but for jobs that nobody waits for: those run at each up."""
    awaited = {
        need.service
        for one in desired.services
        for need in one.depends_on
        if need.condition is Condition.COMPLETED
    }
    left = up_plan(desired, engine.observed("p"), UpPolicy(remove_orphans=True))
    for step in left.steps:
        assert isinstance(step.op, StartContainer), render(left)
        assert step.service in {"d", "e"} - awaited and step.cause == "exited (0)", render(left)


@settings(max_examples=60, deadline=None)
@given(desired=stacks(), policy=policies)
def test_after_up_there_is_nothing_to_do(desired, policy):
    engine = MemoryEngine()
    carry_out(engine, up_plan(desired, engine.observed("p"), policy)).raise_failure()
    rests(engine, desired)


@settings(max_examples=120, deadline=None)
@given(before=stacks(), after=stacks(), policy=policies, data=st.data())
def test_any_stack_becomes_any_other(before, after, policy, data):
    engine = MemoryEngine()
    carry_out(engine, up_plan(before, engine.observed("p"), UpPolicy())).raise_failure()
    for record in list(engine.containers.values()):
        if record.status is Status.RUNNING and data.draw(st.booleans()):
            engine.end(record.name, data.draw(st.sampled_from([0, 1, None])))
    carry_out(engine, up_plan(after, engine.observed("p"), policy)).raise_failure()
    rests(engine, after)
    wanted = {config.name for one in after.services for config in one.replicas}
    assert {record.name for record in engine.containers.values()} == wanted


@settings(max_examples=120, deadline=None)
@given(before=stacks(), after=stacks(), policy=policies, data=st.data())
def test_an_up_that_broke_anywhere_is_carried_on(before, after, policy, data):
    engine = MemoryEngine()
    if not breaks(engine, before, after, policy, data):
        return
    again = up_plan(after, engine.observed("p"), UpPolicy(remove_orphans=True))
    carry_out(engine, again).raise_failure()
    rests(engine, after)


@settings(max_examples=120, deadline=None)
@given(before=stacks(), after=stacks(), policy=policies, data=st.data())
def test_an_up_that_broke_anywhere_can_be_taken_back(before, after, policy, data):
    engine = MemoryEngine()
    if not breaks(engine, before, after, policy, data):
        return
    before = asked_again(before)
    as_before = UpPolicy(remove_orphans=True, wait=policy.wait)
    again = up_plan(before, engine.observed("p"), as_before)
    carry_out(engine, again).raise_failure()
    rests(engine, before)
    wanted = {config.name for one in before.services for config in one.replicas}
    assert {record.name for record in engine.containers.values()} == wanted


@settings(max_examples=60, deadline=None)
@given(desired=stacks(optional=False), data=st.data())
def test_a_failing_step_never_unblocks_a_dependent(desired, data):
    engine = MemoryEngine()
    plan = up_plan(desired, engine.observed("p"), UpPolicy())
    if not plan:
        return
    broken = data.draw(st.sampled_from(plan.steps))
    engine.fail(type(broken.op), target(broken.op))
    report = carry_out(engine, plan)
    assert not report.ok
    hit = {broken.number}
    for step in plan.steps:
        if step.after & hit:
            hit.add(step.number)
            assert report.outcomes[step.number].state is State.SKIPPED
            assert report.outcomes[step.number].because == broken.number
        elif step.number not in hit:
            assert report.outcomes[step.number].state is State.DONE


@settings(max_examples=60, deadline=None)
@given(desired=stacks())
def test_a_start_waits_for_the_starts_and_gates_of_its_dependencies(desired):
    plan = up_plan(desired, MemoryEngine().observed("p"), UpPolicy())
    before: dict[int, set[int]] = {}
    for step in plan.steps:
        before[step.number] = set(step.after).union(*(before[n] for n in step.after))
    starts = {s.op.name: s for s in plan.steps if isinstance(s.op, StartContainer)}
    creates = {s.op.config.name: s for s in plan.steps if isinstance(s.op, CreateContainer)}
    done = {s.op.name: s for s in plan.steps if isinstance(s.op, WaitCompleted)}
    by_name = {one.name: one for one in desired.services}
    for one in desired.services:
        for config in one.replicas:
            mine = before[starts[config.name].number]
            assert creates[config.name].number in mine
            for need in one.depends_on:
                for other in by_name[need.service].replicas:
                    assert starts[other.name].number in mine
                    if need.condition is Condition.COMPLETED:
                        assert done[other.name].number in mine


@settings(max_examples=50, deadline=None)
@given(desired=stacks())
def test_down_after_up_leaves_nothing(desired):
    engine = MemoryEngine()
    carry_out(engine, up_plan(desired, engine.observed("p"), UpPolicy())).raise_failure()
    carry_out(engine, down_plan(engine.observed("p"), DownPolicy(volumes=True))).raise_failure()
    assert engine.is_empty


@settings(max_examples=40, deadline=None)
@given(before=stacks(), after=stacks(), policy=policies)
def test_a_plan_does_not_depend_on_the_order_of_the_records(before, after, policy):
    engine = MemoryEngine()
    carry_out(engine, up_plan(before, engine.observed("p"), UpPolicy())).raise_failure()
    seen = engine.observed("p")
    turned = replace(seen, containers=seen.containers[::-1], networks=seen.networks[::-1])
    assert render(up_plan(after, seen, policy)) == render(up_plan(after, turned, policy))
    assert render(down_plan(seen, DownPolicy())) == render(
        down_plan(replace(seen, containers=seen.containers[::-1]), DownPolicy())
    )
