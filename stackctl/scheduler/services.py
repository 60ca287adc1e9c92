"""The plans of `start`, `stop`, `restart` and `rm`: only what exists, in dependency order."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from stackctl.errors import Conflict, NotFound
from stackctl.model.container import Status
from stackctl.model.record import ContainerRecord
from stackctl.scheduler.desired import Condition, Dependency, Observed, ServicePolicy
from stackctl.scheduler.down import add_removals, add_stops
from stackctl.scheduler.draft import Draft
from stackctl.scheduler.gates import gate_cause, holds, works
from stackctl.scheduler.graph import closure, dependents, start_order
from stackctl.scheduler.ops import (
    Plan,
    RunProvider,
    StartContainer,
    WaitCompleted,
    WaitHealthy,
)
from stackctl.scheduler.recorded import dependencies
from stackctl.scheduler.survey import check_names, replicas
from stackctl.scheduler.verdicts import exited

_MADE_BY_UP = "`stackctl up` makes what is not there"

Records = Mapping[str, tuple[ContainerRecord, ...]]
Edges = Mapping[str, tuple[Dependency, ...]]


def start_plan(observed: Observed, policy: ServicePolicy) -> Plan:
    """Starts what does not run, and what it depends on, waiting for the conditions.

    A one-shot job that ended with 0 is started again only when it is named.
    """
    found, edges = _look(observed, policy)
    for service in policy.services:
        if not found.get(service):
            raise NotFound(f'service "{service}" has no container to start', hint=_MADE_BY_UP)
    if not found:
        raise NotFound(f'"{observed.project}" has no container to start', hint=_MADE_BY_UP)
    _refuse_unprepared(found, policy)
    names = _plain(edges)
    meant = frozenset(policy.services or found)
    if not policy.no_deps:
        meant = closure(names, meant)
    going = {
        record.id: _start_cause(record)
        for service in meant
        for record in found.get(service, ())
        if record.status.can_start and not _is_done(record, edges, policy)
    }
    draft = Draft(observed.project)
    started = _add_starts(draft, found, edges, going, after={}, meant=meant)
    if policy.wait:
        for service in policy.services or found:
            for record in found.get(service, ()):
                if record.id in started or not works(record):
                    draft.add(
                        WaitHealthy(name=record.name, ended_ok=record.config.health is None),
                        "--wait",
                        after=[started[record.id]] if record.id in started else (),
                        service=service,
                    )
    return draft.plan()


def stop_plan(observed: Observed, policy: ServicePolicy) -> Plan:
    """Stops what runs of the services named, dependents first. One-offs are left alone.

    Then those that programs outside provide.
    """
    found, edges = _look(observed, policy)
    meant = [r for name in policy.services or found for r in found.get(name, ())]
    draft = Draft(observed.project)
    stops = add_stops(draft, meant, edges, policy.timeout, "stop")
    # Those asked last first: each may stand on the ones before it.
    after = set(stops.values())
    for provider in reversed(observed.providers):
        if policy.is_about(provider.service):
            step = draft.add(
                RunProvider(provider=provider, command="stop"),
                "stop",
                after=after,
                service=provider.service,
            )
            after = {step}
    return draft.plan()


def restart_plan(observed: Observed, policy: ServicePolicy) -> Plan:
    """Stops and starts the services named, and those that want it (`restart: true`).

    What does not run is started; a one-shot job that ended with 0 only when it is named.
    """
    found, edges = _look(observed, policy)
    meant = frozenset(policy.services or found)
    if not policy.no_deps:
        linked = {name: [n.service for n in needs if n.restart] for name, needs in edges.items()}
        meant = closure(dependents(linked), meant)
    going = {}
    for service in meant:
        named = not policy.services or service in policy.services
        for record in found.get(service, ()):
            if record.status.needs_stop:
                going[record.id] = "restart" if named else _link(service, edges, meant)
            elif named and record.status.can_start and not _is_done(record, edges, policy):
                going[record.id] = _start_cause(record)
    draft = Draft(observed.project)
    running = [r for name in found for r in found[name] if r.id in going]
    stops = add_stops(draft, running, edges, policy.timeout, "restart")
    _add_starts(draft, found, edges, going, after=stops, meant=meant)
    return draft.plan()


def remove_plan(observed: Observed, policy: ServicePolicy) -> Plan:
    """Removes what has ended of the services named; what runs too with `stop`."""
    found, edges = _look(observed, policy)
    meant = [
        record
        for name in policy.services or found
        for record in found.get(name, ())
        if policy.stop or not record.status.needs_stop
    ]
    draft = Draft(observed.project)
    stops = add_stops(draft, meant, edges, policy.timeout, "rm --stop")
    add_removals(draft, meant, stops, "rm", volumes=policy.volumes)
    return draft.plan()


def _refuse_unprepared(found: Records, policy: ServicePolicy) -> None:
    """Only `up` knows the pre_start hooks that a container's first start needs."""
    for service in policy.services or found:
        for record in found.get(service, ()):
            if record.status is Status.CREATED and record.config.init_hooks:
                raise Conflict(
                    f"{record.name} has never run, and its pre_start hooks come first",
                    hint=f"stackctl up -d {service}",
                )


