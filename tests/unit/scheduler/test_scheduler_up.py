"""Plans of `up`, compared as they print; each is executed, and the next one is empty."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from stackctl.errors import Conflict, NotFound, Place, StackFileError, Unmet
from stackctl.model.build import BuildRequest
from stackctl.model.container import Health, ImageMount, Status
from stackctl.model.network import NetworkConfig
from stackctl.scheduler.desired import Desired, DesiredService, DownPolicy, Recreate, UpPolicy
from stackctl.scheduler.executor import execute
from stackctl.scheduler.ops import (
    CreateContainer,
    CreateNetwork,
    PullImage,
    RemoveContainer,
    RemoveNetwork,
    RemoveVolume,
    RenameContainer,
    StartContainer,
    StopContainer,
)
from stackctl.scheduler.plan import down_plan, notices, orphans, pull_plan, up_plan
from stackctl.scheduler.show import render
from stackctl.testing.engine import MemoryEngine
from stackctl.testing.stacks import HEALTHY, UNHEALTHY, depends, ends, service, stack
from support.plans import UP, running, settles, shown, up


def test_a_first_up_creates_everything_at_once_and_starts_in_order():
    desired = stack(
        service("web", depends("db", "healthy"), depends("migrate", "completed_successfully")),
        service("migrate", depends("db", "healthy"), argv=ends(0)),
        service("db", health=HEALTHY, volumes=["data"]),
    )
    engine = MemoryEngine()
    assert shown(engine, desired) == [
        "[] -> #1 create volume p_data: not found",
        "[] -> #2 create network p_default: not found",
        "[1,2] -> #3 create container p-db-1: not found",
        "[2] -> #4 create container p-migrate-1: not found",
        "[2] -> #5 create container p-web-1: not found",
        "[3] -> #6 start container p-db-1: not found",
        "[6] -> #7 wait until p-db-1 is healthy: migrate, web depend on db: healthy",
        "[4,7] -> #8 start container p-migrate-1: not found",
        "[8] -> #9 wait until p-migrate-1 has completed: "
        "web depends on migrate: completed successfully",
        "[5,7,9] -> #10 start container p-web-1: not found",
    ]
    settles(engine, desired)


def test_a_missing_image_is_pulled_once_and_only_its_users_wait():
    desired = stack(
        service("a", image="nginx"), service("b", image="nginx"), service("c", image="redis")
    )
    engine = MemoryEngine(images=frozenset({"redis"}))
    assert shown(engine, desired)[:5] == [
        "[] -> #1 pull image nginx: not found",
        "[] -> #2 create network p_default: not found",
        "[1,2] -> #3 create container p-a-1: not found",
        "[1,2] -> #4 create container p-b-1: not found",
        "[2] -> #5 create container p-c-1: not found",
    ]
    settles(engine, desired)


def test_pull_policies():
    always = stack(service("a", image="nginx", pull_policy="always"))
    engine = running_once(always)
    assert shown(engine, always) == ["[] -> #1 pull image nginx: pull_policy: always"]
    assert shown(engine, always, UpPolicy(pulled=frozenset({"nginx"}))) == []
    assert render(pull_plan(always, engine.observed("p"), UP)).count("pull image") == 1
    built_in = stack(service("a", pull_policy="always"))
    assert not any("pull" in line for line in shown(MemoryEngine(), built_in))
    assert not pull_plan(built_in, MemoryEngine().observed("p"), UP)
    never = stack(service("a", image="nginx", pull_policy="never"))
    with pytest.raises(NotFound, match="pull_policy is never"):
        shown(MemoryEngine(), never)


def test_what_can_be_built_is_pulled_first_where_that_is_asked_for():
    built = replace(service("a", image="x/a", pull_policy="always"), build=BuildRequest())
    [step] = up_plan(stack(built), MemoryEngine().observed("p"), UP).steps[:1]
    assert step.op == PullImage(reference="x/a", build=BuildRequest())
    assert shown(MemoryEngine(), stack(replace(built, image="p-a")))[0].startswith(
        "[] -> #1 build image p-a"
    )
    forced = shown(MemoryEngine(), stack(built), UpPolicy(build=True))
    assert forced[0] == "[] -> #1 build image x/a: asked for (--build)"


def test_a_pull_on_which_nothing_depends_is_an_edge_and_no_barrier():
    desired = stack(service("a", image="slow"), service("b", image="quick"))
    engine = MemoryEngine(images=frozenset())
    assert not pull_plan(desired, engine.observed("p"), UP)
    assert shown(engine, desired) == [
        "[] -> #1 pull image slow: not found",
        "[] -> #2 pull image quick: not found",
        "[] -> #3 create network p_default: not found",
        "[1,3] -> #4 create container p-a-1: not found",
        "[2,3] -> #5 create container p-b-1: not found",
        "[4] -> #6 start container p-a-1: not found",
        "[5] -> #7 start container p-b-1: not found",
    ]
    held = asyncio.Event()

    async def hold(op: object) -> None:
        if op == PullImage(reference="slow"):
            # Whoever does not wait for it has to be done by now.
            await held.wait()
        if op == StartContainer(name="p-b-1"):
            held.set()

    engine.pause = hold
    settles(engine, desired)


def test_an_image_is_pulled_again_when_it_is_older_than_its_policy_says():
    old = service("a", image="nginx", pull_policy="every_12h")
    desired = stack(replace(old, refresh_after=43200.0))
    engine = running(desired)
    for age, lines in (
        (43199.0, []),
        (43201.0, ["[] -> #1 pull image nginx: pull_policy: every_12h"]),
    ):
        observed = replace(engine.observed("p"), image_ages={"nginx": age})
        assert render(up_plan(desired, observed, UP)).splitlines() == lines
        # Its container exists: whether it is made anew is known after the pull.
        assert render(pull_plan(desired, observed, UP)).splitlines() == lines


def running_once(desired: Desired) -> MemoryEngine:
    engine = MemoryEngine()
    assert up(engine, desired).ok
    return engine


def test_an_image_that_is_gone_does_not_disturb_a_container_that_has_it():
    desired = stack(service("a"))
    engine = running(desired)
    engine.images.clear()
    assert shown(engine, desired) == []


def test_a_changed_service_runs_on_until_its_successor_is_made():
    engine = running(stack(service("a"), service("b")))
    desired = stack(service("a", version="2"), service("b"))
    assert shown(engine, desired) == [
        "[] -> #1 create container p-a-1 anew: configuration changed",
        "[1] -> #2 stop container p-a-1: configuration changed",
        "[2] -> #3 remove container p-a-1: configuration changed",
        "[3] -> #4 give container p-a-1 its name: configuration changed",
        "[4] -> #5 start container p-a-1: configuration changed",
    ]
    settles(engine, desired)


def test_a_changed_service_waits_for_its_conditions_before_the_old_one_is_stopped():
    engine = running(stack(service("db", health=HEALTHY), service("web", depends("db", "healthy"))))
    desired = stack(
        service("db", health=HEALTHY, version="2"),
        service("web", depends("db", "healthy"), version="2"),
    )
    assert shown(engine, desired)[2:] == [
        "[1] -> #3 stop container p-db-1: configuration changed",
        "[3] -> #4 remove container p-db-1: configuration changed",
        "[4] -> #5 give container p-db-1 its name: configuration changed",
        "[5] -> #6 start container p-db-1: configuration changed",
        "[6] -> #7 wait until p-db-1 is healthy: web depends on db: healthy",
        "[2,7] -> #8 stop container p-web-1: configuration changed",
        "[8] -> #9 remove container p-web-1: configuration changed",
        "[9] -> #10 give container p-web-1 its name: configuration changed",
        "[7,10] -> #11 start container p-web-1: configuration changed",
    ]
    settles(engine, desired)


def test_causes_of_recreation():
    base = service("a", image="nginx", image_id="sha256:1")
    engine = MemoryEngine(images=frozenset({"nginx"}))
    assert up(engine, stack(base)).ok
    newer = stack(service("a", image="nginx", image_id="sha256:2"))
    assert shown(engine, newer)[0].endswith("anew: image changed")
    unknown = stack(service("a", image="nginx", image_id=""))
    assert shown(engine, unknown) == []
    forced = UpPolicy(recreate=Recreate.FORCE)
    assert shown(engine, stack(base), forced)[0].endswith("anew: --force-recreate")
    assert shown(engine, newer, UpPolicy(recreate=Recreate.NEVER)) == []


def test_force_recreate_leaves_dependencies_of_the_named_alone():
    desired = stack(service("db"), service("web", depends("db")))
    engine = running(desired)
    policy = UpPolicy(services=("web",), recreate=Recreate.FORCE)
    assert not [line for line in shown(engine, desired, policy) if "p-db-1" in line]
    settles(engine, desired, policy)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"status": Status.EXITED, "exit_code": 137}, "exited (137)"),
        ({"status": Status.EXITED, "exit_code": None}, "exited (unknown)"),
        (
            {"status": Status.EXITED, "exit_code": 137, "oom_killed": True},
            "exited (137, out of memory)",
        ),
        ({"status": Status.CREATED}, "created, but never started"),
        ({"status": Status.DEAD, "exit_code": 1}, "exited (1)"),
    ],
)
def test_what_does_not_run_is_started_again(changes, cause):
    desired = stack(service("a"))
    engine = running(desired)
    engine.update("p-a-1", **changes)
    assert shown(engine, desired) == [f"[] -> #1 start container p-a-1: {cause}"]
    settles(engine, desired)


@pytest.mark.parametrize("status", [Status.PAUSED, Status.RESTARTING, Status.STARTING])
def test_what_is_in_hand_is_left_alone(status):
    desired = stack(service("a"))
    engine = running(desired)
    engine.update("p-a-1", status=status)
    assert shown(engine, desired) == []


def test_scaling_down_removes_the_highest_numbers_first():
    engine = running(stack(service("a", scale=3)))
    desired = stack(service("a", scale=1))
    assert shown(engine, desired) == [
        "[] -> #1 stop container p-a-3: scale: 1 wanted",
        "[1] -> #2 remove container p-a-3: scale: 1 wanted",
        "[] -> #3 stop container p-a-2: scale: 1 wanted",
        "[3] -> #4 remove container p-a-2: scale: 1 wanted",
    ]
    settles(engine, desired)
    settles(engine, stack(service("a", scale=0)))
    assert not engine.containers


def test_scaling_up_fills_gaps():
    desired = stack(service("a", scale=3))
    engine = running(desired)
    record = engine._named("p-a-2")
    engine.containers.pop(record.id)
    assert [line.split(" -> ")[1] for line in shown(engine, desired)] == [
        "#1 create container p-a-2: not found",
        "#2 start container p-a-2: not found",
    ]


def test_orphans_are_told_and_removed_only_when_asked():
    engine = running(stack(service("a"), service("old"), service("dev")))
    desired = stack(service("a"), disabled=frozenset({"dev"}))
    seen = engine.observed("p")
    assert [record.name for record in orphans(desired, seen)] == ["p-old-1"]
    assert shown(engine, desired) == []
    assert "p-old-1" in notices(desired, seen, UP)[0]
    policy = UpPolicy(remove_orphans=True)
    assert shown(engine, desired, policy) == [
        "[] -> #1 stop container p-old-1: orphan: the stack file does not describe it",
        "[1] -> #2 remove container p-old-1: orphan: the stack file does not describe it",
    ]
    settles(engine, desired, policy)
    assert notices(desired, engine.observed("p"), policy) == ()


def test_an_ended_one_off_is_an_orphan_a_running_one_is_not():
    desired = stack(service("a"))
    engine = running(desired)
    record = next(iter(engine.containers.values()))
    for name, status in (("p-a-run-1", Status.EXITED), ("p-a-run-2", Status.RUNNING)):
        config = replace(record.config, name=name, oneoff=True, number=0)
        engine.containers[name] = replace(record, id=name, config=config, status=status)
    assert [r.name for r in orphans(desired, engine.observed("p"))] == ["p-a-run-1"]
    assert shown(engine, desired) == []


def test_a_dependent_that_wants_it_restarts_with_its_dependency():
    def of(version: str) -> Desired:
        return stack(
            service("db", health=HEALTHY, version=version),
            service("web", depends("db", "healthy", restart=True)),
            service("proxy", depends("web", restart=True)),
            service("log", depends("db")),
        )

    engine = running(of("1"))
    assert shown(engine, of("2")) == [
        "[] -> #1 create container p-db-1 anew: configuration changed",
        "[] -> #2 stop container p-proxy-1: web is restarted (restart: true)",
        "[1,2] -> #3 stop container p-web-1: db is recreated (restart: true)",
        "[1,3] -> #4 stop container p-db-1: configuration changed",
        "[4] -> #5 remove container p-db-1: configuration changed",
        "[5] -> #6 give container p-db-1 its name: configuration changed",
        "[6] -> #7 start container p-db-1: configuration changed",
        "[7] -> #8 wait until p-db-1 is healthy: web depends on db: healthy",
        "[3,8] -> #9 start container p-web-1: db is recreated (restart: true)",
        "[2,9] -> #10 start container p-proxy-1: web is restarted (restart: true)",
    ]
    settles(engine, of("2"))


def test_a_dependent_outside_the_named_services_restarts_too_unless_no_deps():
    web = service("web", depends("db", restart=True))
    engine = running(stack(service("db"), web))
    changed = stack(service("db", version="2"), web)
    assert any(
        "start container p-web-1" in s for s in shown(engine, changed, UpPolicy(services=("db",)))
    )
    policy = UpPolicy(services=("db",), no_deps=True)
    assert not any("p-web-1" in line for line in shown(engine, changed, policy))


def test_a_changed_network_is_made_anew_with_all_that_is_in_it():
    db, web = service("db", networks=["back"]), service("web", depends("db"), networks=["back"])
    engine = running(stack(db, web, network_version="1"))
    desired = stack(db, web, network_version="2")
    assert shown(engine, desired) == [
        "[] -> #1 stop container p-web-1: network back is recreated",
        "[1] -> #2 stop container p-db-1: network back is recreated",
        "[1,2] -> #3 remove network p_back: configuration changed",
        "[3] -> #4 create network p_back: configuration changed",
        "[4] -> #5 create container p-db-1 anew: network back is recreated",
        "[4] -> #6 create container p-web-1 anew: network back is recreated",
        "[2,5] -> #7 remove container p-db-1: network back is recreated",
        "[7] -> #8 give container p-db-1 its name: network back is recreated",
        "[8] -> #9 start container p-db-1: network back is recreated",
        "[1,6] -> #10 remove container p-web-1: network back is recreated",
        "[10] -> #11 give container p-web-1 its name: network back is recreated",
        "[9,11] -> #12 start container p-web-1: network back is recreated",
    ]
    settles(engine, desired)


def test_a_changed_network_takes_services_along_that_nobody_named():
    db, web = service("db"), service("web")
    engine = running(stack(db, web, network_version="1"))
    desired = stack(db, web, network_version="2")
    settles(engine, desired, UpPolicy(services=("db",)))


def test_a_stranger_in_a_changed_network_is_a_conflict():
    old = service("old")
    engine = running(stack(service("db"), old, network_version="1"))
    desired = stack(service("db"), network_version="2")
    with pytest.raises(Conflict, match="p-old-1"):
        shown(engine, desired)
    settles(engine, desired, UpPolicy(remove_orphans=True))


def test_a_restart_that_hangs_on_a_changed_network_makes_no_circle():
    def of(version: str) -> Desired:
        return stack(
            service("db", networks=["back"]),
            service("web", depends("db", restart=True), networks=[]),
            network_version=version,
        )

    engine = running(of("1"))
    assert shown(engine, of("2"))[:2] == [
        "[] -> #1 stop container p-web-1: db is recreated (restart: true)",
        "[1] -> #2 stop container p-db-1: network back is recreated",
    ]
    settles(engine, of("2"))


def test_an_interrupted_network_change_is_carried_on():
    db = service("db", networks=["back"])
    engine = running(stack(db, network_version="1"))
    desired = stack(db, network_version="2")
    engine.fail(CreateContainer, "p-db-1")
    assert not up(engine, desired).ok
    engine.mend()
    assert shown(engine, desired)[0].endswith("anew: network back was recreated")
    settles(engine, desired)


def test_a_container_of_an_earlier_network_of_that_name_is_made_anew():
    desired = stack(service("db", networks=["back"]))
    engine = running(desired)
    network = engine.networks["p_back"]
    engine.networks["p_back"] = replace(network, id="another")
    assert shown(engine, desired)[0].endswith("anew: network back was recreated")
    settles(engine, desired)


def test_a_container_whose_creation_was_interrupted_is_made_anew():
    desired = stack(service("db"))
    engine = running(desired)
    engine.update("p-db-1", endpoints=(), status=Status.CREATED)
    assert shown(engine, desired)[0].endswith("anew: not in network default")
    settles(engine, desired)


@pytest.mark.parametrize(
    "broken",
    [CreateContainer, StopContainer, RemoveContainer, RenameContainer, StartContainer],
)
def test_an_interrupted_recreation_is_carried_on(broken):
    engine = running(stack(service("a", anonymous=["/data"])))
    desired = stack(service("a", anonymous=["/data"], version="2"))
    volume = next(iter(engine.volumes))
    engine.fail(broken, "p-a-1")
    assert not up(engine, desired).ok
    engine.mend()
    settles(engine, desired)
    (record,) = engine.containers.values()
    assert (record.name, record.status) == ("p-a-1", Status.RUNNING)
    assert list(engine.volumes) == [volume]


def test_anonymous_volumes_are_kept_or_renewed():
    engine = running(stack(service("a", anonymous=["/data"])))
    before = set(engine.volumes)
    desired = stack(service("a", anonymous=["/data"], version="2"))
    settles(engine, desired)
    assert set(engine.volumes) == before
    policy = UpPolicy(recreate=Recreate.FORCE, renew_anonymous_volumes=True)
    settles(engine, desired, policy)
    assert len(engine.volumes) == 1 and set(engine.volumes) != before


def test_a_port_moves_from_one_service_to_another():
    engine = running(stack(service("a", ports=[80]), service("b", depends("a"), ports=[81])))
    desired = stack(
        service("a", ports=[81], health=HEALTHY), service("b", depends("a", "healthy"), ports=[80])
    )
    settles(engine, desired)


def test_two_services_swap_their_addresses_whichever_depends_on_the_other():
    engine = running(
        stack(service("a", address="10.1.0.2"), service("b", depends("a"), address="10.1.0.3"))
    )
    desired = stack(
        service("a", address="10.1.0.3", health=HEALTHY),
        service("b", depends("a", "healthy"), address="10.1.0.2"),
    )
    settles(engine, desired)
    # An address of the same text in two networks is two addresses.
    apart = stack(
        service("a", address="10.1.0.3", networks=["x"]),
        service("b", address="10.1.0.3", networks=["y"]),
    )
    settles(engine, apart)


def test_a_port_of_an_orphan_is_free_before_another_takes_it():
    engine = running(stack(service("old", ports=[80])))
    desired = stack(service("new", ports=[80]))
    assert shown(engine, desired, UpPolicy(remove_orphans=True))[2:] == [
        "[] -> #3 create container p-new-1: not found",
        "[1,3] -> #4 start container p-new-1: not found",
    ]
    settles(engine, desired, UpPolicy(remove_orphans=True))


def test_naming_a_service_brings_its_dependencies_unless_no_deps():
    desired = stack(service("db"), service("web", depends("db")), service("other", networks=["x"]))
    engine = MemoryEngine()
    named = UpPolicy(services=("web",))
    assert up(engine, desired, named).ok
    assert {r.name for r in engine.containers.values()} == {"p-db-1", "p-web-1"}
    assert set(engine.networks) == {"p_default"}
    assert shown(engine, desired, named) == []
    engine = MemoryEngine()
    assert up(engine, desired, UpPolicy(services=("web",), no_deps=True)).ok
    assert {r.name for r in engine.containers.values()} == {"p-web-1"}


def test_an_optional_dependency_may_fail_or_be_missing():
    desired = stack(
        service("db", health=UNHEALTHY),
        service("web", depends("db", "healthy", required=False), depends("gone", required=False)),
    )
    engine = MemoryEngine()
    assert "[3,5?] -> #6 start container p-web-1: not found" in shown(engine, desired)
    report = up(engine, desired)
    assert report.ok
    assert engine._named("p-web-1").status is Status.RUNNING


def test_a_required_dependency_that_is_unhealthy_blocks():
    desired = stack(
        service("db", health=UNHEALTHY), service("web", depends("db", "healthy")), service("x")
    )
    engine = MemoryEngine()
    report = up(engine, desired)
    assert not report.ok
    assert engine._named("p-web-1").status is Status.CREATED
    assert engine._named("p-x-1").status is Status.RUNNING


def test_a_condition_that_nobody_can_meet_is_told_and_not_waited_for():
    web = service("web", depends("db", "healthy"), depends("job", "completed_successfully"))
    desired = stack(service("db", scale=0, health=HEALTHY), service("job", scale=0), web)
    engine = MemoryEngine()
    assert notices(desired, engine.observed("p"), UP) == (
        "web depends on db: healthy, which is not waited for: "
        "db is to have no containers (scale: 0)",
        "web depends on job: completed successfully, which is not waited for: "
        "job is to have no containers (scale: 0)",
    )
    assert not any("wait until" in line for line in shown(engine, desired))
    for policy in (UpPolicy(start=False), UpPolicy(services=("web",), no_deps=True)):
        assert notices(desired, engine.observed("p"), policy) == ()
    settles(engine, desired)
    assert notices(desired, engine.observed("p"), UP) == ()  # web runs
    for need in (depends("db"), depends("db", "healthy", required=False)):
        tolerant = stack(service("db", scale=0), service("web", need))
        assert notices(tolerant, MemoryEngine().observed("p"), UP) == ()


def test_wait_adds_a_gate_for_everything_and_is_empty_when_all_is_well():
    desired = stack(
        service("db", health=HEALTHY),
        service("job", argv=ends(0)),
        service("init", argv=ends(0)),
        service("web", depends("db", "healthy"), depends("init", "completed_successfully")),
    )
    policy = UpPolicy(wait=True)
    engine = MemoryEngine()
    waits = [line.partition("wait until ")[2] for line in shown(engine, desired, policy)]
    assert [text for text in waits if text] == [
        "p-db-1 is healthy: web depends on db: healthy",
        "p-job-1 runs or has ended well: --wait",
        "p-init-1 has completed: web depends on init: completed successfully",
        "p-web-1 runs or has ended well: --wait",
    ]
    assert up(engine, desired, policy).ok
    engine.update("p-db-1", health=Health.STARTING)
    # The job that nobody waits for is run again, as compose does.
    assert shown(engine, desired, policy) == [
        "[] -> #1 wait until p-db-1 is healthy: --wait",
        "[] -> #2 start container p-job-1: exited (0)",
        "[2] -> #3 wait until p-job-1 runs or has ended well: --wait",
    ]


def test_no_start_creates_only():
    desired = stack(service("db", health=HEALTHY), service("web", depends("db", "healthy")))
    engine = MemoryEngine()
    policy = UpPolicy(start=False)
    assert up(engine, desired, policy).ok
    assert {r.status for r in engine.containers.values()} == {Status.CREATED}
    assert shown(engine, desired, policy) == []


def test_external_networks_and_volumes_must_exist():
    desired = replace(
        stack(service("a", networks=["x"])), networks=(), external_networks={"p_x": None}
    )
    with pytest.raises(NotFound, match='network "p_x" is not made by the stack'):
        shown(MemoryEngine(), desired)
    seen = replace(MemoryEngine().observed("p"), other_networks={"p_x": "x"})
    assert "create network" not in render(up_plan(desired, seen, UP))
    volumes = replace(
        stack(service("a", volumes=["v"])), volumes=(), external_volumes={"p_v": None}
    )
    with pytest.raises(NotFound, match='volume "p_v" is not made by the stack'):
        shown(MemoryEngine(), volumes)
    placed = replace(desired, external_networks={"p_x": Place("stack.yaml", 3, 5)})
    with pytest.raises(NotFound) as caught:
        shown(MemoryEngine(), placed)
    assert str(caught.value).startswith('stack.yaml:3:5: network "p_x" is not made by the stack')


def test_all_that_is_missing_is_told_at_once():
    one = service("a", networks=["x", "y"], volumes=["v"])
    desired = replace(
        stack(replace(one, external_links=("gone",))),
        networks=(),
        volumes=(),
        external_networks={"p_x": None, "p_y": None},
        external_volumes={"p_v": None},
    )
    with pytest.raises(Unmet) as caught:
        shown(MemoryEngine(), desired)
    assert [error.brief for error in caught.value.errors] == [
        'volume "p_v" is not made by the stack, and does not exist',
        'network "p_x" is not made by the stack, and does not exist',
        'network "p_y" is not made by the stack, and does not exist',
        'service "a" links to container "gone", which does not exist',
    ]


@pytest.mark.parametrize(
    ("shares", "what"),
    [({"network_mode": "service:db"}, "namespaces"), ({"volumes_from": ("p-db-1",)}, "volumes")],
)
def test_without_dependencies_those_that_are_shared_with_have_to_be_there(
    shares: dict[str, Any], what: str
) -> None:
    app = service("app", depends("db"), networks=[])
    app = replace(app, replicas=tuple(replace(c, **shares) for c in app.replicas))
    desired = stack(service("db"), app)
    alone = UpPolicy(services=("app",), no_deps=True)
    brief = f'service "app" shares the {what} of "db", which has no container'
    engine = MemoryEngine()
    with pytest.raises(NotFound, match=brief):
        shown(engine, desired, alone)
    assert up(engine, desired, UP).ok
    assert shown(engine, desired, alone) == []
    for record in [*engine.containers.values()]:
        if record.config.service == "db":
            del engine.containers[record.id]
    for policy in (alone, replace(alone, recreate=Recreate.FORCE)):
        with pytest.raises(NotFound, match=brief):
            shown(engine, desired, policy)


@pytest.mark.parametrize(
    ("shares", "brief"),
    [
        ({"network_mode": "service:db"}, 'the namespaces of "db", which has no container'),
        ({"volumes_from": ("p-db-1",)}, 'the volumes of container "p-db-1", which does not exist'),
        ({"pid": "container:gone"}, 'the namespaces of container "gone", which does not exist'),
        ({"volumes_from": ("gone:ro",)}, 'the volumes of container "gone", which does not exist'),
        ({"ipc": "container:there", "volumes_from": ("there",)}, ""),
        ({"pid": "container:0123456789abcdef"}, ""),
    ],
)
def test_who_shares_with_nobody_is_told_before_the_first_step(
    shares: dict[str, Any], brief: str
) -> None:
    app = service("app", depends("db"), networks=[])
    app = replace(app, replicas=tuple(replace(c, **shares) for c in app.replicas))
    engine = MemoryEngine()
    assert up(engine, stack(service("db"), service("app", networks=[])), UP).ok
    seen = replace(engine.observed("p"), other_containers=frozenset({"there", "0123456789ab"}))
    # What it shares with is about to go, if it ever was there.
    desired = stack(service("db", scale=0), app)
    if brief:
        with pytest.raises(NotFound, match=f'service "app" shares {brief}'):
            up_plan(desired, seen, UP)
    else:
        assert up_plan(desired, seen, UP)


def test_a_link_to_nobody_counts_where_a_container_is_made() -> None:
    desired = stack(replace(service("a"), external_links=("gone",)))
    seen = MemoryEngine().observed("p")
    with pytest.raises(NotFound, match='links to container "gone"'):
        up_plan(desired, seen, UP)
    engine = MemoryEngine()
    assert up(engine, stack(service("a")), UP).ok
    assert not up_plan(desired, engine.observed("p"), UP)


@pytest.mark.parametrize("kind", ["network", "volume"])
def test_who_is_outside_keeps_what_he_uses(kind: str) -> None:
    def wanted(version: str) -> Desired:
        return stack(service("a", volumes=["v"]), network_version=version, volume_version=version)

    engine = MemoryEngine()
    assert up(engine, wanted("1"), UP).ok
    name = {"network": "p_default", "volume": "p_v"}[kind]
    seen = replace(engine.observed("p"), strangers={(kind, name): "other-x-1"})
    with pytest.raises(Conflict, match=f'{kind} "{name}" .* "other-x-1" uses it') as caught:
        up_plan(wanted("2"), seen, UpPolicy(renew_volumes=True))
    assert caught.value.hint == "stop that container first"
    assert not up_plan(wanted("1"), seen, UP)


def test_what_no_service_uses_is_made_on_request():
    one = stack(service("a", networks=["x"], volumes=["v"]))
    unused = replace(one, services=())
    assert shown(MemoryEngine(), unused) == []
    assert shown(MemoryEngine(), replace(unused, all_resources=True)) == [
        "[] -> #1 create volume p_v: not found",
        "[] -> #2 create network p_x: not found",
    ]
    external = Desired(project="p", external_networks={"x": None}, all_resources=True)
    with pytest.raises(NotFound, match='network "x" is not made by the stack'):
        shown(MemoryEngine(), external)
    external = Desired(project="p", external_volumes={"x": None}, all_resources=True)
    with pytest.raises(NotFound, match='volume "x" is not made by the stack'):
        shown(MemoryEngine(), external)


def test_a_changed_volume_is_made_anew_on_request():
    def wanted(version: str) -> Desired:
        db, other = service("db", volumes=["v"]), service("other", volumes=["v"])
        return stack(db, service("web", depends("db")), other, volume_version=version)

    engine = MemoryEngine()
    assert up(engine, wanted("1"), UP).ok
    assert shown(engine, wanted("2"), UP) == []
    (notice,) = notices(wanted("2"), engine.observed("p"), UP)
    assert notice.endswith("keeps it, because it holds data: `up -y` makes it anew, empty")
    (notice,) = notices(
        wanted("2"),
        engine.observed("p"),
        UpPolicy(renew_volumes=True, services=("web",), no_deps=True),
    )
    assert notice.endswith("keeps it, because it holds data")
    renewing = UpPolicy(renew_volumes=True, services=("db",))
    assert notices(wanted("2"), engine.observed("p"), renewing) == ()
    assert shown(engine, wanted("2"), replace(renewing, recreate=Recreate.NEVER)) == []
    plan = up_plan(wanted("2"), engine.observed("p"), renewing)
    (removal,) = (step for step in plan.steps if isinstance(step.op, RemoveVolume))
    assert removal.loses == ("all that is in volume p_v",)
    # All that mount it are stopped before, asked for or not, and nothing else is.
    stops = [step for step in plan.steps if isinstance(step.op, StopContainer)]
    assert {step.op.name for step in stops} == {"p-db-1", "p-other-1"}
    assert removal.after == {step.number for step in stops}
    assert {step.cause for step in stops} == {"volume p_v is made anew"}
    assert asyncio.run(execute(plan, engine)).ok
    assert shown(engine, wanted("2"), UpPolicy(renew_volumes=True)) == []
    # Who mounts it and is nobody's to stop is in the way.
    strangers = [*engine.containers.values()]
    orphaned = replace(wanted("3"), services=wanted("3").services[:2])
    with pytest.raises(Conflict, match='changed, but "p-other-1" uses it'):
        up_plan(orphaned, engine.observed("p"), UpPolicy(renew_volumes=True))
    assert [*engine.containers.values()] == strangers


def test_images_that_are_mounted_come_first():
    def mounts(name: str, image: str) -> DesiredService:
        plain = service(name, networks=[])
        mount = ImageMount(image=image, target="/x")
        replicas = tuple(replace(c, mounts=(mount,)) for c in plain.replicas)
        return replace(plain, replicas=replicas)

    built = replace(service("b", networks=[], image="p-b"), build=BuildRequest(context="/"))
    desired = stack(mounts("a", "data:1"), mounts("c", "p-b"), built)
    assert shown(MemoryEngine(), desired)[:5] == [
        "[] -> #1 build image p-b: not found",
        "[] -> #2 pull image data:1: not found",
        "[2] -> #3 create container p-a-1: not found",
        "[1] -> #4 create container p-c-1: not found",
        "[1] -> #5 create container p-b-1: not found",
    ]


def test_containers_that_are_linked_to_have_to_be_there():
    linked = replace(service("a", networks=[]), external_links=("db",))
    desired = stack(linked, service("b", networks=[]))
    with pytest.raises(NotFound, match='service "a" links to container "db", which does not exist'):
        shown(MemoryEngine(), desired)
    seen = replace(MemoryEngine().observed("p"), other_containers=frozenset({"db"}))
    assert "create container p-a-1" in render(up_plan(desired, seen, UP))
    # One of the own stack, and a service that nobody asks for.
    own = stack(replace(linked, external_links=("p-b-1",)), service("b", networks=[]))
    assert "create container p-a-1" in "".join(shown(MemoryEngine(), own))
    assert shown(MemoryEngine(), desired, UpPolicy(services=("b",)))


def test_a_volume_keeps_its_data_and_its_configuration():
    desired = stack(service("a", volumes=["v"]))
    engine = running(desired)
    (volume,) = desired.volumes
    changed = replace(desired, volumes=(replace(volume, config_hash="2"),))
    assert shown(engine, changed) == []
    assert "holds data" in notices(changed, engine.observed("p"), UP)[0]
    foreign = replace(MemoryEngine().observed("p"), other_volumes=frozenset({"p_v"}))
    assert "create volume" not in render(up_plan(desired, foreign, UP))
    assert "external: true" in notices(desired, foreign, UP)[0]


def test_a_forced_update_that_was_interrupted_keeps_what_runs():
    desired = stack(service("a"))
    engine = running(desired)
    engine.fail(StopContainer, "p-a-1")
    assert not up(engine, desired, UpPolicy(recreate=Recreate.FORCE)).ok
    engine.mend()
    (line,) = shown(engine, desired)
    assert line.endswith("_p-a-1: left over from an interrupted update")
    settles(engine, desired)


def test_a_network_of_another_project_is_a_conflict():
    seen = replace(MemoryEngine().observed("p"), other_networks={"p_default": "x"})
    with pytest.raises(Conflict, match="does not belong"):
        up_plan(stack(service("a")), seen, UP)


def test_unknown_names_and_circles_are_told():
    desired = stack(service("web"), service("db"))
    with pytest.raises(NotFound, match='no such service: "bd"') as failure:
        shown(MemoryEngine(), desired, UpPolicy(services=("bd",)))
    assert failure.value.hint == 'did you mean "db"?'
    circle = stack(
        service("a", depends("b")), service("b", depends("c")), service("c", depends("a"))
    )
    with pytest.raises(StackFileError, match="a -> b -> c -> a"):
        shown(MemoryEngine(), circle)
    with pytest.raises(NotFound, match="not among the services"):
        shown(MemoryEngine(), stack(service("a", depends("gone"))))


def test_a_network_that_vanished_makes_its_containers_anew():
    desired = stack(service("a"))
    engine = running(desired)
    engine.networks.clear()
    assert shown(engine, desired)[1].endswith("anew: network default not found")
    settles(engine, desired)


def test_a_container_leaves_a_network_of_others_that_vanished_or_is_another_one():
    own = stack(service("a", networks=["x"]))
    desired = replace(own, networks=(), external_networks={"p_x": None})
    engine = MemoryEngine()
    for name in ("p_x", "hand"):
        asyncio.run(engine.perform(CreateNetwork(network=NetworkConfig(name=name))))
    settles(engine, desired)
    # Somebody made it anew.
    engine.update("p-a-1", status=Status.EXITED, exit_code=0)
    asyncio.run(engine.perform(RemoveNetwork(name="p_x")))
    asyncio.run(engine.perform(CreateNetwork(network=NetworkConfig(name="p_x"))))
    assert any("network p_x was recreated" in line for line in shown(engine, desired))
    settles(engine, desired)
    # Somebody connected it to another one, which has gone.
    (record,) = engine.containers.values()
    by_hand = replace(record.endpoints[0], network="hand", network_id=engine.networks["hand"].id)
    engine.update("p-a-1", endpoints=(*record.endpoints, by_hand))
    assert shown(engine, desired) == []
    engine.update("p-a-1", status=Status.EXITED, exit_code=0)
    asyncio.run(engine.perform(RemoveNetwork(name="hand")))
    assert any("network hand not found" in line for line in shown(engine, desired))
    settles(engine, desired)


def test_down_after_up_leaves_nothing():
    engine = running(stack(service("a", volumes=["v"], anonymous=["/x"]), service("b")))
    plan = down_plan(engine.observed("p"), DownPolicy(volumes=True))
    assert asyncio.run(execute(plan, engine)).ok
    assert engine.is_empty


def test_what_an_interrupted_update_left_is_gone_before_its_successor_is_made():
    engine = running(stack(service("a", networks=["front"])))
    changed = stack(service("a", networks=["front"]), network_version="2")
    engine.fail(RemoveContainer, "p-a-1")
    assert not up(engine, changed).ok
    engine.mend()
    lines = shown(engine, changed)
    assert "left over from an interrupted update" in lines[0]
    assert lines[1].startswith("[1] -> #2 create container p-a-1 anew")
    settles(engine, changed)
