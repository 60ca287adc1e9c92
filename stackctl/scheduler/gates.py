"""Which conditions of depends_on (and --wait) become steps, and what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

from stackctl.model.container import Health, Status
from stackctl.model.record import ContainerRecord
from stackctl.scheduler.desired import Condition, Dependency, DesiredService
from stackctl.scheduler.draft import Draft
from stackctl.scheduler.ops import WaitCompleted, WaitHealthy
from stackctl.scheduler.survey import Survey
from stackctl.scheduler.verdicts import Idle, Keep, Remove, Verdict
from stackctl.values import dataclass


@dataclass(slots=True)
class Need:
    """Everybody who waits for one condition of one service."""

    users: list[str] = field(default_factory=list)
    required: bool = False
    waited: bool = False

    def cause(self, service: str, condition: Condition) -> str:
        return gate_cause(self.users, service, condition) if self.users else "--wait"


Needs = dict[tuple[str, Condition], Need]


def needs(found: Survey, judged: Mapping[str, Sequence[Verdict]]) -> Needs:
    """Every condition that somebody waits for who is about to be started, or --wait."""
    result: Needs = {}
    if not found.policy.start:
        return result
    for service in found.services:
        if any(not isinstance(verdict, Idle) for verdict in judged.get(service.name, ())):
            for need in relevant(service, found):
                entry = result.setdefault((need.service, need.condition), Need())
                entry.users.append(service.name)
                entry.required |= need.required
    if found.policy.wait:
        for service in found.services:
            if service.name in found.wanted:
                done = service.name in found.one_shots
                condition = Condition.COMPLETED if done else Condition.HEALTHY
                result.setdefault((service.name, condition), Need()).waited = True
    return result


def relevant(service: DesiredService, found: Survey) -> list[Dependency]:
    """The dependencies that this `up` looks at (--no-deps: only those between named ones)."""
    bystander = service.name not in found.wanted
    return [need for need in service.depends_on if bystander or need.service in found.wanted]


def add_gates(
    draft: Draft,
    service: DesiredService,
    judged: list[Verdict],
    started: dict[str, int],
    healthy: dict[str, int],
    wanted: Needs,
) -> dict[Condition, tuple[int, ...]]:
    """Adds the gates of one service; gives condition -> the steps that mean it is met.

    A gate is one step a container and condition, shared by all who wait. None is
    added where the condition holds already.
    """
    result: dict[Condition, tuple[int, ...]] = {
        Condition.STARTED: tuple(started[n] for v in judged if (n := v.config.name) in started)
    }
    for condition in (Condition.HEALTHY, Condition.COMPLETED):
        need = wanted.get((service.name, condition))
        if need is None:
            continue
        gates = []
        for verdict in judged:
            if isinstance(verdict, Remove):
                continue
            if isinstance(verdict, Keep) and _holds(verdict.record, condition, need):
                continue
            name = verdict.config.name
            if condition is Condition.HEALTHY and name in healthy:
                gates.append(healthy[name])  # its update waits for the same
                continue
            patient = need.waited and not need.users and not service.has_healthcheck
            op = (
                WaitHealthy(name=name, checked=bool(need.users), ended_ok=patient)
                if condition is Condition.HEALTHY
                else WaitCompleted(name=name)
            )
            gates.append(
                draft.add(
                    op,
                    need.cause(service.name, condition),
                    after=[started[name]] if name in started else (),
                    service=service.name,
                    optional=not (need.required or need.waited),
                )
            )
        result[condition] = tuple(gates)
    return result


def _holds(record: ContainerRecord, condition: Condition, need: Need) -> bool:
    if need.users or condition is not Condition.HEALTHY:
        return holds(record, condition)
    return works(record) or holds(record, Condition.COMPLETED)


def holds(record: ContainerRecord, condition: Condition) -> bool:
    """Whether a container that is left as it is meets a condition now."""
    if condition is Condition.COMPLETED:
        return record.status is Status.EXITED and record.exit_code == 0
    if condition is Condition.HEALTHY:
        return record.status is Status.RUNNING and record.health is Health.HEALTHY
    return True


def works(record: ContainerRecord) -> bool:
    """Whether `--wait` has nothing to wait for: running is enough without a health check."""
    unchecked = record.status is Status.RUNNING and record.config.health is None
    return unchecked or holds(record, Condition.HEALTHY)


def gate_cause(users: Sequence[str], service: str, condition: Condition) -> str:
    word = condition.value.removeprefix("service_").replace("_", " ")
    verb = "depends" if len(users) == 1 else "depend"
    return f"{', '.join(users)} {verb} on {service}: {word}"
