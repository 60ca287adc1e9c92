"""What a project has that its file does not describe, and other things worth a warning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from stackctl.model.record import ContainerRecord
from stackctl.scheduler import differences
from stackctl.scheduler.desired import Condition, Desired, DownPolicy, Observed, UpPolicy
from stackctl.scheduler.gates import gate_cause, needs
from stackctl.scheduler.survey import Survey, resource_changes, survey, used_networks
from stackctl.scheduler.verdicts import Keep, Verdict, verdicts


def orphans(desired: Desired, observed: Observed) -> tuple[ContainerRecord, ...]:
    """Containers of services that the file does not have, and one-offs that have ended.

    A service that only an inactive profile has is no orphan, nor is a pre_start hook that
    failed, which is kept to be looked at until it is run again. In order of name.
    """
    known = {service.name for service in desired.services} | desired.disabled
    hooks = {
        hook.beside(config).name
        for service in desired.services
        for hook in service.pre_start
        for config in service.replicas
    }
    found = [
        record
        for record in observed.containers
        if (
            record.status.has_ended and record.name not in hooks
            if record.config.oneoff
            else record.config.service not in known
        )
    ]
    return tuple(sorted(found, key=lambda record: record.name))


def left_by_down(observed: Observed, policy: DownPolicy) -> tuple[str, ...]:
    """One sentence for what a `down` of the whole file leaves: what runs, what holds data."""
    if policy.services:
        return ()
    return (*_containers_left(observed, policy), *_volumes_left(observed, policy))


def _volumes_left(observed: Observed, policy: DownPolicy) -> Iterator[str]:
    known = policy.known_volumes
    if not policy.volumes or known is None:
        return
    left = [v.config.name for v in observed.volumes if not v.config.anonymous]
    if names := sorted(set(left) - known):
        yield (
            f"volumes that no active service of the stack file uses stay: {', '.join(names)} "
            f"(stackctl volume rm {' '.join(names)})"
        )


def _containers_left(observed: Observed, policy: DownPolicy) -> Iterator[str]:
    known, active = policy.known, policy.active
    if known is None:
        return
    resting = known - active if active is not None else frozenset()
    asleep = sorted(r.name for r in observed.containers if r.config.service in resting)
    if asleep:
        yield f"containers of profiles that are not active stay: {', '.join(asleep)} (--profile)"
    left = [r for r in observed.containers if r.config.service not in known]
    if left and not policy.remove_orphans:
        busy = used_networks(record.config for record in left)
        names = sorted(record.name for record in left)
        networks = [n.config.name for n in observed.networks if n.config.name in busy]
        also = f", and what they are in: {', '.join(networks)}" if networks else ""
        yield (
            f"containers that the stack file does not describe stay: {', '.join(names)}{also} "
            "(--remove-orphans removes them)"
        )


def notices(desired: Desired, observed: Observed, policy: UpPolicy) -> tuple[str, ...]:
    """One sentence for everything that `up` leaves as it is although one might wonder."""
    texts = []
    untold = policy.remove_orphans or policy.ignore_orphans
    left = () if untold else orphans(desired, observed)
    if left:
        names = ", ".join(record.name for record in left)
        texts.append(
            f"containers that the stack file does not describe: {names} "
            "(--remove-orphans removes them)"
        )
    wanted = {volume.name: volume for volume in desired.volumes}
    found = survey(desired, observed, policy)
    for record in observed.volumes:
        volume = wanted.get(record.config.name)
        changes = resource_changes(record.config, volume) if volume is not None else ()
        if volume is not None and changes != () and volume.name not in found.changed_volumes:
            what = f" ({differences.sentence(changes)})" if changes else ""
            # Who said -y already has it for what the services meant use.
            way = "" if policy.renew_volumes else ": `up -y` makes it anew, empty"
            texts.append(
                f'volume "{volume.name}" exists with another configuration{what} and keeps it, '
                f"because it holds data{way}"
            )
    texts.extend(
        f'volume "{name}" was not made by this project: say external: true if that is meant'
        for name in wanted
        if name in observed.other_volumes
    )
    judged = verdicts(found)
    texts.extend(
        f"{verdict.record.name} {verdict.cause}"
        for each in judged.values()
        for verdict in each
        if isinstance(verdict, Keep) and verdict.cause.startswith("ended with 0")
    )
    return (*texts, *_nobody_to_wait_for(found, judged))


def _nobody_to_wait_for(found: Survey, judged: Mapping[str, Sequence[Verdict]]) -> Iterator[str]:
    """Conditions that nobody can meet: the service has no containers (scale 0).

    As with compose its dependents start: who asks for none has it run elsewhere.
    """
    empty = {s.name for s in found.services if not s.replicas and s.provider is None}
    for (name, condition), need in needs(found, judged).items():
        if name in empty and need.users and need.required and condition is not Condition.STARTED:
            cause = gate_cause(need.users, name, condition)
            yield f"{cause}, which is not waited for: {name} is to have no containers (scale: 0)"