def _look(observed: Observed, policy: ServicePolicy) -> tuple[Records, Edges]:
    found = replicas(observed)
    if not policy.services:
        found = {name: records for name, records in found.items() if policy.is_about(name)}
    edges = dependencies(observed.containers, policy.depends_on)
    provided = {provider.service for provider in observed.providers}
    check_names(policy.services, found.keys() | policy.depends_on.keys() | provided | policy.known)
    return found, edges


def _plain(edges: Edges) -> dict[str, list[str]]:
    return {name: [need.service for need in needs] for name, needs in edges.items()}


def _is_done(record: ContainerRecord, edges: Edges, policy: ServicePolicy) -> bool:
    """A job that did its work: somebody waits for its end, and it ended with 0."""
    service = record.config.service
    return (
        record.status.has_ended
        and record.exit_code == 0
        and service not in policy.services
        and any(
            need.service == service and need.condition is Condition.COMPLETED
            for needs in edges.values()
            for need in needs
        )
    )


def _start_cause(record: ContainerRecord) -> str:
    if record.status is Status.CREATED:
        return "created, but never started"
    if record.status is Status.RESTARTING:
        return "restarting"
    return exited(record)


def _link(service: str, edges: Edges, meant: Collection[str]) -> str:
    causes = [n.service for n in edges.get(service, ()) if n.restart and n.service in meant]
    return f"{causes[0]} is restarted (restart: true)"


def _add_starts(
    draft: Draft,
    found: Records,
    edges: Edges,
    going: Mapping[str, str],
    *,
    after: Mapping[str, int],
    meant: Collection[str],
) -> dict[str, int]:
    """Adds starts (id -> cause) with gates in between, dependencies first. Gives id -> step."""
    every: dict[str, int] = {}
    users: dict[tuple[str, Condition], list[str]] = {}
    for service, needs in edges.items():
        if any(record.id in going for record in found.get(service, ())):
            for need in needs:
                if need.service in meant:
                    users.setdefault((need.service, need.condition), []).append(service)
    ready: dict[tuple[str, Condition], set[int]] = {}
    for service in start_order(_plain(edges)):
        strict: set[int] = set()
        tolerated: set[int] = set()
        for need in edges.get(service, ()):
            steps = ready.get((need.service, need.condition), set())
            (strict if need.required else tolerated).update(steps)
        started = {}
        for record in found.get(service, ()):
            if record.id in going:
                started[record.id] = draft.add(
                    StartContainer(name=record.name),
                    going[record.id],
                    after={*strict, *({after[record.id]} if record.id in after else ())},
                    tolerates=tolerated - strict,
                    service=service,
                )
        for condition in Condition:
            key = (service, condition)
            if key in users:
                ready[key] = _gates(draft, found.get(service, ()), started, condition, users[key])
        every.update(started)
    return every


def _gates(
    draft: Draft,
    records: tuple[ContainerRecord, ...],
    started: Mapping[str, int],
    condition: Condition,
    users: list[str],
) -> set[int]:
    if condition is Condition.STARTED:
        return set(started.values())
    steps = set()
    for record in records:
        step = started.get(record.id)
        if step is None and holds(record, condition):
            continue
        name = record.name
        healthy = condition is Condition.HEALTHY
        steps.add(
            draft.add(
                WaitHealthy(name=name, checked=True) if healthy else WaitCompleted(name=name),
                gate_cause(users, record.config.service, condition),
                after=() if step is None else [step],
                service=record.config.service,
            )
        )
    return steps
