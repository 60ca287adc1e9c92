"""What every engine promises to the executor: one set of checks for the real one and the fake.

Each promise is a coroutine function of a Bench; PROMISES lists them, so a test
module parametrizes over them. A bench wraps one empty engine; whoever makes it
also throws it away. Needs no test framework.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol

from stackctl.errors import StackctlError
from stackctl.model.container import Health, Status
from stackctl.model.record import ContainerRecord
from stackctl.scheduler.desired import (
    Desired,
    DesiredService,
    DownPolicy,
    Observed,
    Recreate,
    ServicePolicy,
    UpPolicy,
)
from stackctl.scheduler.executor import Engine, Report, execute
from stackctl.scheduler.plan import (
    down_plan,
    remove_plan,
    restart_plan,
    start_plan,
    stop_plan,
    up_plan,
)
from stackctl.scheduler.show import render
from stackctl.testing.stacks import HEALTHY, UNHEALTHY, depends, ends, service, stack


class Bench(Protocol):
    """An engine under test with an empty project "p"."""

    engine: Engine
    #: What `stackctl/host` resolves to here.
    image_id: str

    async def observe(self) -> Observed:
        """Project "p" as it is now."""
        ...


Promise = Callable[[Bench], Awaitable[None]]


def _here(bench: Bench, *services: DesiredService, version: str = "") -> Desired:
    """A stack of the services with this engine's image."""
    placed = tuple(
        replace(
            one,
            replicas=tuple(replace(config, image_id=bench.image_id) for config in one.replicas),
        )
        for one in services
    )
    return stack(*placed, network_version=version)


async def _up(bench: Bench, desired: Desired, policy: UpPolicy = UpPolicy()) -> Report:
    return await execute(up_plan(desired, await bench.observe(), policy), bench.engine)


async def _settled(bench: Bench, desired: Desired, policy: UpPolicy = UpPolicy()) -> Observed:
    """Brings the stack up; a plan after that has nothing to do."""
    report = await _up(bench, desired, policy)
    report.raise_failure()
    seen = await bench.observe()
    assert render(up_plan(desired, seen, UpPolicy())) == ""
    return seen


def _by_name(seen: Observed) -> dict[str, ContainerRecord]:
    return {record.name: record for record in seen.containers}


async def up_converges(bench: Bench) -> None:
    """All kinds of things come up in one go, and then there is nothing to do."""
    desired = _here(
        bench,
        service("db", health=HEALTHY, volumes=["data"]),
        service("migrate", depends("db", "healthy"), argv=ends(0)),
        service("web", depends("migrate", "completed_successfully"), scale=2, anonymous=["/tmp/x"]),
    )
    seen = _by_name(await _settled(bench, desired))
    assert seen["p-db-1"].health is Health.HEALTHY
    assert seen["p-migrate-1"].exit_code == 0
    assert {seen[name].status for name in ("p-web-1", "p-web-2")} == {Status.RUNNING}


async def down_leaves_nothing(bench: Bench) -> None:
    """With volumes: no container, network or volume, anonymous ones included."""
    desired = _here(bench, service("a", volumes=["data"], anonymous=["/tmp/x"]), service("b"))
    seen = await _settled(bench, desired)
    plan = down_plan(seen, DownPolicy(volumes=True, timeout=0))
    (await execute(plan, bench.engine)).raise_failure()
    left = await bench.observe()
    assert not (left.containers or left.networks or left.volumes)


async def volumes_outlive_down(bench: Bench) -> None:
    desired = _here(bench, service("a", volumes=["data"]))
    plan = down_plan(await _settled(bench, desired), DownPolicy(timeout=0))
    (await execute(plan, bench.engine)).raise_failure()
    assert [volume.config.name for volume in (await bench.observe()).volumes] == ["p_data"]


async def a_changed_container_is_replaced(bench: Bench) -> None:
    """The new one has the name and the anonymous volumes of the old one."""
    old = await _settled(bench, _here(bench, service("a", anonymous=["/tmp/x"])))
    new = await _settled(bench, _here(bench, service("a", anonymous=["/tmp/x"], version="2")))
    (before,), (after,) = old.containers, new.containers
    assert (after.name, after.status, after.replaces) == ("p-a-1", Status.RUNNING, "")
    assert before.id != after.id
    assert [v.config.name for v in old.volumes] == [v.config.name for v in new.volumes]


async def anonymous_volumes_can_be_renewed(bench: Bench) -> None:
    old = await _settled(bench, _here(bench, service("a", anonymous=["/tmp/x"])))
    policy = UpPolicy(recreate=Recreate.FORCE, renew_anonymous_volumes=True, timeout=0)
    new = await _settled(bench, _here(bench, service("a", anonymous=["/tmp/x"])), policy)
    assert len(new.volumes) == 1
    assert [v.config.name for v in old.volumes] != [v.config.name for v in new.volumes]


