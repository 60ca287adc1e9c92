"""Connecting containers to networks and taking them away, running or not."""

from __future__ import annotations

from dataclasses import replace

from stackctl.daemon import names
from stackctl.daemon.containers import Containers, Parts
from stackctl.errors import Conflict, NotFound
from stackctl.model.container import NetworkAttachment
from stackctl.model.network import Endpoint
from stackctl.model.record import ContainerRecord, NetworkRecord


class Connections:
    """Effects on the memberships of single containers."""

    def __init__(self, parts: Parts, containers: Containers) -> None:
        self._parts = parts
        self._registry = parts.registry
        self._containers = containers

    async def connect(
        self, network: NetworkRecord, container_id: str, attachment: NetworkAttachment
    ) -> ContainerRecord:
        """One more network. Conflict when it is in it already, or has the host's."""
        async with self._containers.lock(container_id):
            record = self._registry.get(container_id)
            if record.config.network_mode:
                raise Conflict(
                    f"container {record.name} has network_mode {record.config.network_mode}",
                    hint="only a container with networks of its own can be connected to another",
                )
            if any(e.network_id == network.id for e in record.endpoints):
                raise Conflict(f"container {record.name} is in network {network.config.name}")
            net = self._parts.net
            endpoint = net.lease(network, record.id, attachment)
            wanted = replace(record, endpoints=(*record.endpoints, endpoint))
            try:
                if record.process is not None and record.status.is_alive:
                    naming = names.naming(wanted, "keep")
                    await net.connect(record.process.pid, endpoint, wanted.endpoints, naming)
            except BaseException:
                net.release(endpoint)
                raise
            wanted = self._registry.put(wanted)
        self._event("connect", network, wanted)
        return wanted

    async def disconnect(self, network: NetworkRecord, container_id: str) -> ContainerRecord:
        """Its published ports lead to another network's address then, if it has one."""
        async with self._containers.lock(container_id):
            record = self._registry.get(container_id)
            gone = next((e for e in record.endpoints if e.network_id == network.id), None)
            if gone is None:
                raise NotFound(f"container {record.name} is not in network {network.config.name}")
            rest = tuple(e for e in record.endpoints if e is not gone)
            wanted = replace(record, endpoints=rest)
            net = self._parts.net
            if record.process is not None and record.status.is_alive:
                naming = names.naming(wanted, "keep")
                await net.disconnect(record.process.pid, gone, rest, naming)
                wanted = await self._publish_again(wanted, gone)
            net.release(gone)
            wanted = self._registry.put(wanted)
        self._event("disconnect", network, wanted)
        return wanted

    async def _publish_again(self, record: ContainerRecord, gone: Endpoint) -> ContainerRecord:
        """The ports that led to a network that the container has left."""
        addresses = {a.partition("/")[0] for a in (gone.ipv4, gone.ipv6)}
        if not any(port.address in addresses for port in record.ports):
            return record
        await self._parts.net.unpublish(record.ports)
        record = replace(record, ports=())
        return replace(record, ports=await self._containers.publish_ports(record))

    def _event(self, action: str, network: NetworkRecord, record: ContainerRecord) -> None:
        attributes = {
            "container": record.id,
            "name": network.config.name,
            "type": network.config.driver or "bridge",
        }
        self._parts.events.publish("network", action, network.id, attributes)
