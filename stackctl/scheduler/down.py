"""The plan of `down`: stop dependents before dependencies, remove, then what they stood on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stackctl.model.container import VolumeMount
from stackctl.model.record import ContainerRecord
from stackctl.scheduler import losses
from stackctl.scheduler.desired import Dependency, DownPolicy, Observed
from stackctl.scheduler.draft import Draft
from stackctl.scheduler.graph import dependents, stop_order
from stackctl.scheduler.ops import (
    Plan,
    RemoveContainer,
    RemoveNetwork,
    RemoveVolume,
    RunProvider,
    StopContainer,
)
from stackctl.scheduler.recorded import dependencies
from stackctl.scheduler.survey import check_names, used_networks


def down(observed: Observed, policy: DownPolicy) -> Plan:
    """See plan.down_plan. Raises NotFound for a service that neither runs nor is known."""
    leaving = _leaving(observed, policy)
    edges = dependencies(leaving, _known(policy))
    cause = "down"
    draft = Draft(observed.project)
    stops = add_stops(draft, leaving, edges, policy.timeout, cause)
    removed = add_removals(draft, leaving, stops, cause, volumes=policy.volumes)
    staying = [record for record in observed.containers if record.id not in removed]
    _networks(draft, observed, policy, leaving, staying, removed)
    if policy.volumes:
        _volumes(draft, observed, policy, leaving, staying, removed)
    for provider in reversed(observed.providers):
        if provider.service in _going(observed, policy):
            # What used it has to be gone.
            draft.add(
                RunProvider(provider=provider, command="down"),
                cause,
                after=removed.values(),
                service=provider.service,
            )
    return draft.plan()


def _known(policy: DownPolicy) -> dict[str, tuple[Dependency, ...]]:
    return {
        service: tuple(Dependency(service=need) for need in needs)
        for service, needs in policy.depends_on.items()
    }


def _leaving(observed: Observed, policy: DownPolicy) -> list[ContainerRecord]:
    """The containers that go: of the services named, or of the file, or all. One-offs too."""
    if policy.services:
        check_names(policy.services, _here(observed) | (policy.known or frozenset()))
    going, known = _going(observed, policy), policy.known
    return [
        record
        for record in observed.containers
        if record.config.service in going
        or (policy.remove_orphans and known is not None and record.config.service not in known)
    ]


def _here(observed: Observed) -> frozenset[str]:
    found = {record.config.service for record in observed.containers}
    return frozenset(found | {provider.service for provider in observed.providers})


def _going(observed: Observed, policy: DownPolicy) -> frozenset[str]:
    """The services that are taken down."""
    if policy.services:
        return frozenset(policy.services)
    known = _here(observed) if policy.known is None else policy.known
    return known if policy.active is None else policy.active


def add_stops(
    draft: Draft,
    records: Iterable[ContainerRecord],
    edges: Mapping[str, tuple[Dependency, ...]],
    timeout: float | None,
    cause: str,
) -> dict[str, int]:
    """Adds StopContainers, each after those of all that depends on it. Gives id -> step.

    One-offs use the services too: they stop as their service's dependents do, in
    front of what it depends on.
    """
    by_service: dict[str, list[ContainerRecord]] = {}
    for record in sorted(records, key=lambda r: (-r.config.number, r.name)):
        if record.status.needs_stop:
            by_service.setdefault(record.config.service, []).append(record)
    plain = {name: [need.service for need in needs] for name, needs in edges.items()}
    users = dependents(plain)
    order = stop_order(plain)
    steps: dict[str, int] = {}
    #: The stops that a service's dependencies have to wait for: its own, or, if
    #: it has none, those of its dependents.
    before: dict[str, set[int]] = {}
    for service in (*order, *(name for name in by_service if name not in plain)):
        after = set[int]().union(*(before.get(user, ()) for user in users.get(service, ())))
        own = set()
        for record in by_service.get(service, ()):
            op = StopContainer(id=record.id, name=record.name, timeout=timeout)
            steps[record.id] = draft.add(op, cause, after=after, service=service)
            own.add(steps[record.id])
        before[service] = own or after
    return steps


def add_removals(
    draft: Draft,
    records: Iterable[ContainerRecord],
    stops: Mapping[str, int],
    cause: str,
    *,
    volumes: bool,
) -> dict[str, int]:
    """Adds RemoveContainers, each after its stop. Gives id -> step."""
    return {
        record.id: draft.add(
            RemoveContainer(id=record.id, name=record.name, anonymous_volumes=volumes),
            cause,
            after=[stops[record.id]] if record.id in stops else (),
            service=record.config.service,
            loses=losses.of_container(record, anonymous_volumes=volumes),
        )
        for record in sorted(records, key=lambda r: (r.config.service, r.config.number, r.name))
    }


def _networks(
    draft: Draft,
    observed: Observed,
    policy: DownPolicy,
    leaving: list[ContainerRecord],
    staying: list[ContainerRecord],
    removed: Mapping[str, int],
) -> None:
    """Removes the networks that nobody is in any more; for some services, only theirs."""
    busy = used_networks(record.config for record in staying)
    theirs = used_networks(record.config for record in leaving)
    for network in observed.networks:
        name = network.config.name
        if name in busy or (policy.services and name not in theirs):
            continue
        users = [removed[r.id] for r in leaving if name in used_networks([r.config])]
        draft.add(RemoveNetwork(name=name), "down", after=users)


def _volumes(
    draft: Draft,
    observed: Observed,
    policy: DownPolicy,
    leaving: list[ContainerRecord],
    staying: list[ContainerRecord],
    removed: Mapping[str, int],
) -> None:
    """Removes the named volumes that the file's services use, and anonymous ones whose
    container is gone already.

    Anonymous volumes of containers that leave now go with them.
    """
    known = policy.known_volumes
    busy = {mount.volume for record in staying for mount in _mounted(record)}
    users: dict[str, list[int]] = {}
    carried = set()
    for record in leaving:
        for mount in _mounted(record):
            users.setdefault(mount.volume, []).append(removed[record.id])
            if mount.anonymous:
                carried.add(mount.volume)
    for volume in observed.volumes:
        name = volume.config.name
        if name in busy or name in carried or (policy.services and name not in users):
            continue
        if known is not None and name not in known and not volume.config.anonymous:
            continue  # another file's of the project, or one of a profile that is not active
        draft.add(
            RemoveVolume(name=name),
            "down --volumes",
            after=users.get(name, ()),
            loses=losses.of_volume(name),
        )


def _mounted(record: ContainerRecord) -> list[VolumeMount]:
    return [mount for mount in record.config.mounts if isinstance(mount, VolumeMount)]
