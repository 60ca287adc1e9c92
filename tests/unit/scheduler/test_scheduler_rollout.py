"""What comes between an old container and its successor: hooks, parts, start-first, providers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from stackctl.errors import Conflict
from stackctl.model.container import Status
from stackctl.model.provider import ProviderRequest
from stackctl.scheduler.desired import (
    Desired,
    DesiredService,
    DownPolicy,
    InitHook,
    Recreate,
    Rollout,
    ServicePolicy,
    UpPolicy,
)
from stackctl.scheduler.executor import Report, execute
from stackctl.scheduler.ops import RunInit, StartContainer
from stackctl.scheduler.orphans import orphans
from stackctl.scheduler.plan import down_plan, provider_plan, start_plan, stop_plan, up_plan
from stackctl.scheduler.show import render
from stackctl.testing.engine import MemoryEngine
from stackctl.testing.stacks import HEALTHY, UNHEALTHY, depends, ends, service, stack


def up(engine: MemoryEngine, desired: Desired, **policy: Any) -> Report:
    plan = up_plan(desired, engine.observed("p"), UpPolicy(**policy))
    return asyncio.run(execute(plan, engine))


def lines(engine: MemoryEngine, desired: Desired, **policy: Any) -> list[str]:
    return render(up_plan(desired, engine.observed("p"), UpPolicy(**policy))).splitlines()


def running(desired: Desired) -> MemoryEngine:
    engine = MemoryEngine()
    up(engine, desired).raise_failure()
    assert lines(engine, desired) == []
    return engine


def hooked(one: DesiredService, *codes: int, per_replica: bool = False) -> DesiredService:
    """With pre_start hooks that end with these codes."""
    hooks = tuple(
        InitHook(
            config=replace(
                one.replicas[0], name=f"p-{one.name}-pre_start-{i}", argv=ends(code), number=0
            ),
            per_replica=per_replica,
        )
        for i, code in enumerate(codes)
    )
    replicas = tuple(replace(config, init_hooks=len(codes)) for config in one.replicas)
    return replace(one, pre_start=hooks, replicas=replicas)


def test_a_hook_that_failed_is_no_orphan() -> None:
    desired = stack(hooked(service("web", scale=2), 1, per_replica=True))
    engine = MemoryEngine()
    assert not up(engine, desired).ok
    names = {"p-web-pre_start-0-1", "p-web-pre_start-0-2"}
    for record in list(engine.containers.values()):
        if record.config.number == 1:
            for name in names:
                config = replace(record.config, name=name, oneoff=True, number=0)
                ended = replace(record, id=name, config=config, status=Status.EXITED)
                engine.containers[name] = ended
    assert orphans(desired, engine.observed("p")) == ()
    elsewhere = stack(service("web", scale=2))
    assert {r.name for r in orphans(elsewhere, engine.observed("p"))} == names


def rolling(one: DesiredService, **rollout: Any) -> DesiredService:
    return replace(one, rollout=Rollout(**rollout))


# --- pre_start


def test_hooks_run_in_order_once_for_all_before_the_first_start() -> None:
    desired = stack(hooked(service("web", depends("db"), scale=2), 0, 0), service("db"))
    assert [line for line in lines(MemoryEngine(), desired) if "network" not in line] == [
        "[1] -> #2 create container p-db-1: not found",
        "[1] -> #3 create container p-web-1: not found",
        "[1] -> #4 create container p-web-2: not found",
        "[2] -> #5 start container p-db-1: not found",
        "[3,5] -> #6 run init container p-web-pre_start-0: pre_start of p-web-1: not found",
        "[3,5,6] -> #7 run init container p-web-pre_start-1: pre_start of p-web-1: not found",
        "[3,5,7] -> #8 start container p-web-1: not found",
        "[4,5,7] -> #9 start container p-web-2: not found",
    ]
    engine = running(desired)
    assert sum(isinstance(op, RunInit) for op in engine.performed) == 2


def test_hooks_run_again_only_for_what_is_made_anew() -> None:
    engine = running(stack(hooked(service("web"), 0)))
    engine.end("p-web-1", 1)
    assert not any("pre_start" in line for line in lines(engine, stack(hooked(service("web"), 0))))
    changed = stack(hooked(service("web", version="2"), 0))
    assert any("pre_start" in line for line in lines(engine, changed))
    up(engine, changed).raise_failure()
    wider = stack(hooked(service("web", version="2", scale=3), 0))
    assert not any("pre_start" in line for line in lines(engine, wider))


def test_hooks_of_each_replica() -> None:
    desired = stack(hooked(service("web", scale=2), 0, per_replica=True))
    found = [line for line in lines(MemoryEngine(), desired) if "pre_start" in line]
    assert [line.split(": ")[1] for line in found] == [
        "pre_start of p-web-1",
        "pre_start of p-web-2",
    ]
    assert "p-web-pre_start-0-1" in found[0] and "p-web-pre_start-0-2" in found[1]
    engine = running(desired)
    wider = stack(hooked(service("web", scale=3), 0, per_replica=True))
    (line,) = [line for line in lines(engine, wider) if "pre_start" in line]
    assert "p-web-pre_start-0-3" in line


def test_a_failing_hook_keeps_the_service_from_starting_and_is_tried_again() -> None:
    engine = MemoryEngine()
    broken = stack(hooked(service("web"), 0, 1, 0))
    report = up(engine, broken)
    assert report.failure is not None and isinstance(report.failure.step.op, RunInit)
    assert [r.status for r in engine.containers.values()] == [Status.CREATED]
    with pytest.raises(Conflict, match="pre_start"):
        start_plan(engine.observed("p"), ServicePolicy())
    mended = stack(hooked(service("web"), 0, 0, 0))
    assert sum("pre_start" in line for line in lines(engine, mended)) == 3
    up(engine, mended).raise_failure()
    assert lines(engine, mended) == []


# --- start-first and parts


def test_start_first_keeps_the_old_one_until_the_new_one_works() -> None:
    before = stack(rolling(service("web", health=HEALTHY), start_first=True))
    engine = running(before)
    after = stack(rolling(service("web", health=HEALTHY, version="2"), start_first=True))
    cause = "configuration changed"
    assert lines(engine, after) == [
        f"[] -> #1 create container p-web-1 anew: {cause}",
        f"[1] -> #2 start container p-web-1: {cause}",
        "[2] -> #3 wait until p-web-1 is healthy: start-first: the old one stays until it works",
        f"[3] -> #4 stop container p-web-1: {cause}",
        f"[3,4] -> #5 remove container p-web-1: {cause}",
        f"[5] -> #6 give container p-web-1 its name: {cause}",
    ]
    up(engine, after).raise_failure()
    assert lines(engine, after) == []
    (record,) = engine.containers.values()
    assert record.name == "p-web-1" and record.status is Status.RUNNING


def test_start_first_leaves_the_old_one_alone_when_the_new_one_fails() -> None:
    engine = running(stack(rolling(service("web"), start_first=True)))
    (old,) = engine.containers.values()
    engine.fail(StartContainer, "p-web-1")
    after = stack(rolling(service("web", version="2"), start_first=True))
    assert not up(engine, after).ok
    assert engine.containers[old.id].status is Status.RUNNING
    engine.mend()
    up(engine, after).raise_failure()
    assert lines(engine, after) == [] and old.id not in engine.containers


def test_start_first_keeps_the_old_one_however_often_the_update_is_tried() -> None:
    engine = running(stack(rolling(service("web", health=HEALTHY), start_first=True)))
    (old,) = engine.containers.values()
    bad = stack(rolling(service("web", health=UNHEALTHY, version="2"), start_first=True))
    for _ in range(3):
        assert not up(engine, bad).ok
        assert engine.containers[old.id].status is Status.RUNNING
        assert len(engine.containers) == 2
        assert "its update did not come to work" in "".join(lines(engine, bad))
    good = stack(rolling(service("web", health=HEALTHY, version="3"), start_first=True))
    up(engine, good).raise_failure()
    (record,) = engine.containers.values()
    assert record.name == "p-web-1" and record.id != old.id
    assert lines(engine, good) == []
    # Nobody is left who could serve: what is there goes on.
    engine = running(stack(rolling(service("web", health=HEALTHY), start_first=True)))
    (old,) = engine.containers.values()
    assert not up(engine, bad).ok
    engine.update("p-web-1", status=Status.EXITED, exit_code=1)
    assert any("its update was interrupted" in line for line in lines(engine, bad))


def test_start_first_gives_way_to_a_fixed_port() -> None:
    engine = running(stack(rolling(service("web", ports=[80]), start_first=True)))
    after = stack(rolling(service("web", ports=[80], version="2"), start_first=True))
    found = lines(engine, after)
    assert next(i for i, line in enumerate(found) if "stop" in line) < next(
        i for i, line in enumerate(found) if "start container" in line
    )
    up(engine, after).raise_failure()
    assert lines(engine, after) == []


def test_start_first_gives_way_to_who_shares_its_namespaces() -> None:
    def wanted(version: str) -> Desired:
        web = rolling(service("web", version=version), start_first=True)
        aside = service("aside", depends("web", restart=True))
        replicas = tuple(replace(config, ipc="service:web") for config in aside.replicas)
        return stack(web, replace(aside, replicas=replicas))

    engine = running(wanted("1"))
    found = lines(engine, wanted("2"))
    order = [line.split(" ", 3)[-1].split(":")[0] for line in found]
    assert order == [
        "create container p-web-1 anew",
        "stop container p-aside-1",
        "stop container p-web-1",
        "remove container p-web-1",
        "give container p-web-1 its name",
        "start container p-web-1",
        "start container p-aside-1",
    ]
    up(engine, wanted("2")).raise_failure()
    assert lines(engine, wanted("2")) == []
    # One that stayed in the namespaces of a web that is no more.
    for name, started in (("web", 2.0), ("aside", 1.0)):
        container = next(r.id for r in engine.containers.values() if r.config.service == name)
        engine.update(f"p-{name}-1", started_at=started)
        assert container in engine.containers
    assert [line.partition(" -> ")[2] for line in lines(engine, wanted("2"))] == [
        f"#{n} {verb} container p-aside-1: web, whose namespaces it shares, has started since"
        for n, verb in ((1, "stop"), (2, "start"))
    ]


@pytest.mark.parametrize("gone", [False, True])
def test_who_shares_namespaces_goes_along_with_a_start_in_the_same_plan(gone: bool) -> None:
    def wanted(scale: int = 1) -> Desired:
        aside = service("aside", depends("web", restart=True))
        replicas = tuple(replace(config, network_mode="service:web") for config in aside.replicas)
        return stack(service("web", scale=scale), replace(aside, replicas=replicas))

    engine = running(wanted())
    assert not [line for line in lines(engine, wanted(scale=2)) if "aside" in line]
    if gone:
        (web,) = (r.id for r in engine.containers.values() if r.config.service == "web")
        del engine.containers[web]
    else:
        engine.update("p-web-1", status=Status.EXITED, exit_code=137)
    cause = "web, whose namespaces it shares, is started"
    found = [line.partition("#")[2][2:] for line in lines(engine, wanted()) if "aside" in line]
    assert found == [f"{verb} container p-aside-1: {cause}" for verb in ("stop", "start")]
    up(engine, wanted()).raise_failure()
    assert lines(engine, wanted()) == []


@pytest.mark.parametrize("start_first", [False, True])
def test_parts_come_one_after_the_other(start_first: bool) -> None:
    how: dict[str, Any] = {"parallelism": 2, "delay": 5.0, "start_first": start_first}
    engine = running(stack(rolling(service("web", scale=3), **how)))
    plan = up_plan(
        stack(rolling(service("web", scale=3, version="2"), **how)),
        engine.observed("p"),
        UpPolicy(),
    )
    before: dict[int, set[int]] = {}
    for step in plan.steps:
        before[step.number] = set(step.after).union(*(before[n] for n in step.after))
    by_text = {
        line.split("-> ")[1].split(" ", 1)[1]: n
        for n, line in zip(before, render(plan).splitlines(), strict=True)
    }
    pause = next(n for text, n in by_text.items() if text.startswith("wait 5 s before p-web-3"))
    word = "start" if start_first else "stop"
    last = by_text[f"{word} container p-web-3: configuration changed"]
    assert pause in before[last]
    for name in ("p-web-1", "p-web-2"):
        done = by_text[f"start container {name}: configuration changed"]
        assert done in before[pause] and pause not in before[done]


def test_a_failed_part_ends_the_update_unless_it_goes_on() -> None:
    for goes_on in (False, True):
        how: dict[str, Any] = {"parallelism": 1, "goes_on": goes_on}
        engine = running(stack(rolling(service("web", scale=2), **how)))
        engine.fail(StartContainer, "p-web-1")
        after = stack(rolling(service("web", scale=2, version="2"), **how))
        assert not up(engine, after).ok
        second = next(
            r for r in engine.containers.values() if r.config.number == 2 and not r.replaces
        )
        changed = second.config.config_hash == after.services[0].replicas[1].config_hash
        assert changed is goes_on


# --- providers


def provided(name: str, *needs: Any) -> DesiredService:
    request = ProviderRequest(project="p", service=name, type="cloud")
    return DesiredService(name=name, image="", depends_on=needs, provider=request)


def test_providers_come_before_what_depends_on_them_is_made() -> None:
    desired = stack(
        service("web", depends("db"), networks=[]),
        provided("db", depends("account")),
        provided("account"),
    )
    engine = MemoryEngine()
    assert lines(engine, desired) == [
        "[] -> #1 cloud: up account: provided by cloud",
        "[1] -> #2 cloud: up db: provided by cloud",
        "[2] -> #3 create container p-web-1: not found",
        "[3] -> #4 start container p-web-1: not found",
    ]
    plan = provider_plan(desired, engine.observed("p"), UpPolicy())
    assert [step.service for step in plan.steps] == ["account", "db"]
    up(engine, desired).raise_failure()
    assert lines(engine, desired, provided=frozenset(("account", "db"))) == []
    assert lines(engine, desired, services=("account",)) == [
        "[] -> #1 cloud: up account: provided by cloud"
    ]
    assert not any("cloud" in line for line in lines(engine, desired, start=False))


def test_down_takes_what_was_provided_away_last() -> None:
    desired = stack(service("web", depends("db"), networks=[]), provided("db"))
    engine = running_with_providers(desired)
    request = desired.services[1].provider
    assert request is not None
    seen = replace(engine.observed("p"), providers=(request,))
    assert (
        render(down_plan(seen, DownPolicy())).splitlines()[-1] == "[2] -> #3 cloud: down db: down"
    )
    assert "cloud" not in render(down_plan(seen, DownPolicy(services=("web",))))


def test_stop_lets_rest_what_was_provided_once_its_users_have_stopped() -> None:
    desired = stack(
        service("web", depends("db"), networks=[]),
        provided("db", depends("account")),
        provided("account"),
    )
    engine = running_with_providers(desired)
    asked = tuple(s.provider for s in reversed(desired.services) if s.provider is not None)
    seen = replace(engine.observed("p"), providers=asked)
    assert render(stop_plan(seen, ServicePolicy())).splitlines() == [
        "[] -> #1 stop container p-web-1: stop",
        "[1] -> #2 cloud: stop db: stop",
        "[2] -> #3 cloud: stop account: stop",
    ]
    assert render(stop_plan(seen, ServicePolicy(services=("db",)))) == (
        "[] -> #1 cloud: stop db: stop"
    )
    assert "cloud" not in render(stop_plan(seen, ServicePolicy(services=("web",))))


def running_with_providers(desired: Desired) -> MemoryEngine:
    engine = MemoryEngine()
    up(engine, desired, recreate=Recreate.CHANGED).raise_failure()
    return engine
