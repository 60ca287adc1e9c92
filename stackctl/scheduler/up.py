"""The plan of `up`: verdicts put in order.

    removals of what is too much        orphans, replicas beyond the scale
    stops for networks and volumes      everything that uses what is made anew, dependents first
    pulls, volumes, networks
    creates                             all at once: nothing runs because of them
    early stops                         dependents first; see handover
    by service, dependencies first:     stop old, remove old, rename, start, gates

A replaced container runs on until its successor exists and all that the
successor waits for is there, so a failure in front of it leaves it alone.

Removing what a profile no longer wants is not done by `up` (nor by compose's).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import field

from stackctl.errors import Conflict
from stackctl.model.container import ContainerConfig
from stackctl.model.record import ContainerRecord
from stackctl.scheduler import handover, losses, premises, resources, rollout
from stackctl.scheduler.desired import Condition, DesiredService
from stackctl.scheduler.draft import Draft
from stackctl.scheduler.gates import Needs, add_gates, needs, relevant
from stackctl.scheduler.graph import dependents
from stackctl.scheduler.ops import (
    CreateContainer,
    Plan,
    RemoveContainer,
    RenameContainer,
    StartContainer,
    StopContainer,
)
from stackctl.scheduler.orphans import orphans
from stackctl.scheduler.rollout import Parts
from stackctl.scheduler.survey import Survey, used_networks, used_volumes
from stackctl.scheduler.verdicts import (
    Create,
    Finish,
    Keep,
    Made,
    Recreated,
    Remove,
    Renewed,
    Restart,
    Start,
    Verdict,
    verdicts,
)
from stackctl.values import dataclass


@dataclass(slots=True)
class Up:
    """A plan of `up` in the making. Steps by what they act on, for those that wait for them."""

    found: Survey
    draft: Draft
    judged: dict[str, list[Verdict]]
    needs: Needs
    #: Container id -> its StopContainer.
    stopped: dict[str, int] = field(default_factory=dict)
    #: Container id -> its RemoveContainer.
    removed: dict[str, int] = field(default_factory=dict)
    #: Final names of new containers that have another one's name still to wait for.
    unnamed: set[str] = field(default_factory=set)
    #: Final name -> CreateContainer.
    created: dict[str, int] = field(default_factory=dict)
    #: Final name -> StartContainer, or what gives a running one its name.
    started: dict[str, int] = field(default_factory=dict)
    #: Final name -> the WaitHealthy of its update; see rollout.
    healthy: dict[str, int] = field(default_factory=dict)
    #: Service -> condition -> the steps after which it holds.
    gates: dict[str, dict[Condition, tuple[int, ...]]] = field(default_factory=dict)
    #: Who has now what only one can have, and gives it up.
    givers: handover.Givers = field(default_factory=handover.Givers)
    #: Final name -> what interrupted updates left that was to have it, and is removed.
    left: dict[str, list[ContainerRecord]] = field(default_factory=dict)
    #: Container id -> its SetAside; see handover.
    aside: dict[str, int] = field(default_factory=dict)
    #: Service -> its RunProvider.
    provided: dict[str, int] = field(default_factory=dict)
    #: Service -> what all starts of its containers wait for: the pre_start hooks that run once.
    initiated: dict[str, int] = field(default_factory=dict)
    #: Service -> the parts of its update so far; see rollout.
    parts: dict[str, Parts] = field(default_factory=dict)
    #: Service -> who depends on it; and with `restart: true`.
    users: dict[str, tuple[str, ...]] = field(init=False)
    restarting: dict[str, tuple[str, ...]] = field(init=False)

    def __post_init__(self) -> None:
        edges = {s.name: [d.service for d in s.depends_on] for s in self.found.services}
        self.users = dependents(edges)
        linked = {
            s.name: [d.service for d in s.depends_on if d.restart] for s in self.found.services
        }
        self.restarting = dependents(linked)

    def plan(self) -> Plan:
        self._removals()
        for record in self.found.observed.containers:
            if record.replaces and record.id in self.removed:
                self.left.setdefault(record.config.name, []).append(record)
        self.givers = handover.Givers(self._leaving())
        self._foundations(self._resource_stops())
        handover.early_stops(self)
        for service in self.found.services:
            judged = self.judged.get(service.name)
            if judged:
                for verdict in judged:
                    self._bring_up(service, verdict)
                self.gates[service.name] = add_gates(
                    self.draft, service, judged, self.started, self.healthy, self.needs
                )
        return self.draft.plan()

    # --- what goes away for good

    def _removals(self) -> None:
        if self.found.policy.remove_orphans:
            for record in orphans(self.found.desired, self.found.observed):
                self._remove(record, "orphan: the stack file does not describe it")
        for judged in self.judged.values():
            for verdict in judged:
                if isinstance(verdict, Remove):
                    self._remove(verdict.record, verdict.cause)

    def _remove(self, record: ContainerRecord, cause: str) -> None:
        self.stop(record, cause)
        self.discard(record, cause, after=())

    def stop(
        self,
        record: ContainerRecord,
        cause: str,
        after: Iterable[int] = (),
        tolerates: Iterable[int] = (),
    ) -> None:
        if record.status.needs_stop:
            op = StopContainer(id=record.id, name=record.name, timeout=self.found.policy.timeout)
            self.stopped[record.id] = self.draft.add(
                op, cause, after=after, tolerates=tolerates, service=record.config.service
            )

    def discard(self, record: ContainerRecord, cause: str, after: Iterable[int]) -> None:
        stop = self.stopped.get(record.id)
        waits = {stop} if stop is not None else set()
        self.removed[record.id] = self.draft.add(
            RemoveContainer(
                id=record.id,
                name=record.name,
                anonymous_volumes=self.found.policy.renew_anonymous_volumes,
            ),
            cause,
            after=waits.union(after),
            service=record.config.service,
            loses=losses.of_container(
                record, anonymous_volumes=self.found.policy.renew_anonymous_volumes
            ),
        )

    # --- networks and volumes that are made anew

    def _uses_of_changed(self, config: ContainerConfig) -> set[tuple[str, str]]:
        networks = used_networks([config]) & self.found.changed_networks.keys()
        volumes = used_volumes(config) & self.found.changed_volumes.keys()
        return {*(("network", name) for name in networks), *(("volume", name) for name in volumes)}

    def _resource_stops(self) -> resources.Stops:
        """Stops everything that uses a changed network or volume."""
        stops: dict[tuple[str, str], set[int]] = {}
        if not self.found.changed_networks and not self.found.changed_volumes:
            return stops
        self._refuse_strangers()
        touched = self._users_of_changed()
        for service in reversed(self.found.services):
            if service.name in touched:
                for verdict in self.judged[service.name]:
                    if isinstance(verdict, Renewed):
                        users = self.stops_of_users(self.users, service.name)
                        self.stop(verdict.record, verdict.cause, after=users)
        for record in self.found.observed.containers:
            if record.id in self.stopped:
                for resource in self._uses_of_changed(record.config):
                    stops.setdefault(resource, set()).add(self.stopped[record.id])
        return stops

    def _users_of_changed(self) -> frozenset[str]:
        """Services that use a changed network or volume, and those that restart because of them.

        The latter cannot wait for the creation of what they depend on, as other
        restarts do: that needs the network, and the network needs this stop.
        """
        touched: set[str] = set()
        for service in self.found.services:
            renewed = [v for v in self.judged.get(service.name, ()) if isinstance(v, Renewed)]
            inside = any(self._uses_of_changed(v.record.config) for v in renewed)
            linked = any(need.restart and need.service in touched for need in service.depends_on)
            if renewed and (inside or linked):
                touched.add(service.name)
        return frozenset(touched)

    def _refuse_strangers(self) -> None:
        """Somebody who uses what is made anew, whom this plan neither recreates nor removes."""
        found = self.found
        leaving = {record.id for record in self._leaving()}
        in_the_way = {
            resource: (record.name, record.config.service not in found.desired.disabled)
            for record in found.observed.containers
            if record.status.needs_stop and record.id not in leaving
            for resource in self._uses_of_changed(record.config)
        }
        changed = {("network", name) for name in found.changed_networks}
        changed |= {("volume", name) for name in found.changed_volumes}
        for resource in changed & found.observed.strangers.keys():
            in_the_way.setdefault(resource, (found.observed.strangers[resource], False))
        for (what, name), (user, is_orphan) in sorted(in_the_way.items()):
            raise Conflict(
                f'{what} "{name}" has to be recreated, because its configuration '
                f'changed, but "{user}" uses it and is not part of this',
                hint=f"stop that container first{', or use --remove-orphans' * is_orphan}",
            )

    def _leaving(self) -> list[ContainerRecord]:
        """What runs now and is stopped or removed by this plan."""
        gone = [record for record in self.found.observed.containers if record.id in self.removed]
        return gone + [
            verdict.record
            for judged in self.judged.values()
            for verdict in judged
            if isinstance(verdict, Renewed)
        ]

    def stops_of_users(self, users: dict[str, tuple[str, ...]], service: str) -> list[int]:
        """The stops so far of what depends on a service, so that it can still finish its work."""
        return [
            self.stopped[verdict.record.id]
            for user in users.get(service, ())
            for verdict in self.judged.get(user, ())
            if isinstance(verdict, Renewed) and verdict.record.id in self.stopped
        ]

    # --- images, volumes, networks, new containers

    def _foundations(self, stops: resources.Stops) -> None:
        new = {
            service.name: [
                verdict
                for verdict in self.judged.get(service.name, ())
                if isinstance(verdict, Made)
            ]
            for service in self.found.services
        }
        configs = self._configs()
        made = [verdict.config for verdicts in new.values() for verdict in verdicts]
        leaving = {record.id for record in self._leaving()}
        premises.check(self.found, configs, made, leaving)
        self.provided = resources.providers(self.draft, self.found)
        pulls = resources.pulls(
            self.draft,
            [
                (service, bool(new[service.name]))
                for service in self.found.services
                if service.name in self.found.wanted or new[service.name]
            ],
            self.found,
        )
        volumes = resources.volumes(self.draft, configs, stops, self.found)
        networks = resources.networks(self.draft, configs, stops, self.found)
        for service in self.found.services:
            references = (service.image, *service.further_images) if pulls else ()
            images = [pulls[reference] for reference in references if reference in pulls]
            for verdict in new[service.name]:
                self._create(service, verdict, images, volumes, networks)

    def _configs(self) -> list[ContainerConfig]:
        """Of all containers that there will be of the services meant."""
        result: list[ContainerConfig] = []
        for service in self.found.services:
            if service.name in self.found.wanted:
                result.extend(service.replicas)
            else:
                judged = self.judged.get(service.name, ())
                result.extend(v.config for v in judged if isinstance(v, Recreated))
        return result

    def _create(
        self,
        service: DesiredService,
        verdict: Made,
        images: list[int],
        volumes: dict[str, int],
        networks: dict[str, int],
    ) -> None:
        config = verdict.config
        needs = [need.service for need in service.depends_on]
        lenders = [text.partition(":")[0] for text in config.volumes_from]
        after = [
            *images,
            *[networks[join.network] for join in config.networks if join.network in networks],
            *[volumes[name] for name in used_volumes(config) if name in volumes],
            # What a provider sets in its environment is part of what it is.
            *[self.provided[name] for name in needs if name in self.provided],
            # Their mounts are looked up when this one is made.
            *[self.created[name] for name in lenders if name in self.created],
            *self._left_of(lenders),
        ]
        replaces = verdict.record.id if isinstance(verdict, Recreated) else ""
        if isinstance(verdict, Recreated):
            # What an interrupted update left would be taken for this one.
            after += self._rivals(verdict.record)
        name_from = ""
        if not replaces and (holder := handover.holder(self, config)):
            if holder.id in self.removed:
                after.append(self.removed[holder.id])
            else:
                name_from = holder.id
                self.unnamed.add(config.name)
        renew = bool(replaces) and self.found.policy.renew_anonymous_volumes
        self.created[config.name] = self.draft.add(
            CreateContainer(
                config=config, replaces=replaces, name_from=name_from, renew_volumes=renew
            ),
            verdict.cause,
            after=after,
            service=service.name,
            changes=verdict.changes if isinstance(verdict, Recreated) else (),
        )

    # --- the containers themselves

    def _bring_up(self, service: DesiredService, verdict: Verdict) -> None:
        match verdict:
            case Keep() | Remove():
                return
            case Create(config=config, cause=cause):
                made = self.created[config.name]
                if config.name not in self.unnamed:
                    self.start(service, config, cause, {made})
                else:
                    after = {made, *self.gates_of(service)[0]}
                    self._name_and_start(service, config, cause, after)
            case Start(record=record, cause=cause):
                self.start(service, record.config, cause, self._rivals(record))
            case Restart(record=record, cause=cause):
                after = {self.stopped[record.id], *self._rivals(record)}
                self.start(service, record.config, cause, after)
            case Finish(record=record, config=config, cause=cause) if record.status.needs_stop:
                # It runs, and lacks its name only: who waits for it waits by that name.
                self.started[config.name] = self.rename(
                    service, config, cause, self._rivals(record)
                )
            case Finish(record=record, config=config, cause=cause):
                self._name_and_start(service, config, cause, self._rivals(record))
            case Recreated() if rollout.starts_first(self, service, verdict):
                rollout.start_first(self, service, verdict)
            case Recreated(record=record, config=config, cause=cause):
                made = self.created[config.name]
                # An early stop may not have waited for the new container.
                after = {made} if record.id in self.stopped else set()
                if not after:
                    strict, tolerated = self.gates_of(service)
                    strict |= {made, *self.stops_of_users(self.restarting, service.name)}
                    turn, lenient = rollout.turn(self, service, config)
                    tolerated |= lenient
                    self.stop(record, cause, after=strict | turn, tolerates=tolerated - strict)
                self.discard(record, cause, after if record.id in self.stopped else {made})
                self._name_and_start(service, config, cause, {self.removed[record.id]})
                rollout.replaced(self, service, config)

    def _rivals(self, record: ContainerRecord) -> set[int]:
        """Removals of others with the same number: their name must be free, and a start by
        that name must not mean them."""
        rivals = self.found.records.get(record.config.service, ())
        return {
            self.removed[rival.id]
            for rival in rivals
            if rival.config.number == record.config.number and rival.id in self.removed
        }

    def _left_of(self, names: Collection[str]) -> list[int]:
        """Removals of what interrupted updates left of these: it would be taken for them."""
        return [
            self.removed[record.id]
            for records in (self.found.records.values() if names else ())
            for record in records
            if record.config.name in names and record.id in self.removed
        ]

    def _name_and_start(
        self, service: DesiredService, config: ContainerConfig, cause: str, after: set[int]
    ) -> None:
        self.start(service, config, cause, {self.rename(service, config, cause, after)})

    def rename(
        self, service: DesiredService, config: ContainerConfig, cause: str, after: set[int]
    ) -> int:
        """The step that gives a new container its name, when nobody else has it any more."""
        after = after | self._left_under(config)
        return self.draft.add(
            RenameContainer(name=config.name),
            cause,
            after=after.union(handover.freed(self, config, cause, after)),
            service=service.name,
        )

    def _left_under(self, config: ContainerConfig) -> set[int]:
        """Removals of what interrupted updates of others left, which was to have its name: a
        step by that name must not mean them."""
        return {
            self.removed[record.id]
            for record in self.left.get(config.name, ())
            if record.config.service != config.service
        }

    def start(
        self,
        service: DesiredService,
        config: ContainerConfig,
        cause: str,
        after: Iterable[int],
        *,
        tolerates: Iterable[int] = (),
    ) -> None:
        if not self.found.policy.start:
            return
        strict, tolerated = self.gates_of(service)
        strict.update(after)
        tolerated.update(tolerates)
        hooks = rollout.init_steps(self, service, config, cause, after=strict, tolerates=tolerated)
        self.started[config.name] = self.draft.add(
            StartContainer(name=config.name),
            cause,
            after=strict.union(
                hooks, handover.stops_of_holders(self, config), self._left_under(config)
            ),
            tolerates=tolerated - strict,
            service=service.name,
        )

    def gates_of(self, service: DesiredService) -> tuple[set[int], set[int]]:
        """The steps to wait for: those that must succeed, and those that may fail."""
        strict: set[int] = set()
        tolerated: set[int] = set()
        for need in relevant(service, self.found):
            steps = self.gates.get(need.service, {}).get(need.condition, ())
            (strict if need.required else tolerated).update(steps)
        return strict, tolerated - strict


def up(found: Survey) -> Plan:
    judged = verdicts(found)
    return Up(
        found=found,
        draft=Draft(found.desired.project),
        judged=judged,
        needs=needs(found, judged),
    ).plan()
