"""Plans of down, stop, start, restart and rm, compared as they print."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from stackctl.errors import NotFound
from stackctl.model.container import Status
from stackctl.scheduler.desired import (
    Condition,
    Dependency,
    Desired,
    DownPolicy,
    ServicePolicy,
    UpPolicy,
)
from stackctl.scheduler.executor import execute
from stackctl.scheduler.plan import (
    down_plan,
    left_by_down,
    remove_plan,
    restart_plan,
    start_plan,
    stop_plan,
    up_plan,
)
from stackctl.scheduler.recorded import parse
from stackctl.scheduler.recorded import render as label
from stackctl.scheduler.show import render
from stackctl.testing.engine import MemoryEngine
from stackctl.testing.stacks import HEALTHY, depends, ends, service, stack


def running(desired: Desired) -> MemoryEngine:
    engine = MemoryEngine()
    plan = up_plan(desired, engine.observed("p"), UpPolicy())
    asyncio.run(execute(plan, engine)).raise_failure()
    return engine


def chain() -> MemoryEngine:
    return running(
        stack(
            service("web", depends("api", "healthy")),
            service("api", depends("db", "healthy"), health=HEALTHY),
            service("db", health=HEALTHY, volumes=["data"]),
            service("log"),
        )
    )


def down(engine: MemoryEngine, policy: DownPolicy | None = None) -> list[str]:
    return render(down_plan(engine.observed("p"), policy or DownPolicy())).splitlines()


def test_down_stops_dependents_first_and_the_rest_at_once():
    engine = chain()
    assert down(engine) == [
        "[] -> #1 stop container p-web-1: down",
        "[1] -> #2 stop container p-api-1: down",
        "[] -> #3 stop container p-log-1: down",
        "[2] -> #4 stop container p-db-1: down",
        "[2] -> #5 remove container p-api-1: down",
        "[4] -> #6 remove container p-db-1: down",
        "[3] -> #7 remove container p-log-1: down",
        "[1] -> #8 remove container p-web-1: down",
        "[5,6,7,8] -> #9 remove network p_default: down",
    ]


def test_down_waits_over_services_that_do_not_run():
    engine = chain()
    engine.end("p-api-1")
    assert "[1] -> #3 stop container p-db-1: down" in down(engine)


def test_down_with_volumes():
    engine = running(stack(service("a", volumes=["data"], anonymous=["/x"])))
    assert down(engine, DownPolicy(volumes=True)) == [
        "[] -> #1 stop container p-a-1: down",
        "[1] -> #2 remove container p-a-1 and its anonymous volumes: down",
        "[2] -> #3 remove network p_default: down",
        "[2] -> #4 remove volume p_data: down --volumes",
    ]


def test_down_with_a_file_keeps_the_data_of_others():
    engine = running(
        stack(service("a", volumes=["data"], anonymous=["/x"]), service("b", volumes=["other"]))
    )
    policy = DownPolicy(
        volumes=True, known=frozenset({"a", "b"}), known_volumes=frozenset({"p_data"})
    )
    (told,) = left_by_down(engine.observed("p"), policy)
    assert told == (
        "volumes that no active service of the stack file uses stay: p_other "
        "(stackctl volume rm p_other)"
    )
    assert left_by_down(engine.observed("p"), replace(policy, volumes=False)) == ()
    assert asyncio.run(execute(down_plan(engine.observed("p"), policy), engine)).ok
    assert [*engine.volumes] == ["p_other"] and not engine.containers


def test_an_anonymous_volume_without_container_goes_with_down_volumes():
    engine = running(stack(service("a", anonymous=["/x"])))
    asyncio.run(execute(down_plan(engine.observed("p"), DownPolicy()), engine))
    assert len(engine.volumes) == 1
    asyncio.run(execute(down_plan(engine.observed("p"), DownPolicy(volumes=True)), engine))
    assert engine.is_empty


def test_down_takes_edges_from_the_file_over_those_of_the_labels():
    engine = running(stack(service("a"), service("b")))
    policy = DownPolicy(depends_on={"a": ("b",)})
    assert "[1] -> #2 stop container p-b-1: down" in down(engine, policy)


def test_down_survives_circles_in_labels():
    engine = running(stack(service("a"), service("b")))
    policy = DownPolicy(depends_on={"a": ("b",), "b": ("a",)})
    plan = down_plan(engine.observed("p"), policy)
    assert asyncio.run(execute(plan, engine)).ok and engine.is_empty


def test_down_of_some_services_keeps_what_others_use():
    engine = chain()
    assert down(engine, DownPolicy(services=("web",))) == [
        "[] -> #1 stop container p-web-1: down",
        "[1] -> #2 remove container p-web-1: down",
    ]
    with pytest.raises(NotFound):
        down(engine, DownPolicy(services=("wbe",)))


def test_down_with_a_file_leaves_orphans_and_their_network_unless_asked():
    engine = running(stack(service("a"), service("old")))
    known = frozenset({"a"})
    assert not any(
        "old" in line or "network" in line for line in down(engine, DownPolicy(known=known))
    )
    seen = engine.observed("p")
    (told,) = left_by_down(seen, DownPolicy(known=known))
    assert told == (
        "containers that the stack file does not describe stay: p-old-1, and what they are in: "
        "p_default (--remove-orphans removes them)"
    )
    for policy in (DownPolicy(), DownPolicy(known=known, services=("a",))):
        assert left_by_down(seen, policy) == ()
    plan = down_plan(seen, policy := DownPolicy(known=known, remove_orphans=True))
    assert left_by_down(seen, policy) == ()
    assert asyncio.run(execute(plan, engine)).ok and engine.is_empty


def test_down_takes_one_offs_and_containers_that_are_about_to_restart():
    engine = running(stack(service("a")))
    (record,) = engine.containers.values()
    config = replace(record.config, name="p-a-run-1", oneoff=True, number=0)
    engine.containers["x"] = replace(record, id="x", config=config)
    engine.end("p-a-1", 1, restarting=True)
    plan = down_plan(engine.observed("p"), DownPolicy())
    assert render(plan).count("stop container") == 2
    assert asyncio.run(execute(plan, engine)).ok and engine.is_empty


def test_down_of_nothing_is_nothing():
    assert down(MemoryEngine()) == []


def stop(engine: MemoryEngine) -> None:
    asyncio.run(execute(stop_plan(engine.observed("p"), ServicePolicy()), engine))


def test_stop_and_start_go_opposite_ways():
    engine = chain()
    stops = render(stop_plan(engine.observed("p"), ServicePolicy(timeout=3))).splitlines()
    assert stops == [
        "[] -> #1 stop container p-web-1: stop",
        "[1] -> #2 stop container p-api-1: stop",
        "[] -> #3 stop container p-log-1: stop",
        "[2] -> #4 stop container p-db-1: stop",
    ]
    stop(engine)
    assert render(start_plan(engine.observed("p"), ServicePolicy())).splitlines() == [
        "[] -> #1 start container p-db-1: exited (143)",
        "[1] -> #2 wait until p-db-1 is healthy: api depends on db: healthy",
        "[] -> #3 start container p-log-1: exited (143)",
        "[2] -> #4 start container p-api-1: exited (143)",
        "[4] -> #5 wait until p-api-1 is healthy: web depends on api: healthy",
        "[5] -> #6 start container p-web-1: exited (143)",
    ]


def test_start_of_one_brings_its_dependencies_unless_no_deps():
    engine = chain()
    stop(engine)
    lines = render(start_plan(engine.observed("p"), ServicePolicy(services=("api",)))).splitlines()
    assert [line.split("#")[1] for line in lines] == [
        "1 start container p-db-1: exited (143)",
        "2 wait until p-db-1 is healthy: api depends on db: healthy",
        "3 start container p-api-1: exited (143)",
    ]
    alone = ServicePolicy(services=("api",), no_deps=True)
    assert render(start_plan(engine.observed("p"), alone)) == (
        "[] -> #1 start container p-api-1: exited (143)"
    )


def test_start_with_everything_running_is_nothing():
    assert not start_plan(chain().observed("p"), ServicePolicy())


def test_start_runs_a_finished_job_only_when_it_is_named():
    engine = running(
        stack(
            service("job", argv=ends(0)), service("web", depends("job", "completed_successfully"))
        )
    )
    seen = engine.observed("p")
    assert not start_plan(seen, ServicePolicy())
    assert len(start_plan(seen, ServicePolicy(services=("job",))).steps) == 1
    assert len(restart_plan(seen, ServicePolicy()).steps) == 2


def test_restart_takes_those_along_that_want_it():
    engine = running(
        stack(
            service("db", health=HEALTHY),
            service("web", depends("db", "healthy", restart=True)),
            service("log", depends("db")),
        )
    )
    policy = ServicePolicy(services=("db",))
    assert render(restart_plan(engine.observed("p"), policy)).splitlines() == [
        "[] -> #1 stop container p-web-1: restart",
        "[1] -> #2 stop container p-db-1: restart",
        "[2] -> #3 start container p-db-1: restart",
        "[3] -> #4 wait until p-db-1 is healthy: web depends on db: healthy",
        "[1,4] -> #5 start container p-web-1: db is restarted (restart: true)",
    ]
    alone = ServicePolicy(services=("db",), no_deps=True)
    assert "p-web-1" not in render(restart_plan(engine.observed("p"), alone))


def test_rm_takes_what_has_ended_and_the_rest_with_stop():
    engine = running(stack(service("a"), service("b")))
    engine.end("p-a-1")
    assert render(remove_plan(engine.observed("p"), ServicePolicy())) == (
        "[] -> #1 remove container p-a-1: rm"
    )
    plan = remove_plan(engine.observed("p"), ServicePolicy(stop=True, services=("b",)))
    assert render(plan).splitlines() == [
        "[] -> #1 stop container p-b-1: rm --stop",
        "[1] -> #2 remove container p-b-1: rm",
    ]


def test_the_label_is_read_as_compose_writes_it():
    needs = parse("db:service_healthy:true,cache:service_started:false,odd,x:what:no,")
    assert needs == (
        Dependency(service="db", condition=Condition.HEALTHY, restart=True),
        Dependency(service="cache"),
        Dependency(service="odd"),
        Dependency(service="x"),
    )
    assert parse(label(needs)) == needs
    assert parse("") == ()


def test_status_rules():
    assert Status.RESTARTING.needs_stop and Status.PAUSED.needs_stop
    assert not Status.CREATED.needs_stop and not Status.EXITED.needs_stop
