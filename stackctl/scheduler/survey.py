"""What a plan for `up` is about: the services meant, and the records found for them.

Looks at desired and observed once and indexes them; decides nothing about a
container.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar

from stackctl.errors import NotFound
from stackctl.model.container import ContainerConfig, VolumeMount
from stackctl.model.network import NetworkConfig, VolumeConfig
from stackctl.model.record import ContainerRecord, NetworkRecord
from stackctl.scheduler import differences
from stackctl.scheduler.desired import (
    Condition,
    Desired,
    DesiredService,
    Observed,
    Recreate,
    UpPolicy,
)
from stackctl.scheduler.differences import Change
from stackctl.scheduler.graph import closure, start_order
from stackctl.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Indexes over desired and observed for one `up`."""

    desired: Desired
    observed: Observed
    policy: UpPolicy
    #: All services of the file, dependencies first.
    services: tuple[DesiredService, ...]
    #: The services that this `up` is for, with their dependencies.
    wanted: frozenset[str]
    #: Services of which somebody waits for the successful end: one-shot jobs.
    one_shots: frozenset[str]
    #: Replicas by service, by number, then by age; no one-offs, nobody else's.
    records: dict[str, tuple[ContainerRecord, ...]]
    networks: dict[str, NetworkRecord]
    #: Networks that exist with another configuration than wanted: name -> what has changed,
    #: None where that is not known.
    changed_networks: dict[str, tuple[Change, ...] | None]
    #: The same of volumes that are to be made anew for it (UpPolicy.renew_volumes).
    changed_volumes: dict[str, tuple[Change, ...] | None]

    def forces(self, service: str) -> bool:
        """--force-recreate is for the named services; dependencies are left alone."""
        if self.policy.recreate_deps and service not in self.policy.services:
            return True
        named = not self.policy.services or service in self.policy.services
        return self.policy.recreate is Recreate.FORCE and named


def survey(desired: Desired, observed: Observed, policy: UpPolicy) -> Survey:
    """Raises NotFound for a service that is not in the file, StackFileError for a cycle."""
    by_name = {service.name: service for service in desired.services}
    check_names(policy.services, by_name)
    for service in desired.services:
        for need in service.depends_on:
            if need.required and need.service not in by_name:
                raise NotFound(
                    f'service "{service.name}" depends on "{need.service}", '
                    "which is not among the services",
                    hint="it may belong to a profile that is not active: name the profile",
                )
    edges = {
        service.name: [need.service for need in service.depends_on if need.service in by_name]
        for service in desired.services
    }
    order = start_order(edges)
    named = policy.services or tuple(by_name)
    wanted = frozenset(named) if policy.no_deps else closure(edges, named)
    networks = {record.config.name: record for record in observed.networks}
    configs = [config for name in wanted for config in by_name[name].replicas]
    never = policy.recreate is Recreate.NEVER
    return Survey(
        desired=desired,
        observed=observed,
        policy=policy,
        services=tuple(by_name[name] for name in order),
        wanted=wanted,
        one_shots=one_shots(desired),
        records=replicas(observed),
        networks=networks,
        changed_networks={}
        if never
        else _changed(
            desired.networks, {n: r.config for n, r in networks.items()}, used_networks(configs)
        ),
        changed_volumes=_changed(
            desired.volumes,
            {record.config.name: record.config for record in observed.volumes},
            frozenset[str]().union(*map(used_volumes, configs)),
        )
        if policy.renew_volumes and not never
        else {},
    )


_Resource = TypeVar("_Resource", NetworkConfig, VolumeConfig)


def _changed(
    wanted: Iterable[_Resource], there: Mapping[str, _Resource], used: frozenset[str]
) -> dict[str, tuple[Change, ...] | None]:
    """By name of those that are used and there, and wanted as others: what has changed."""
    return {
        config.name: changes
        for config in wanted
        if config.name in used
        and config.name in there
        and (changes := resource_changes(there[config.name], config)) != ()
    }


def one_shots(desired: Desired) -> frozenset[str]:
    """Services whose successful end somebody waits for."""
    return frozenset(
        need.service
        for service in desired.services
        for need in service.depends_on
        if need.condition is Condition.COMPLETED
    )


def ended_well(record: ContainerRecord) -> bool:
    return record.status.has_ended and record.exit_code == 0 and not record.error


def resource_changes(
    old: NetworkConfig | VolumeConfig, new: NetworkConfig | VolumeConfig
) -> tuple[Change, ...] | None:
    """What differs; None: something, but nobody knows what."""
    if old.config_hash == new.config_hash:
        return ()
    return differences.of_resource(old.made_of, new.made_of)


def replicas(observed: Observed) -> dict[str, tuple[ContainerRecord, ...]]:
    """The containers of services (no one-offs) by service, in order of number and age."""
    found: dict[str, list[ContainerRecord]] = {}
    for record in observed.containers:
        if not record.config.oneoff:
            found.setdefault(record.config.service, []).append(record)
    return {
        name: tuple(sorted(records, key=lambda r: (r.config.number, r.created_at, r.id)))
        for name, records in sorted(found.items())
    }


def check_names(names: Iterable[str], known: Collection[str]) -> None:
    """Raises NotFound with the nearest known name as hint."""
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.5)
            listed = f"services: {', '.join(sorted(known))}" if known else ""
            hint = f'did you mean "{near[0]}"?' if near else listed
            raise NotFound(f'no such service: "{name}"', hint=hint)


def used_networks(configs: Iterable[ContainerConfig]) -> frozenset[str]:
    return frozenset(join.network for config in configs for join in config.networks)


def used_volumes(config: ContainerConfig) -> frozenset[str]:
    """Names of the named volumes; anonymous ones come and go with the container."""
    return frozenset(
        mount.volume
        for mount in config.mounts
        if isinstance(mount, VolumeMount) and not mount.anonymous
    )
