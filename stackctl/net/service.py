"""The engine's networks: the room's front, used from the daemon's loop.

`Net` decides (addresses, ports, what a request means); `Kernel` carries out, on
one thread of its own, everything that waits in one batch. Nothing here blocks
the loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stackctl.errors import StackctlError
from stackctl.model.container import NetworkAttachment, PortBinding
from stackctl.model.network import Endpoint, NetworkConfig, PublishedPort
from stackctl.model.record import NetworkRecord
from stackctl.net import redirect, rtnl
from stackctl.net.endpoint import Wire
from stackctl.net.firewall import Finding
from stackctl.net.kernel import Kernel
from stackctl.net.options import check_config, mtu_of, walls_of
from stackctl.net.pool import Leases, Network, SubnetPool, mac_of
from stackctl.net.rules import Forward
from stackctl.net.watch import RulesWatch
from stackctl.net.worker import Worker
from stackctl.state.paths import Paths

log = logging.getLogger(__name__)

ANY_ADDRESS = "0.0.0.0"


class Net:
    """All networks of one engine. `clock` gives the Unix time."""

    def __init__(
        self,
        paths: Paths,
        *,
        clock: Callable[[], float] = time.time,
        resolv_conf: str = "/etc/resolv.conf",
    ) -> None:
        self._paths = paths
        self._clock = clock
        self._kernel = Kernel(paths, resolv_conf)
        self._worker = Worker(self._kernel.flush, self._kernel.flush_late)
        self._subnets = SubnetPool(paths.tag)
        self._leases: dict[str, Leases] = {}
        self._networks: dict[str, NetworkRecord] = {}
        #: container id -> network id -> endpoint
        self._endpoints: dict[str, dict[str, Endpoint]] = {}
        self._titles: dict[str, str] = {}
        self._watch: RulesWatch | None = None
        self._witness: Any = None

    # --- life ---------------------------------------------------------------------

    async def open(
        self,
        networks: Sequence[NetworkRecord],
        endpoints: Sequence[Endpoint],
        ports: Sequence[PublishedPort],
    ) -> None:
        """Makes kernel and keeper what the records say, and removes strays of our tag.

        `ports` are those of running containers. Names are not recorded here: call
        `set_names` for every running container afterwards.
        """
        self._worker.start()
        for record in networks:
            self._remember(record)
        for endpoint in endpoints:
            self._hold(endpoint)
        wanted = [(walls_of(r), _gateway(r), mtu_of(r.config)) for r in networks]
        bridges = {r.id: r.bridge for r in networks}
        veths = {self._veth(e): bridges[e.network_id] for e in endpoints if e.network_id in bridges}
        forwards = [(self._forward_of(p), p.container_id) for p in ports]
        containers = list({e.container_id for e in endpoints})
        lost = await self._worker.run(
            lambda: self._kernel.converge(wanted, veths, forwards, containers)
        )
        for protocol, address, number in lost:
            log.warning(
                "host port %s:%s/%s was taken while no keeper ran", address, number, protocol
            )
        if self._kernel.is_installed:
            await self._keep_watch()
        # 11 ms of imports that the first network would wait for.
        self._worker.call_soon(rtnl.load)

    async def close(self) -> None:
        """Leaves kernel and keeper as they are."""
        self._stop_watching()
        if self._worker.is_running:
            await self._worker.run(self._kernel.close)
            await self._worker.stop()

    async def stop(self) -> None:
        """The engine is empty: table, strays and keeper go."""
        self._stop_watching()
        await self._worker.run(self._kernel.remove_everything)

    async def _keep_watch(self) -> None:
        """Looks after the table and the keeper from now on."""
        if self._watch is None:
            port = await self._worker.run(lambda: self._kernel.port)
            self._watch = RulesWatch(self._paths.nft_table, self._repair)
            self._watch.start(port)
        if self._witness is None:
            self._witness = await self._worker.run(self._kernel.keeper.witness)
            if self._witness is not None:
                asyncio.get_running_loop().add_reader(self._witness, self._keeper_died)

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        self._drop_witness()

    def _drop_witness(self) -> None:
        if self._witness is not None:
            asyncio.get_running_loop().remove_reader(self._witness)
            self._witness.close()
            self._witness = None

    async def _repair(self, is_ours: bool) -> None:
        if is_ours:
            log.warning("somebody changed the firewall table of the engine: putting it back")
        call = self._kernel.repair if is_ours else self._kernel.let_through
        await self._worker.run(call)

    def _keeper_died(self) -> None:
        self._drop_witness()
        self._revival = asyncio.get_running_loop().create_task(self._revive())

    async def _revive(self) -> None:
        log.warning("the keeper has ended: starting another one")
        try:
            await self._worker.run(self._kernel.revive_keeper)
            await self._keep_watch()
        except (StackctlError, OSError):
            log.exception("the keeper could not be started again")

    # --- networks -----------------------------------------------------------------

    async def create_network(self, config: NetworkConfig, network_id: str) -> NetworkRecord:
        """A bridge with a subnet of its own. StackctlError for what we cannot do (yet)."""
        check_config(config)
        record = await self._worker.run(lambda: self._create(config, network_id))
        self._remember(record, is_claimed=True)
        await self._keep_watch()
        return record

    def _create(self, config: NetworkConfig, network_id: str) -> NetworkRecord:
        self._kernel.keeper.start()  # it will be needed soon; comes up meanwhile
        pool = config.ipam[0] if config.ipam else None
        in_use = self._kernel.networks_in_use()
        if pool is not None and pool.subnet:
            subnet = self._subnets.request(pool.subnet, in_use)
        else:
            subnet = self._subnets.choose(in_use)
        gateway = (pool.gateway if pool else "") or str(subnet[1])
        record = NetworkRecord(
            id=network_id,
            config=config,
            created_at=self._clock(),
            bridge=self._paths.bridge(network_id),
            subnet4=str(subnet),
            gateway4=gateway,
        )
        try:
            self._kernel.make_network(walls_of(record), _gateway(record), mtu_of(config))
        except BaseException:
            self._subnets.give_back(str(subnet))
            raise
        return record

    def _remember(self, record: NetworkRecord, *, is_claimed: bool = False) -> None:
        self._networks[record.id] = record
        if not is_claimed:
            self._subnets.claim(record.subnet4)
        pool = record.config.ipam[0] if record.config.ipam else None
        reserved = [record.gateway4, *(pool.aux_addresses.values() if pool else ())]
        self._leases[record.id] = Leases(record.subnet4, pool.ip_range if pool else "", reserved)

    async def remove_network(self, record: NetworkRecord) -> None:
        """Idempotent."""
        self._networks.pop(record.id, None)
        self._leases.pop(record.id, None)
        await self._worker.run(lambda: self._kernel.drop_network(record.bridge), late=True)
        if record.subnet4:
            self._subnets.give_back(record.subnet4)

    # --- endpoints ----------------------------------------------------------------

    def lease(
        self, record: NetworkRecord, container_id: str, attachment: NetworkAttachment
    ) -> Endpoint:
        """An address and an interface name for a container; nothing in the kernel yet."""
        if attachment.ipv6_address:
            raise _no_ipv6(f"address {attachment.ipv6_address}")
        address = self._leases[record.id].take(attachment.ipv4_address)
        mine = self._endpoints.setdefault(container_id, {})
        taken = {e.interface for e in mine.values()}
        free = (f"eth{n}" for n in range(len(taken) + 1))
        interface = attachment.interface_name or next(n for n in free if n not in taken)
        endpoint = Endpoint(
            network=record.config.name,
            network_id=record.id,
            container_id=container_id,
            interface=interface,
            mac=attachment.mac_address or mac_of(address),
            ipv4=address,
            gateway4="" if record.config.internal else record.gateway4,
            aliases=attachment.aliases,
            gw_priority=attachment.gw_priority,
        )
        mine[record.id] = endpoint
        return endpoint

    def release(self, endpoint: Endpoint) -> None:
        """Gives the address back. Idempotent."""
        mine = self._endpoints.get(endpoint.container_id, {})
        known = mine.pop(endpoint.network_id, None)
        if not mine:
            self._endpoints.pop(endpoint.container_id, None)
        leases = self._leases.get(endpoint.network_id)
        if known is not None and leases is not None:
            leases.release(endpoint.ipv4)

    def _hold(self, endpoint: Endpoint) -> None:
        self._endpoints.setdefault(endpoint.container_id, {})[endpoint.network_id] = endpoint
        if endpoint.network_id in self._leases:
            self._leases[endpoint.network_id].hold(endpoint.ipv4)

    def _veth(self, endpoint: Endpoint) -> str:
        return self._paths.veth(f"{endpoint.container_id}:{endpoint.network_id}")

    async def attach(self, pid: int, endpoints: Sequence[Endpoint]) -> None:
        """Wires into the network namespace of `pid`; lo comes up also without endpoints.

        ContainerError when the process has ended.
        """
        ways_out = [e for e in endpoints if e.gateway4]
        best = min(ways_out, key=lambda e: (-e.gw_priority, e.network), default=None)
        wires = [self._wire(e, is_way_out=e is best) for e in endpoints]
        await self._worker.run(lambda: self._kernel.attach(pid, wires))

    def _wire(self, endpoint: Endpoint, *, is_way_out: bool) -> Wire:
        record = self._networks[endpoint.network_id]
        return Wire(
            bridge=record.bridge,
            host_name=self._veth(endpoint),
            name=endpoint.interface,
            mac=endpoint.mac,
            address=endpoint.ipv4,
            gateway=endpoint.gateway4 if is_way_out else "",
            mtu=mtu_of(record.config),
        )

    async def detach(self, container_id: str, endpoints: Sequence[Endpoint] = ()) -> None:
        """Removes a container's wires (by default: all that are leased to it). Idempotent.

        Answers before they are gone: that takes the kernel 20 ms more, and who attaches
        the container again or removes its network waits for it there.
        """
        gone = endpoints or tuple(self._endpoints.get(container_id, {}).values())
        names = [self._veth(e) for e in gone]
        if names:
            await self._worker.run(lambda: self._kernel.detach(names))

    # --- ports --------------------------------------------------------------------

    async def publish(
        self,
        container_id: str,
        endpoint: Endpoint,
        bindings: Sequence[PortBinding],
        default_ip: str = "",
        title: str = "",
    ) -> tuple[PublishedPort, ...]:
        """Holds host ports and leads them to the container: all or none.

        `title` names the container in somebody else's Conflict ("container web-1 of
        project shop"). Conflict: a port is taken; its text says by whom.
        """
        if not bindings:
            return ()
        self._titles[container_id] = title or f"container {container_id[:12]}"
        address = endpoint.ipv4.partition("/")[0]
        # What can go anywhere must not take what somebody wants exactly.
        order = sorted(bindings, key=_freedom)
        wishes = [_wish(b, default_ip) for b in order]
        held: list[Forward] = []

        def forward(index: int, number: int) -> Forward:
            binding = order[index]
            made = Forward(
                protocol=binding.protocol,
                host_ip=wishes[index][1],
                host_port=number,
                address=address,
                port=binding.container_port,
            )
            held.append(made)
            return made

        try:
            await self._worker.run(
                lambda: self._kernel.publish(container_id, wishes, forward, self._title_of)
            )
        except BaseException:
            if held:
                await self._worker.run(lambda: self._kernel.unpublish(held))
            raise
        await self._keep_watch()
        made = {id(b): _published(f, container_id) for b, f in zip(order, held, strict=True)}
        return tuple(made[id(b)] for b in bindings)

    def _title_of(self, container_id: str) -> str:
        return self._titles.get(container_id, f"container {container_id[:12]}" * bool(container_id))

    async def unpublish(self, ports: Sequence[PublishedPort]) -> None:
        """Idempotent."""
        forwards = [self._forward_of(p) for p in ports]
        if forwards:
            await self._worker.run(lambda: self._kernel.unpublish(forwards))

    def _forward_of(self, port: PublishedPort) -> Forward:
        address = port.address
        if not address:
            mine = self._endpoints.get(port.container_id, {})
            address = next((e.ipv4.partition("/")[0] for e in mine.values()), "127.0.0.1")
        return Forward(
            protocol=port.protocol,
            host_ip=port.host_ip or ANY_ADDRESS,
            host_port=port.host_port,
            address=address,
            port=port.container_port,
        )

    # --- names --------------------------------------------------------------------

    async def set_names(
        self,
        container_id: str,
        endpoints: Sequence[Endpoint],
        names: Mapping[str, tuple[str, ...]],
        resolver: tuple[int, int] | None,
        servers: tuple[str, ...] = (),
    ) -> None:
        """What the container is called in each network (by network name), and its resolver.

        The first name of a network is what reverse look-ups give. `resolver` is (pid
        of a process in the container, port); None: it asks nothing. `servers` replaces
        the machine's resolvers. Calling again replaces; open sockets are kept.
        """
        networks = {}
        members = []
        for endpoint in endpoints:
            record = self._networks.get(endpoint.network_id)
            internal = record is not None and record.config.internal
            networks[endpoint.network_id] = [endpoint.network, internal]
            called = names.get(endpoint.network) or names.get(endpoint.network_id) or ()
            v4, v6 = endpoint.ipv4.partition("/")[0], endpoint.ipv6.partition("/")[0]
            members.append([endpoint.network_id, v4, v6, list(called)])
        raw: dict[str, Any] = {
            "id": container_id,
            "networks": networks,
            "members": members,
            "resolver": [resolver[0], 0, resolver[1]] if resolver else None,
            "servers": list(servers),
        }
        await self._worker.run(lambda: self._kernel.set_names(container_id, raw))
        if self._witness is None:
            await self._keep_watch()

    async def drop_names(self, container_id: str) -> None:
        """The container is gone: its names, and the sockets in its namespace. Idempotent."""
        await self._worker.run(lambda: self._kernel.drop_names(container_id))

    def netns_blobs(self, resolver_port: int) -> tuple[bytes, ...]:
        """Netlink messages (NETLINK_NETFILTER, one send each) for a new network namespace."""
        return redirect.blobs(resolver_port)

    # --- questions ----------------------------------------------------------------

    async def findings(self) -> list[Finding]:
        """What this machine's firewall means for containers, for `doctor`."""
        return await self._worker.run(self._kernel.findings)


def _gateway(record: NetworkRecord) -> str:
    return f"{record.gateway4}/{Network(record.subnet4).prefixlen}"


def _no_ipv6(what: str) -> StackctlError:
    return StackctlError(f"{what}: IPv6 is not supported yet", hint="use IPv4 for now")


def _freedom(binding: PortBinding) -> int:
    match binding.host_port:
        case None:
            return 1 << 16
        case (first, last):
            return last - first


def _wish(binding: PortBinding, default_ip: str) -> tuple[str, str, int, int]:
    """(protocol, address, first, last) for the keeper."""
    address = binding.host_ip or default_ip or ANY_ADDRESS
    if ":" in address:
        raise _no_ipv6(f"publishing on {address}")
    if binding.protocol not in ("tcp", "udp", "sctp"):
        raise StackctlError(f"unknown protocol {binding.protocol!r} of a published port")
    first, last = binding.host_port or (0, 0)
    return binding.protocol, address, first, last


def _published(forward: Forward, container_id: str) -> PublishedPort:
    return PublishedPort(
        host_ip=forward.host_ip,
        host_port=forward.host_port,
        container_port=forward.port,
        protocol=forward.protocol,
        container_id=container_id,
        address=forward.address,
    )
