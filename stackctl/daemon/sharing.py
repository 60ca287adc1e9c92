"""Whose namespaces a container shares: "service:x" and "container:y" -> running containers."""

from __future__ import annotations

from stackctl.daemon.registry import Registry
from stackctl.errors import ContainerError
from stackctl.model.record import ContainerRecord
from stackctl.runtime import settings
from stackctl.runtime.bundle import Partner, shares_host_ids


def partners(record: ContainerRecord, registry: Registry) -> dict[str, Partner]:
    """For StartRequest. Raises ContainerError when one of them does not run."""
    return {
        kind: _partner(record, whose, registry)
        for kind, whose in settings.partners(record.config).items()
    }


def _partner(record: ContainerRecord, whose: str, registry: Registry) -> Partner:
    kind, _, name = whose.partition(":")
    if kind == "service":
        candidates = [
            other
            for other in registry.of_project(record.config.project)
            if other.config.service == name and not other.config.oneoff
        ]
        candidates.sort(key=lambda other: other.config.number)
    else:
        named = registry.find_name(name)
        candidates = [named] if named is not None else []
        if len(name) >= 12:
            candidates += [other for other in registry.all() if other.id.startswith(name)]
    for other in candidates:
        if other.process is not None and other.status.is_alive:
            base = 0 if shares_host_ids(other.config) else other.id_base
            return Partner(process=other.process, id_base=base)
    raise ContainerError(
        f'"{record.config.name}" shares a namespace of {whose}, which does not run',
        hint="start it first; in a stack, depends_on does",
    )
