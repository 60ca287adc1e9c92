"""Whose namespaces a container shares: "service:x" and "container:y" -> running containers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from stackctl.daemon.registry import Registry
from stackctl.errors import ContainerError, NotFound
from stackctl.model.record import ContainerRecord
from stackctl.runtime import settings
from stackctl.runtime.bundle import Partner, shares_host_ids


def partners(record: ContainerRecord, registry: Registry) -> dict[str, Partner]:
    """For StartRequest. Raises ContainerError when one of them does not run."""
    found = {}
    for kind, whose in settings.partners(record.config).items():
        other = _running(record, whose, registry)
        assert other.process is not None
        base = 0 if shares_host_ids(other.config) else other.id_base
        found[kind] = Partner(process=other.process, id_base=base)
    return found


def named(record: ContainerRecord, registry: Registry) -> ContainerRecord:
    """Whose names it has: those of the container whose network it shares, else its own."""
    whose = settings.partners(record.config).get("network")
    return _running(record, whose, registry) if whose else record


def sharers(record: ContainerRecord, registry: Registry) -> list[ContainerRecord]:
    """The running containers that share the network of `record`, and so have its names."""
    found = []
    for other in registry.all():
        if other.status.is_alive and settings.partners(other.config).get("network"):
            with suppress(ContainerError):
                if named(other, registry).id == record.id:
                    found.append(other)
    return found


def check_networks(record: ContainerRecord, is_there: Callable[[str], bool]) -> None:
    """NotFound when a network that it is in was removed since it ran: it would have none.

    `is_there` tells by a network's id, and not of one that is just being removed.
    """
    for endpoint in record.endpoints:
        if not is_there(endpoint.network_id):
            raise NotFound(
                f"network {endpoint.network} not found: it was removed, and {record.name} is in it",
                hint="`up` makes both anew; `stackctl net disconnect` takes the container out",
            )


def _running(record: ContainerRecord, whose: str, registry: Registry) -> ContainerRecord:
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
            return other
    raise ContainerError(
        f'"{record.config.name}" shares a namespace of {whose}, which does not run',
        hint="start it first; in a stack, depends_on does",
    )
