"""What is to become of each container of an `up`, and why; not yet in which order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from stackctl.model.container import ContainerConfig, Health, ImageMount, Status
from stackctl.model.record import ContainerRecord
from stackctl.scheduler import differences
from stackctl.scheduler.borrowing import Borrowing
from stackctl.scheduler.desired import DesiredService, Recreate
from stackctl.scheduler.differences import Change
from stackctl.scheduler.survey import Survey, ended_well, used_networks, used_volumes
from stackctl.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class _AsItIs:
    record: ContainerRecord
    cause: str

    @property
    def config(self) -> ContainerConfig:
        return self.record.config


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep(_AsItIs):
    """As wanted, or left alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    config: ContainerConfig
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Start(_AsItIs):
    """Exists as wanted, but does not run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart(_AsItIs):
    """Exists as wanted and runs, but what it depends on is made anew (`restart: true`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recreated:
    record: ContainerRecord
    config: ContainerConfig
    cause: str
    #: What has changed, where that is the cause and known.
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The new container of an update that was interrupted: it lacks its name, and a start."""

    record: ContainerRecord
    config: ContainerConfig
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove(_AsItIs):
    """Not wanted any more."""


#: Each has the configuration of the container that there will be, or goes, as `config`.
Verdict = Keep | Create | Start | Restart | Recreated | Finish | Remove

_DONE = "ended with 0 and is unchanged: not run again"

#: The verdicts after which a container is no longer the one its dependents knew.
Renewed = Recreated | Restart
#: Those with which a container is made, and with which it comes under its own name at last.
Made = Create | Recreated
New = Made | Finish
#: Those that start nothing.
Idle = Keep | Remove


def verdicts(found: Survey) -> dict[str, list[Verdict]]:
    """Of every service that exists or is wanted, dependencies first.

    Services that are not meant by this `up` appear when what is done to others
    concerns them: their network is made anew, or they want to be restarted.
    """
    result: dict[str, list[Verdict]] = {}
    borrowing = Borrowing(
        (config for service in found.services for config in service.replicas),
        renew_anonymous=found.policy.renew_anonymous_volumes,
    )
    for service in found.services:
        records = found.records.get(service.name, ())
        if service.name in found.wanted:
            judged = _judge(service, records, found)
            if found.policy.recreate is not Recreate.NEVER:
                judged = [_with_mounts(verdict, service, borrowing) for verdict in judged]
        else:
            judged = _judge_bystander(service, records, found)
        for verdict in judged:
            match verdict:
                case Keep() | Start() | Restart() | Finish():
                    borrowing.stays(verdict.record)
                case Create():
                    borrowing.is_made(verdict.config, None)
                case Recreated():
                    borrowing.is_made(verdict.config, verdict.record)
        if records:
            judged = [_once_more(verdict, service, result) for verdict in judged]
            cause = _restart_cause(service, result, found) or _left_behind(service, result, found)
            if cause:
                judged = [_restarted(verdict, cause) for verdict in judged]
        if judged:
            result[service.name] = judged
    return result


def _judge(
    service: DesiredService, records: Sequence[ContainerRecord], found: Survey
) -> list[Verdict]:
    result: list[Verdict] = []
    placed: set[str] = set()
    by_number: dict[int, list[ContainerRecord]] = {}
    for record in records:
        by_number.setdefault(record.config.number, []).append(record)
    for config in service.replicas:
        rivals = by_number.get(config.number)
        if not rivals:
            result.append(Create(config=config, cause="not found"))
            continue
        chosen = max(rivals, key=lambda record: _fitness(record, config))
        left = "left over from an interrupted update"
        if old := _still_works(chosen, rivals, service):
            chosen, left = old, "its update did not come to work"
        placed.update(record.id for record in rivals)
        result.extend(
            Remove(record=record, cause=left) for record in rivals if record is not chosen
        )
        if _is_in_the_way(chosen, config, found):
            result.append(Remove(record=chosen, cause="left over from an interrupted update"))
            result.append(Create(config=config, cause="not found"))
        else:
            result.append(_judge_one(chosen, config, service, found))
    scale = f"scale: {len(service.replicas)} wanted"
    result.extend(
        Remove(record=record, cause=scale)
        for record in reversed(records)
        if record.id not in placed
    )
    return result


def _still_works(
    successor: ContainerRecord, rivals: Sequence[ContainerRecord], service: DesiredService
) -> ContainerRecord | None:
    """The container that stays until its successor works, which that does not (yet).

    The update begins anew then: what serves is not thrown away for what may never serve.
    """
    if not service.rollout.start_first or not successor.replaces:
        return None
    works = successor.status is Status.RUNNING and successor.health in (
        (Health.HEALTHY,) if service.has_healthcheck else (Health.HEALTHY, Health.NONE)
    )
    alive = (r for r in rivals if r.id == successor.replaces and r.status.is_alive)
    return None if works else next(alive, None)


def _is_in_the_way(record: ContainerRecord, config: ContainerConfig, found: Survey) -> bool:
    """Whether it was to get a name that is another's now: what is done by that name would be
    done to it."""
    if not record.replaces or record.is_aside or record.config.name == config.name:
        return False
    return any(
        other.name == record.config.name for service in found.services for other in service.replicas
    )


def _fitness(record: ContainerRecord, config: ContainerConfig) -> tuple[bool, bool, bool, float]:
    """Which of several containers with one number is worth keeping."""
    return (
        record.config.config_hash == config.config_hash and record.status is not Status.REMOVING,
        not record.replaces,
        record.status.is_alive,
        record.created_at,
    )


def _judge_one(
    record: ContainerRecord, config: ContainerConfig, service: DesiredService, found: Survey
) -> Verdict:
    changes = _changes(record.config, config)
    stale = _stale(record, config, changes, found)
    if found.policy.recreate is Recreate.NEVER and record.status is not Status.REMOVING:
        stale = ""
    elif not stale and found.forces(service.name):
        stale = "--always-recreate-deps" if found.policy.recreate_deps else "--force-recreate"
    if stale:
        return Recreated(record=record, config=config, cause=stale, changes=changes or ())
    if record.replaces:
        cause = "its name was another's" if record.is_aside else "its update was interrupted"
        return Finish(record=record, config=config, cause=cause)
    if not found.policy.start:
        return Keep(record=record, cause="not to be started")
    match record.status:
        case Status.CREATED:
            return Start(record=record, cause="created, but never started")
        case Status.EXITED | Status.DEAD if ended_well(record) and service.name in found.one_shots:
            # compose runs such jobs again at every `up`, also when nothing has changed for them.
            if what := found.observed.changed_files.get(record.id):
                return Start(record=record, cause=f"ended with 0, but {what}")
            return Keep(record=record, cause=_DONE)
        case Status.EXITED | Status.DEAD:
            return Start(record=record, cause=exited(record))
        case Status.RESTARTING:
            # The restart policy has it in hand; starting it now would defeat the back-off.
            return Keep(record=record, cause="restarting")
        case _:
            return Keep(record=record, cause=str(record.status))


def _with_mounts(verdict: Verdict, service: DesiredService, borrowing: Borrowing) -> Verdict:
    """A container that has mounts of others is made anew when these are no more the same."""
    if not isinstance(verdict, Keep | Start | Finish):
        return verdict
    record = verdict.record
    config = next(c for c in service.replicas if c.number == record.config.number)
    if cause := borrowing.cause(record, config):
        return Recreated(record=record, config=config, cause=cause)
    return verdict


def _once_more(
    verdict: Verdict, service: DesiredService, result: Mapping[str, Sequence[Verdict]]
) -> Verdict:
    """A job that is done is run again when what it works on is: a new database is empty."""
    if not isinstance(verdict, Keep) or verdict.cause != _DONE:
        return verdict
    record = verdict.record
    for need in service.depends_on:
        for other in result.get(need.service, ()):
            if not isinstance(other, Idle):
                return Start(record=record, cause=f"ended with 0, but {need.service} is started")
            if isinstance(other, Keep) and other.record.created_at > record.finished_at:
                cause = f"ended with 0, but {need.service} was made since"
                return Start(record=record, cause=cause)
    return verdict


def exited(record: ContainerRecord) -> str:
    """How it ended, as a cause."""
    code = "unknown" if record.exit_code is None else record.exit_code
    return f"exited ({code}{', out of memory' if record.oom_killed else ''})"


def _changes(old: ContainerConfig, new: ContainerConfig) -> tuple[Change, ...] | None:
    """What differs in what they are made of; None: something, but nobody knows what."""
    if old.config_hash == new.config_hash:
        return ()
    return differences.changes(old.made_of, new.made_of)


def _stale(
    record: ContainerRecord,
    config: ContainerConfig,
    changes: tuple[Change, ...] | None,
    found: Survey,
) -> str:
    """Why the container cannot stay; "" when it can."""
    old = record.config
    if record.status is Status.REMOVING:
        return "its removal was interrupted"
    if why := differences.cause(changes):
        return why
    if config.image_id and old.image_id != config.image_id:
        return "image changed"
    for mount in old.mounts:
        if isinstance(mount, ImageMount) and mount.image_id:
            now = found.desired.mounted_images.get(mount.image, mount.image_id)
            if now != mount.image_id:
                return f"image {mount.image}, which is mounted at {mount.target}, changed"
    # Renaming a network or a volume leaves the service's own hash as it is.
    if used_networks([old]) != used_networks([config]):
        return "networks changed"
    # The old one may have more: those of the containers that volumes_from names.
    if not used_volumes(config) <= used_volumes(old):
        return "volumes changed"
    return _network_cause(record, found) or _volume_cause(record, found)


def _volume_cause(record: ContainerRecord, found: Survey) -> str:
    """Whether a volume that it mounts is made anew."""
    names = sorted(used_volumes(record.config) & found.changed_volumes.keys())
    return f"volume {names[0]} is made anew" if names else ""


def _network_cause(record: ContainerRecord, found: Survey) -> str:
    """Whether the networks are still those it was made for.

    A container is joined to a network when it is made, so it cannot move to the
    network's successor, nor join later: it must be made anew.
    """
    ours = {config.name: config.key or config.name for config in found.desired.networks}
    joined = {endpoint.network: endpoint.network_id for endpoint in record.endpoints}
    there = {n: network.id for n, network in found.networks.items()}
    there.update(found.observed.other_networks)
    for join in record.config.networks:
        name = join.network
        key, current = ours.get(name, name), there.get(name)
        if name in found.changed_networks:
            return f"network {key} is recreated"
        if current is None and name in ours:
            return f"network {key} not found"
        if name not in joined:
            return f"not in network {key}"
        if current is not None and current != joined[name]:
            return f"network {key} was recreated"
    # Also one that somebody connected it to by hand: it does not start without.
    gone = [name for name, number in joined.items() if number not in there.values()]
    return f"network {ours.get(gone[0], gone[0])} not found" if gone else ""


def _judge_bystander(
    service: DesiredService, records: Sequence[ContainerRecord], found: Survey
) -> list[Verdict]:
    """Of a service that nobody asked for: only what a network or volume makes necessary that is
    made anew."""
    configs = {config.number: config for config in service.replicas}
    result: list[Verdict] = []
    for record in records:
        config = configs.get(record.config.number)
        cause = _volume_cause(record, found)
        if used_networks([record.config]) & found.changed_networks.keys():
            cause = _network_cause(record, found) or "network is recreated"
        if cause and record.status.needs_stop and config is not None:
            result.append(Recreated(record=record, config=config, cause=cause))
        else:
            result.append(Keep(record=record, cause="not asked for"))
    return result


def _restart_cause(
    service: DesiredService, earlier: dict[str, list[Verdict]], found: Survey
) -> str:
    """Why a service with `restart: true` dependencies must restart; "" when it need not.

    A restart is passed on: what depends on a restarted service saw it leave, too.
    """
    if found.policy.no_deps or not found.policy.start:
        return ""
    for need in service.depends_on:
        if not need.restart:
            continue
        for verdict in earlier.get(need.service, ()):
            if isinstance(verdict, Renewed):
                what = "recreated" if isinstance(verdict, Recreated) else "restarted"
                return f"{need.service} is {what} (restart: true)"
    return ""


def _left_behind(service: DesiredService, earlier: dict[str, list[Verdict]], found: Survey) -> str:
    """Whether one of its containers is in the namespaces of a container that is no more: the
    other one has started since, or is about to. "" when none is."""
    if found.policy.no_deps or not found.policy.start:
        return ""
    for record in found.records.get(service.name, ()):
        for other in sorted(record.config.shares_with):
            if record.status.needs_stop and _starts_first(earlier.get(other, ())):
                return f"{other}, whose namespaces it shares, is started"
            running = [r for r in found.records.get(other, ()) if r.status.needs_stop]
            first = min(running, key=lambda r: r.config.number, default=None)
            if record.status.needs_stop and first and first.started_at > record.started_at:
                return f"{other}, whose namespaces it shares, has started since"
    return ""


def _starts_first(judged: Iterable[Verdict]) -> bool:
    """Whether the first replica, which others share namespaces with, is made or started."""
    numbers = {
        (v.config if isinstance(v, Create) else v.record.config).number: v
        for v in judged
        if not isinstance(v, Remove)
    }
    return bool(numbers) and isinstance(numbers[min(numbers)], Create | Start)


def _restarted(verdict: Verdict, cause: str) -> Verdict:
    if isinstance(verdict, Keep) and verdict.record.status.needs_stop:
        return Restart(record=verdict.record, cause=cause)
    return verdict
