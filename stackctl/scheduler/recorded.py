"""What records say about dependencies, for commands that may have no stack file.

The label com.docker.compose.depends_on holds "db:service_healthy:false,cache:..."
(service, condition, restart), as compose writes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stackctl.model.record import ContainerRecord
from stackctl.scheduler.desired import Condition, Dependency
from stackctl.scheduler.graph import without_cycles

LABEL = "com.docker.compose.depends_on"


def parse(label: str) -> tuple[Dependency, ...]:
    """Reads the label; what it cannot read it drops, since a label must not keep a stack alive."""
    found = []
    for item in label.split(","):
        service, _, rest = item.strip().partition(":")
        condition, _, restart = rest.partition(":")
        if not service:
            continue
        try:
            kind = Condition(condition)
        except ValueError:
            kind = Condition.STARTED
        found.append(Dependency(service=service, condition=kind, restart=restart == "true"))
    return tuple(found)


def render(dependencies: Iterable[Dependency]) -> str:
    """The label's text; what `parse` reads back, but for `required`."""
    return ",".join(
        f"{need.service}:{need.condition}:{str(need.restart).lower()}" for need in dependencies
    )


def dependencies(
    records: Iterable[ContainerRecord], known: Mapping[str, tuple[Dependency, ...]]
) -> dict[str, tuple[Dependency, ...]]:
    """Of every service that has records: `known` where it knows, the labels elsewhere.

    Without what would close a circle.
    """
    found = dict(known)
    for record in sorted(records, key=lambda r: (r.config.service, -r.created_at)):
        service = record.config.service
        if service not in found:
            found[service] = parse(record.config.labels.get(LABEL, ""))
    edges = without_cycles({name: [n.service for n in needs] for name, needs in found.items()})
    return {
        name: tuple(need for need in needs if need.service in edges[name])
        for name, needs in found.items()
    }