async def a_changed_network_is_replaced(bench: Bench) -> None:
    services = service("db"), service("web", depends("db"))
    old = await _settled(bench, _here(bench, *services, version="1"))
    new = await _settled(bench, _here(bench, *services, version="2"))
    assert old.networks[0].id != new.networks[0].id
    assert all(e.network_id == new.networks[0].id for r in new.containers for e in r.endpoints)


async def host_ports_change_hands(bench: Bench) -> None:
    """In one plan, each container takes the port that the other one had."""
    old = _here(bench, service("a", ports=[43181]), service("b", depends("a"), ports=[43182]))
    new = _here(bench, service("a", ports=[43182]), service("b", depends("a"), ports=[43181]))
    for desired in (old, new):
        seen = _by_name(await _settled(bench, desired))
        for one in desired.services:
            (port,) = seen[f"p-{one.name}-1"].ports
            assert port.host_port == port.container_port


async def a_failed_job_blocks_with_its_exit_code(bench: Bench) -> None:
    desired = _here(
        bench,
        service("job", argv=ends(3)),
        service("web", depends("job", "completed_successfully")),
    )
    report = await _up(bench, desired)
    assert report.failure is not None and isinstance(report.failure.error, StackctlError)
    assert "3" in str(report.failure.error)
    seen = _by_name(await bench.observe())
    assert seen["p-job-1"].exit_code == 3
    assert seen["p-web-1"].status is Status.CREATED


async def an_unhealthy_dependency_blocks(bench: Bench) -> None:
    desired = _here(
        bench, service("db", health=UNHEALTHY), service("web", depends("db", "healthy"))
    )
    report = await _up(bench, desired)
    assert not report.ok
    seen = _by_name(await bench.observe())
    assert seen["p-db-1"].health is Health.UNHEALTHY
    assert seen["p-web-1"].status is Status.CREATED


async def what_has_no_health_check_is_never_healthy(bench: Bench) -> None:
    desired = _here(bench, service("db"), service("web", depends("db", "healthy")))
    report = await _up(bench, desired)
    assert report.failure is not None and "health check" in str(report.failure.error)
    # Not the second time either, when it already runs.
    assert not (await _up(bench, desired)).ok
    assert _by_name(await bench.observe())["p-web-1"].status is Status.CREATED


async def stop_and_start(bench: Bench) -> None:
    desired = _here(bench, service("db"), service("web", depends("db")))
    seen = await _settled(bench, desired)
    (await execute(stop_plan(seen, ServicePolicy(timeout=0)), bench.engine)).raise_failure()
    stopped = await bench.observe()
    assert {r.status for r in stopped.containers} == {Status.EXITED}
    assert all(r.stopped_by_user for r in stopped.containers)
    (await execute(start_plan(stopped, ServicePolicy()), bench.engine)).raise_failure()
    again = await bench.observe()
    assert {r.status for r in again.containers} == {Status.RUNNING}
    assert not any(r.stopped_by_user for r in again.containers)


async def restart_and_remove(bench: Bench) -> None:
    desired = _here(bench, service("db"), service("web", depends("db", restart=True)))
    seen = await _settled(bench, desired)
    policy = ServicePolicy(services=("db",), timeout=0)
    (await execute(restart_plan(seen, policy), bench.engine)).raise_failure()
    seen = await bench.observe()
    assert {r.status for r in seen.containers} == {Status.RUNNING}
    plan = remove_plan(seen, ServicePolicy(stop=True, timeout=0))
    (await execute(plan, bench.engine)).raise_failure()
    assert not (await bench.observe()).containers


async def scaling_down_and_up(bench: Bench) -> None:
    await _settled(bench, _here(bench, service("a", scale=3)), UpPolicy(timeout=0))
    fewer = await _settled(bench, _here(bench, service("a", scale=1)), UpPolicy(timeout=0))
    assert [r.name for r in fewer.containers] == ["p-a-1"]
    more = await _settled(bench, _here(bench, service("a", scale=2)), UpPolicy(timeout=0))
    assert sorted(r.name for r in more.containers) == ["p-a-1", "p-a-2"]


#: All of them, for `pytest.mark.parametrize("promise", PROMISES, ids=lambda p: p.__name__)`.
PROMISES: tuple[Promise, ...] = (
    up_converges,
    down_leaves_nothing,
    volumes_outlive_down,
    a_changed_container_is_replaced,
    anonymous_volumes_can_be_renewed,
    a_changed_network_is_replaced,
    host_ports_change_hands,
    a_failed_job_blocks_with_its_exit_code,
    an_unhealthy_dependency_blocks,
    what_has_no_health_check_is_never_healthy,
    stop_and_start,
    restart_and_remove,
    scaling_down_and_up,
)
