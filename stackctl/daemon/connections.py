"""Connecting containers to networks and taking them away, running or not."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace

from stackctl.daemon import hosts, names, sharing
from stackctl.daemon.containers import Containers, Parts
from stackctl.errors import Conflict, NotFound
from stackctl.model.container import NetworkAttachment
from stackctl.model.record import ContainerRecord, NetworkRecord
from stackctl.runtime.bundle import GENERATED


class Connections:
    """Effects on the memberships of single containers."""

    def __init__(self, parts: Parts, containers: Containers) -> None:
        self._parts = parts
        self._registry = parts.registry
        self._containers = containers

    async def connect(
        self,
        network: NetworkRecord,
        container_id: str,
        attachment: NetworkAttachment,
        links: tuple[tuple[str, str], ...] = (),
    ) -> ContainerRecord:
        """One more network, and `links` ((alias, container)) beside those that it has.

        Conflict when it is in it already, or has the host's.
        """
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
            known = tuple(dict.fromkeys((*record.config.links, *links)))
            config = replace(record.config, links=known)
            # Its namesake that was removed, if it was in that.
            held = tuple(e for e in record.endpoints if e.network != network.config.name)
            wanted = replace(record, config=config, endpoints=(*held, endpoint))
            async with AsyncExitStack() as undo:
                undo.callback(net.release, endpoint)
                # First the record: whoever removes the network sees who is in it.
                self._registry.update(record.id, config=config, endpoints=wanted.endpoints)
                undo.callback(
                    self._registry.update,
                    record.id,
                    config=record.config,
                    endpoints=record.endpoints,
                )
                if record.process is not None and record.status.is_alive:
                    pid = record.process.pid
                    naming = names.naming(wanted, "keep")
                    await net.connect(pid, endpoint, wanted.endpoints, naming)
                    former = names.naming(record, "keep")
                    undo.push_async_callback(
                        net.disconnect, pid, endpoint, record.endpoints, former
                    )
                    wanted = await self._with_ports(wanted)
                undo.pop_all()
            wanted = self._registry.update(record.id, ports=wanted.ports)
            self._tell_hosts(record, wanted)
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
                wanted = replace(wanted, ports=await net.lead(wanted.ports, rest))
            net.release(gone)
            wanted = self._registry.update(record.id, endpoints=rest, ports=wanted.ports)
            self._tell_hosts(record, wanted)
        self._event("disconnect", network, wanted)
        return wanted

    def _tell_hosts(self, before: ContainerRecord, after: ContainerRecord) -> None:
        """Its own names mean its addresses of now, in /etc/hosts of all who share its network."""
        if not after.status.is_alive:
            return
        for record in (after, *sharing.sharers(after, self._registry)):
            path = self._parts.paths.container(record.id) / GENERATED["/etc/hosts"]
            hosts.rewrite(path, names.hosts_file(before), names.hosts_file(after))

    async def _with_ports(self, record: ContainerRecord) -> ContainerRecord:
        """Its published ports lead to its new way out; without a network it had none."""
        if record.ports:
            ports = await self._parts.net.lead(record.ports, record.endpoints)
        else:
            ports = await self._containers.publish_ports(record)
        return replace(record, ports=ports)

    def _event(self, action: str, network: NetworkRecord, record: ContainerRecord) -> None:
        attributes = {
            "container": record.id,
            "name": network.config.name,
            "type": network.config.driver or "bridge",
        }
        self._parts.events.publish("network", action, network.id, attributes)
