"""Connecting containers to networks and taking them away, running or not."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from stackctl.daemon import hosts, names, sharing
from stackctl.daemon.containers import Containers
from stackctl.daemon.jobs import warn
from stackctl.daemon.parts import Parts
from stackctl.errors import Conflict, NotFound
from stackctl.model.network import Endpoint, PublishedPort
from stackctl.model.record import ContainerRecord, NetworkRecord
from stackctl.runtime.bundle import GENERATED

log = logging.getLogger(__name__)


class Connections:
    """Effects on the memberships of single containers."""

    def __init__(self, parts: Parts, containers: Containers) -> None:
        self._parts = parts
        self._registry = parts.registry
        self._containers = containers

    async def connect(
        self, network: NetworkRecord, container_id: str, settings: Mapping[str, Any]
    ) -> ContainerRecord:
        """One more network, as Docker's EndpointSettings say; links come beside those it has.

        Conflict when it is in it already, or has the host's; NotFound when it has gone.
        """
        # They load while the socket answers already.
        from stackctl.daemon import wish
        from stackctl.daemon.single import attachment, links

        name, net = network.config.name, self._parts.net
        wanted, linked = attachment(name, dict(settings)), links(dict(settings))
        async with self._containers.lock(container_id):
            record = self._registry.get(container_id)
            _check(record, network)
            config = replace(
                record.config,
                links=tuple(dict.fromkeys((*record.config.links, *linked))),
                asked=wish.with_endpoint(record.config.asked, name, dict(settings)),
            )
            async with AsyncExitStack() as undo:
                endpoint = net.lease(network, record.id, wanted)
                undo.callback(net.release, endpoint)
                # Its namesake that was removed, if it was in that.
                held = tuple(e for e in record.endpoints if e.network != name)
                undo.callback(
                    self._registry.update,
                    record.id,
                    config=record.config,
                    endpoints=record.endpoints,
                )
                # First the record: whoever removes the network sees who is in it.
                after = self._registry.update(record.id, config=config, endpoints=(*held, endpoint))
                if after.process is not None and after.status.is_alive:
                    pid, naming = after.process.pid, names.naming(after, "keep")
                    _tell(after, await net.connect(pid, endpoint, after.endpoints, naming))
                    former = names.naming(record, "keep")
                    undo.push_async_callback(
                        net.disconnect, pid, endpoint, record.endpoints, former
                    )
                    after = self._registry.update(record.id, ports=await self._ports(after))
                undo.pop_all()
            self._tell_hosts(record, after)
        self._event("connect", endpoint, after)
        return after

    async def disconnect(self, network_id: str, container_id: str) -> ContainerRecord:
        """Its published ports lead to another network's address then, if it has one.

        A network that was removed since the container ran can be left, too.
        """
        from stackctl.daemon import wish

        async with self._containers.lock(container_id):
            record = self._registry.get(container_id)
            gone = next((e for e in record.endpoints if e.network_id == network_id), None)
            if gone is None:
                known = self._registry.store.network(network_id)
                name = known.config.name if known else network_id[:12]
                raise NotFound(f"container {record.name} is not in network {name}")
            rest, ports = tuple(e for e in record.endpoints if e is not gone), record.ports
            net = self._parts.net
            if record.process is not None and record.status.is_alive:
                naming = names.naming(replace(record, endpoints=rest), "keep")
                _tell(record, await net.disconnect(record.process.pid, gone, rest, naming))
                ports = await net.lead(ports, rest)
            net.release(gone)
            asked = wish.with_endpoint(record.config.asked, gone.network, None)
            config = replace(record.config, asked=asked)
            after = self._registry.update(record.id, config=config, endpoints=rest, ports=ports)
            self._tell_hosts(record, after)
        self._event("disconnect", gone, after)
        return after

    def _tell_hosts(self, before: ContainerRecord, after: ContainerRecord) -> None:
        """Its own names mean its addresses of now, in /etc/hosts of all who share its network."""
        if not after.status.is_alive:
            return
        for record in (after, *sharing.sharers(after, self._registry)):
            path = self._parts.paths.container(record.id) / GENERATED["/etc/hosts"]
            hosts.rewrite(path, names.hosts_file(before), names.hosts_file(after))

    async def _ports(self, record: ContainerRecord) -> tuple[PublishedPort, ...]:
        """Its published ports lead to its new way out; without a network it had none."""
        if record.ports:
            return await self._parts.net.lead(record.ports, record.endpoints)
        return await self._containers.publish_ports(record)

    def _event(self, action: str, endpoint: Endpoint, record: ContainerRecord) -> None:
        network = self._registry.store.network(endpoint.network_id)
        attributes = {
            "container": record.id,
            "name": endpoint.network,
            "type": (network.config.driver if network else "") or "bridge",
        }
        self._parts.events.publish("network", action, endpoint.network_id, attributes)


def endpoint_in(record: ContainerRecord, reference: str) -> Endpoint | None:
    """Its place in the network of this name or id, which may have been removed since it ran."""
    return next((e for e in record.endpoints if reference in (e.network, e.network_id)), None)


def _tell(record: ContainerRecord, problems: Sequence[str]) -> None:
    """What the container's own doings prevented: whoever asked hears so."""
    for text in problems:
        log.warning("container %s: %s", record.name, text)
        warn(f"{record.name}: {text}")


def _check(record: ContainerRecord, network: NetworkRecord) -> None:
    if record.config.network_mode:
        raise Conflict(
            f"container {record.name} has network_mode {record.config.network_mode}",
            hint="only a container with networks of its own can be connected to another",
        )
    if any(e.network_id == network.id for e in record.endpoints):
        raise Conflict(f"container {record.name} is in network {network.config.name}")
