"""What comes between an old container and its successor: pre_start hooks, parts, start-first.

    stop-first    made, gates -> stop old -> remove old -> rename -> [hooks] -> start
    start-first   made, gates -> [hooks] -> start -> [healthy] -> stop old -> remove old -> rename
    parts of n    the first step of a part waits for the last one of the part before, and for
                  the delay

Adds steps to a plan of `up` in the making (`Up`), which knows the rest.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from stackctl.model.container import ContainerConfig, Status
from stackctl.scheduler.desired import DesiredService
from stackctl.scheduler.handover import sole_holdings
from stackctl.scheduler.ops import Pause, RunInit, WaitHealthy
from stackctl.scheduler.verdicts import New, Recreated, Remove, Start, Verdict
from stackctl.values import dataclass

if TYPE_CHECKING:
    from stackctl.scheduler.up import Up


@dataclass(slots=True)
class Parts:
    """How far the replacement of a service's containers has come."""

    #: Last steps of the part before, and of this one so far.
    before: set[int] = field(default_factory=set)
    now: set[int] = field(default_factory=set)
    count: int = 0


# --- pre_start


def init_steps(
    up: Up,
    service: DesiredService,
    config: ContainerConfig,
    cause: str,
    *,
    after: set[int],
    tolerates: set[int],
) -> set[int]:
    """The hooks that have to end before this container starts; the steps to wait for.

    They run for a container that never ran: not when one is started again, nor, once for
    all, beside replicas that stay.
    """
    if not service.pre_start:
        return set()
    judged = up.judged[service.name]
    verdict = next(v for v in judged if v.config.name == config.name)
    waits = set(after)
    last: set[int] = set()
    if service.name in up.initiated:
        last = {up.initiated[service.name]}
        waits |= last
    shared = service.name not in up.initiated and all(
        _is_fresh(v) for v in judged if not isinstance(v, Remove)
    )
    for hook in service.pre_start:
        if not (_is_fresh(verdict) and (hook.per_replica or shared)):
            continue
        step = up.draft.add(
            RunInit(config=hook.beside(config), beside=config.name),
            f"pre_start of {config.name}: {cause}",
            after=waits | last,
            tolerates=tolerates - waits,
            service=service.name,
        )
        last = {step}
        if not hook.per_replica:
            up.initiated[service.name] = step
    return last


def _is_fresh(verdict: Verdict) -> bool:
    """Whether the container has never run."""
    if isinstance(verdict, Start):
        return verdict.record.status is Status.CREATED
    return isinstance(verdict, New)


# --- parts


def turn(up: Up, service: DesiredService, config: ContainerConfig) -> tuple[set[int], set[int]]:
    """What the replacement of this container waits for because it is not its turn: the steps
    that must succeed, and those that may fail."""
    rollout = service.rollout
    if not rollout.parallelism:
        return set(), set()
    parts = up.parts.setdefault(service.name, Parts())
    if parts.count and parts.count % rollout.parallelism == 0:
        parts.before, parts.now = parts.now, set()
        if rollout.delay and parts.before:
            pause = Pause(name=config.name, seconds=rollout.delay)
            tolerated = parts.before if rollout.goes_on else ()
            step = up.draft.add(
                pause,
                "update_config: delay",
                after=parts.before,
                tolerates=tolerated,
                service=service.name,
            )
            parts.before = {step}
    parts.count += 1
    return (set(), set(parts.before)) if rollout.goes_on else (set(parts.before), set())


def replaced(up: Up, service: DesiredService, config: ContainerConfig) -> None:
    """The container has its last step: the next part waits until it works."""
    if not service.rollout.parallelism or config.name not in up.started:
        return
    parts = up.parts.setdefault(service.name, Parts())
    if len(service.replicas) > service.rollout.parallelism and service.has_healthcheck:
        parts.now.add(_healthy(up, service, config, "update_config: one part after the other"))
    else:
        parts.now.add(up.started[config.name])


def _healthy(up: Up, service: DesiredService, config: ContainerConfig, cause: str) -> int:
    step = up.healthy[config.name] = up.draft.add(
        WaitHealthy(name=config.name),
        cause,
        after=[up.started[config.name]],
        service=service.name,
    )
    return step


# --- start-first


def starts_first(up: Up, service: DesiredService, verdict: Recreated) -> bool:
    """Whether both can run at once: what only one can have goes the other way."""
    config, record = verdict.config, verdict.record
    alone = bool(sole_holdings(config)) or any(join.mac_address for join in config.networks)
    # Who joins its namespaces finds them by the service's name: there must be one of it.
    shared = any(
        service.name in other.shares_with for s in up.found.services for other in s.replicas[:1]
    )
    return (
        service.rollout.start_first
        and up.found.policy.start
        and record.status.needs_stop
        and record.id not in up.stopped
        and not alone
        and not shared
    )


def start_first(up: Up, service: DesiredService, verdict: Recreated) -> None:
    """The successor works under its temporary name before the old one is asked to end."""
    config, record = verdict.config, verdict.record
    cause = verdict.cause
    ready, lenient = turn(up, service, config)
    up.start(service, config, cause, {up.created[config.name], *ready}, tolerates=lenient)
    works = up.started[config.name]
    if service.has_healthcheck:
        works = _healthy(up, service, config, "start-first: the old one stays until it works")
    up.stop(record, cause, after={works, *up.stops_of_users(up.restarting, service.name)})
    up.discard(record, cause, after={works})
    up.rename(service, config, cause, {up.removed[record.id]})
    if service.rollout.parallelism:
        up.parts.setdefault(service.name, Parts()).now.add(up.removed[record.id])
