"""What only one container can have, and goes from one to another: host ports, addresses, names.

    a port, an address   the old one stops before the new one starts, and early: to wait for its
                         own gates might be a circle
    a name               the old one is removed, or set aside, before the new one is made or gets it

Adds steps to a plan of `up` in the making (`Up`), which knows the rest.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING

from stackctl.model.container import ContainerConfig
from stackctl.model.record import ContainerRecord
from stackctl.scheduler.desired import DesiredService
from stackctl.scheduler.ops import SetAside
from stackctl.scheduler.verdicts import Idle, Renewed, Restart

if TYPE_CHECKING:
    from stackctl.scheduler.up import Up

#: (protocol, host port), (network, address).
Sole = tuple[str, int | str]


class Givers:
    """Containers that are stopped or removed, by what they have until then."""

    def __init__(self, leaving: Iterable[ContainerRecord] = ()) -> None:
        self.of: dict[Sole, list[ContainerRecord]] = {}
        self.called: dict[str, ContainerRecord] = {}
        for record in leaving:
            self.called[record.name] = record
            for sole in sole_holdings(record.config):
                self.of.setdefault(sole, []).append(record)


def sole_holdings(config: ContainerConfig) -> list[Sole]:
    """Fixed host ports and addresses; what is chosen from a range finds another one."""
    ports: list[Sole] = [
        (binding.protocol, binding.host_port[0])
        for binding in config.ports
        if binding.host_port is not None and binding.host_port[0] == binding.host_port[1]
    ]
    return ports + [
        (join.network, str(ipaddress.ip_address(address)))
        for join in config.networks
        for address in (join.ipv4_address, join.ipv6_address)
        if address
    ]


def early_stops(up: Up) -> None:
    """Stops that others wait for, dependents first.

    A container that restarts with its dependency goes down before it does,
    and one that gives a host port or an address to another before that one starts. They
    cannot wait for their own gates first: that might be a circle.
    """
    taken = _taken(up)
    for service in reversed(up.found.services):
        for verdict in up.judged.get(service.name, ()):
            if not isinstance(verdict, Renewed) or verdict.record.id in up.stopped:
                continue
            renewed = _renewed_dependencies(up, service)
            hands_over = any(x in taken for x in sole_holdings(verdict.record.config))
            if renewed or hands_over or isinstance(verdict, Restart):
                names = [verdict.config.name, *renewed]
                made = {up.created[name] for name in names if name in up.created}
                up.stop(
                    verdict.record,
                    verdict.cause,
                    after=made.union(up.stops_of_users(up.restarting, service.name)),
                )


def _renewed_dependencies(up: Up, service: DesiredService) -> list[str]:
    """Names of the containers whose renewal makes this service restart."""
    return [
        verdict.config.name
        for need in service.depends_on
        if need.restart
        for verdict in up.judged.get(need.service, ())
        if isinstance(verdict, Renewed)
    ]


def _taken(up: Up) -> set[Sole]:
    """What somebody gives up and another container is going to take."""
    if not up.givers.of:
        return set()
    return {
        sole
        for judged in up.judged.values()
        for verdict in judged
        if not isinstance(verdict, Idle)
        for sole in sole_holdings(verdict.config)
        for holder in up.givers.of.get(sole, ())
        if holder.config.place != verdict.config.place
    }


def stops_of_holders(up: Up, config: ContainerConfig) -> list[int]:
    """Of those that have what only one can have, and this container is to have."""
    if not up.givers.of:
        return []
    return [
        up.stopped[holder.id]
        for sole in sole_holdings(config)
        for holder in up.givers.of.get(sole, ())
        if holder.id in up.stopped
    ]


def holder(up: Up, config: ContainerConfig) -> ContainerRecord | None:
    """Who else has the name now that this container is to have, and is about to leave it."""
    found = up.givers.called.get(config.name)
    return None if found is None or found.config.place == config.place else found


def freed(up: Up, config: ContainerConfig, cause: str, after: Iterable[int]) -> list[int]:
    """The steps after which nobody else has the name that this container is to have; `after`
    is what it waits for itself: as long the other one keeps it."""
    other = holder(up, config)
    if other is None:
        return []
    if other.id in up.removed:
        return [up.removed[other.id]]
    if other.id not in up.aside:
        op = SetAside(id=other.id, name=other.name)
        service = other.config.service
        up.aside[other.id] = up.draft.add(op, cause, after=after, service=service)
    return [up.aside[other.id]]
