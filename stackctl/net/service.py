"""The engine's networks: the room's front, used from the daemon's loop.

`Net` decides (addresses, ports, what a request means); `Kernel` carries out, on
one thread of its own, everything that waits in one batch. Nothing here blocks
the loop.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

from stackctl.errors import Conflict, StackctlError
from stackctl.model.container import NetworkAttachment, PortBinding
from stackctl.model.network import Endpoint, NetworkConfig, PublishedPort
from stackctl.model.record import NetworkRecord
from stackctl.net import redirect, rtnl
from stackctl.net.endpoint import Wire
from stackctl.net.firewall import Finding
from stackctl.net.kernel import Bridge, Kernel
from stackctl.net.options import (
    binding_of,
    bridge_name_of,
    check_config,
    has_icc,
    is_bridge,
    mtu_of,
    pool_of,
    trunk_of,
    walls_of,
)
from stackctl.net.pool import Leases, SubnetPool, mac_of
from stackctl.net.rules import PROTOCOLS, Forward
from stackctl.net.watch import RulesWatch
from stackctl.net.worker import Worker
from stackctl.state.paths import Paths

log = logging.getLogger(__name__)

ANY_ADDRESS, ANY_ADDRESS6 = "0.0.0.0", "::"


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """What a container is called, and how it asks for others.

    `names` is by network name or id; the first of a network is what reverse
    look-ups give. `resolver` is (pid of a process in the container, port); "keep":
    as it is; None: it asks nothing. `servers` replaces the machine's resolvers.
    `links`: names that only this container knows -> names of others. `weak`: it is
    unhealthy, others with its names are preferred.
    """

    container_id: str
    endpoints: tuple[Endpoint, ...]
    names: Mapping[str, tuple[str, ...]]
    resolver: tuple[int, int] | Literal["keep"] | None
    servers: tuple[str, ...] = ()
    project: str = ""
    links: tuple[tuple[str, str], ...] = ()
    weak: bool = False


class Net:
    """All networks of one engine. `clock` gives the Unix time."""

    def __init__(
        self,
        paths: Paths,
        *,
        clock: Callable[[], float] = time.time,
        resolv_conf: str = "/etc/resolv.conf",
        machine_id: str = "",
        on_lost: Callable[[str, str, int], None] = lambda protocol, address, number: None,
    ) -> None:
        """`machine_id` makes the IPv6 prefix this machine's own.

        `on_lost(protocol, host address, host port)` is told of a port that somebody
        took while the keeper was dead.
        """
        self._on_lost = on_lost
        self._paths = paths
        self._clock = clock
        self._kernel = Kernel(paths, resolv_conf)
        self._worker = Worker(self._kernel.flush, self._kernel.flush_late)
        self._subnets = {4: SubnetPool(paths.tag), 6: SubnetPool.ipv6(paths.tag, machine_id)}
        #: network id -> IP version -> leases
        self._leases: dict[str, dict[int, Leases]] = {}
        #: (network id, address) -> the container that uses it now
        self._in_use: dict[tuple[str, str], str] = {}
        self._networks: dict[str, NetworkRecord] = {}
        #: container id -> network id -> endpoint
        self._endpoints: dict[str, dict[str, Endpoint]] = {}
        self._titles: dict[str, str] = {}
        self._watch: RulesWatch | None = None
        self._witness: Any = None
        self._watching = asyncio.Lock()

    # --- life ---------------------------------------------------------------------

    async def open(
        self,
        networks: Sequence[NetworkRecord],
        endpoints: Sequence[Endpoint],
        ports: Sequence[PublishedPort],
        running: Collection[str] = (),
    ) -> tuple[PublishedPort, ...]:
        """Makes kernel and keeper what the records say, and removes strays of our tag.

        `running` are ids, `ports` those of running containers; answers with those of them that
        somebody else took while no keeper ran. Names are the keeper's to remember.
        """
        self._worker.start()
        for record in networks:
            self._remember(record)
        for endpoint in endpoints:
            self._hold(endpoint)
        self._use([e for e in endpoints if e.container_id in running])
        wanted = [_bridge_of(r) for r in networks if is_bridge(r.config)]
        wires = {self._veth(e): self._wire(e) for e in endpoints if e.network_id in self._networks}
        forwards = [(self._forward_of(p), p.container_id) for p in ports]
        containers = list({e.container_id for e in endpoints})
        lost = await self._worker.run(
            lambda: self._kernel.converge(wanted, wires, forwards, containers)
        )
        if self._kernel.is_installed:
            await self._keep_watch()
        # 11 ms of imports that the first network would wait for.
        self._worker.call_soon(rtnl.load)
        keys = {tuple(key) for key in lost}
        return tuple(p for p in ports if _key_of(p) in keys)

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
        if self._watch is not None and self._witness is not None:
            return
        # Many starts come at once: one watch and one witness are enough.
        async with self._watching:
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
            lost = await self._worker.run(self._kernel.revive_keeper)
            await self._keep_watch()
            for protocol, address, number in lost:
                self._on_lost(protocol, address, number)
        except (StackctlError, OSError):
            log.exception("the keeper could not be started again")

    # --- networks -----------------------------------------------------------------

    async def create_network(self, config: NetworkConfig, network_id: str) -> NetworkRecord:
        """A network with subnets of its own. StackctlError for what cannot be done."""
        check_config(config)
        record = await self._worker.run(lambda: self._create(config, network_id))
        self._remember(record, is_claimed=True)
        await self._keep_watch()
        return record

    def _create(self, config: NetworkConfig, network_id: str) -> NetworkRecord:
        self._kernel.keeper.start()  # it will be needed soon; comes up meanwhile
        trunk = trunk_of(config)
        with ExitStack() as undo:
            subnet4, gateway4 = self._choose(config, 4, undo)
            subnet6, gateway6 = self._choose(config, 6, undo)
            name = bridge_name_of(config) or self._paths.bridge(network_id)
            record = NetworkRecord(
                id=network_id,
                config=config,
                created_at=self._clock(),
                bridge=name if is_bridge(config) else "",
                subnet4=subnet4,
                gateway4=gateway4,
                subnet6=subnet6,
                gateway6=gateway6,
            )
            if is_bridge(config):
                self._kernel.make_network(_bridge_of(record))
            elif trunk is not None:
                self._kernel.check_trunk(trunk)
            undo.pop_all()
        return record

    def _choose(self, config: NetworkConfig, version: int, undo: ExitStack) -> tuple[str, str]:
        """(subnet, gateway) of one IP version; ("", "") when the network has none of it."""
        enabled = config.enable_ipv4 if version == 4 else config.enable_ipv6
        if not enabled or config.driver in ("host", "none"):
            return "", ""
        subnets, pool = self._subnets[version], pool_of(config, version)
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        # The interfaces of a trunk are in the LAN's own subnet: the machine routes it, too.
        shares = bool(pool.subnet) and not is_bridge(config)
        in_use = () if shares else self._kernel.networks_in_use(family)
        subnet = subnets.request(pool.subnet, in_use) if pool.subnet else subnets.choose(in_use)
        undo.callback(subnets.give_back, str(subnet))
        return str(subnet), pool.gateway or str(subnet[1])

    def _remember(self, record: NetworkRecord, *, is_claimed: bool = False) -> None:
        self._networks[record.id] = record
        leases = self._leases[record.id] = {}
        for version, subnet, gateway in _subnets_of(record):
            if not is_claimed:
                self._subnets[version].claim(subnet)
            pool = pool_of(record.config, version)
            reserved = [gateway, *pool.aux_addresses.values()]
            leases[version] = Leases(subnet, pool.ip_range, reserved)

    async def remove_network(self, record: NetworkRecord) -> None:
        """Idempotent."""
        self._networks.pop(record.id, None)
        self._leases.pop(record.id, None)
        if record.bridge:
            await self._worker.run(lambda: self._kernel.drop_network(record.bridge), late=True)
        for version, subnet, _ in _subnets_of(record):
            self._subnets[version].give_back(subnet)

    # --- endpoints ----------------------------------------------------------------

    def lease(
        self, record: NetworkRecord, container_id: str, attachment: NetworkAttachment
    ) -> Endpoint:
        """Addresses and an interface name for a container; nothing in the kernel yet.

        An address that the attachment names may be another container's still: the
        two cannot run at the same time (`attach`).
        """
        leases = self._leases[record.id]
        wishes = {4: attachment.ipv4_address, 6: attachment.ipv6_address}
        for version, wish in wishes.items():
            if wish and version not in leases:
                raise StackctlError(
                    f'network "{record.config.name}" has no IPv{version}, '
                    f"so {wish} cannot be had there",
                    hint="set enable_ipv6: true for the network" if version == 6 else "",
                )
        got: dict[int, str] = {}
        try:
            for version, pool in leases.items():
                got[version] = pool.take(wishes[version], container_id)
        except StackctlError:
            for version, address in got.items():
                leases[version].release(address, container_id)
            raise
        mine = self._endpoints.setdefault(container_id, {})
        taken = {e.interface for e in mine.values()}
        free = (f"eth{n}" for n in range(len(taken) + 1))
        interface = attachment.interface_name or next(n for n in free if n not in taken)
        internal = record.config.internal
        address = got.get(4) or got.get(6) or ""
        endpoint = Endpoint(
            network=record.config.name,
            network_id=record.id,
            container_id=container_id,
            interface=interface,
            mac=attachment.mac_address or (mac_of(address) if address else ""),
            ipv4=got.get(4, ""),
            ipv6=got.get(6, ""),
            gateway4="" if internal else record.gateway4,
            gateway6="" if internal else record.gateway6,
            aliases=attachment.aliases,
            gw_priority=attachment.gw_priority,
        )
        mine[record.id] = endpoint
        return endpoint

    def release(self, endpoint: Endpoint) -> None:
        """Gives the addresses back. Idempotent."""
        mine = self._endpoints.get(endpoint.container_id, {})
        known = mine.pop(endpoint.network_id, None)
        if not mine:
            self._endpoints.pop(endpoint.container_id, None)
        if known is None:
            return
        self._stop_using([known])
        for version, leases in self._leases.get(endpoint.network_id, {}).items():
            address = known.ipv4 if version == 4 else known.ipv6
            if address:
                leases.release(address, endpoint.container_id)

    def _hold(self, endpoint: Endpoint) -> None:
        self._endpoints.setdefault(endpoint.container_id, {})[endpoint.network_id] = endpoint
        for version, leases in self._leases.get(endpoint.network_id, {}).items():
            address = endpoint.ipv4 if version == 4 else endpoint.ipv6
            if address:
                leases.hold(address, endpoint.container_id)

    def _use(self, endpoints: Sequence[Endpoint]) -> None:
        """Conflict when another container runs with one of the addresses."""
        for endpoint in endpoints:
            for address in _addresses(endpoint):
                user = self._in_use.get((endpoint.network_id, address), endpoint.container_id)
                if user != endpoint.container_id:
                    raise Conflict(
                        f"address {address} in network {endpoint.network} is used by"
                        f" {self._title_of(user)}",
                        hint="stop that container, or give this one another address",
                    )
        for endpoint in endpoints:
            for address in _addresses(endpoint):
                self._in_use[endpoint.network_id, address] = endpoint.container_id

    def _stop_using(self, endpoints: Iterable[Endpoint]) -> None:
        for endpoint in endpoints:
            for address in _addresses(endpoint):
                key = (endpoint.network_id, address)
                if self._in_use.get(key) == endpoint.container_id:
                    del self._in_use[key]

    def _veth(self, endpoint: Endpoint) -> str:
        return self._paths.veth(f"{endpoint.container_id}:{endpoint.network_id}")

    async def attach(
        self,
        pid: int,
        endpoints: Sequence[Endpoint],
        names: Naming | None = None,
    ) -> None:
        """Wires into the network namespace of `pid`; lo comes up also without endpoints.

        With `names` its names and its resolver are there, too, when this returns
        (one round for both). Conflict when one of its addresses is in use;
        ContainerError when the process has ended.
        """
        self._use(endpoints)
        ways = _ways_out(endpoints)
        wires = [self._wire(e, ways) for e in endpoints]
        raw = self._raw_names(names) if names else None

        def work() -> None:
            self._kernel.attach(pid, wires)
            if raw is not None:
                self._kernel.set_names(raw["id"], raw)

        try:
            await self._worker.run(work)
        except BaseException:
            self._stop_using(endpoints)
            raise
        if self._witness is None:
            await self._keep_watch()

    async def connect(
        self, pid: int, endpoint: Endpoint, every: Sequence[Endpoint], names: Naming
    ) -> None:
        """Wires one more network into a running container. `every`: all its endpoints, this too."""
        self._use([endpoint])
        wire = self._wire(endpoint, {})
        raw = self._raw_names(names)
        ways = _ways_out(every)

        def work() -> None:
            self._kernel.attach(pid, [wire])
            self._kernel.route(pid, [(g, e.interface) for g, e in ways.items()])
            self._kernel.set_names(raw["id"], raw)

        try:
            await self._worker.run(work)
        except BaseException:
            self._stop_using([endpoint])
            raise

    async def disconnect(
        self, pid: int, endpoint: Endpoint, rest: Sequence[Endpoint], names: Naming
    ) -> None:
        """Takes one network away from a running container. `rest`: the endpoints that it keeps."""
        raw = self._raw_names(names)
        ways = _ways_out(rest)
        veth = self._veth(endpoint)

        def work() -> None:
            self._kernel.set_names(raw["id"], raw)
            self._kernel.detach([veth])
            # At once: while the interface is there, so are its routes.
            self._kernel.unplug(pid, [endpoint.interface])
            self._kernel.route(pid, [(g, e.interface) for g, e in ways.items()])

        await self._worker.run(work)
        self._stop_using([endpoint])

    def _wire(self, endpoint: Endpoint, ways: Mapping[str, Endpoint] | None = None) -> Wire:
        record = self._networks[endpoint.network_id]
        gateways = [g for g, e in (ways or {}).items() if e is endpoint]
        return Wire(
            bridge=record.bridge,
            host_name=self._veth(endpoint),
            name=endpoint.interface,
            mac=endpoint.mac,
            addresses=tuple(a for a in (endpoint.ipv4, endpoint.ipv6) if a),
            gateways=tuple(gateways),
            mtu=mtu_of(record.config),
            uplink="" if has_icc(record.config) or not record.bridge else _bridge_of(record).mac,
            trunk=trunk_of(record.config),
        )

    async def detach(self, container_id: str, endpoints: Sequence[Endpoint] = ()) -> None:
        """Removes a container's wires (by default: all that are leased to it). Idempotent.

        Answers before they are gone: that takes the kernel 20 ms more, and who attaches
        the container again or removes its network waits for it there.
        """
        gone = endpoints or tuple(self._endpoints.get(container_id, {}).values())
        names = [self._veth(e) for e in gone]
        self._stop_using(gone)
        if names:
            await self._worker.run(lambda: self._kernel.detach(names))

    async def leave(self, container_id: str, ports: Sequence[PublishedPort] = ()) -> None:
        """A container has ended: names, wires and `ports` go in one round. Idempotent."""
        gone = tuple(self._endpoints.get(container_id, {}).values())
        names = [self._veth(e) for e in gone]
        self._stop_using(gone)
        forwards = [self._forward_of(p) for p in ports]

        def work() -> None:
            self._kernel.drop_names(container_id)
            self._kernel.detach(names)
            if forwards:
                self._kernel.unpublish(forwards)

        if gone or ports:
            await self._worker.run(work)

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
        record = self._networks.get(endpoint.network_id)
        usual = (binding_of(record.config) if record else "") or default_ip
        # What can go anywhere must not take what somebody wants exactly.
        order = sorted(bindings, key=_freedom)
        wishes = [_wish(b, usual, endpoint) for b in order]
        held: list[list[Forward]] = []

        def forward(index: int, number: int) -> list[Forward]:
            protocol, first, _, _, twin = wishes[index]
            made = [
                Forward(
                    protocol=protocol,
                    host_ip=host_ip,
                    host_port=number,
                    address=(endpoint.ipv6 if ":" in host_ip else endpoint.ipv4).partition("/")[0],
                    port=order[index].container_port,
                )
                for host_ip in (first, twin)
                if host_ip
            ]
            held.append(made)
            return made

        try:
            await self._worker.run(
                lambda: self._kernel.publish(container_id, wishes, forward, self._title_of)
            )
        except BaseException:
            if held:
                taken = [f for made in held for f in made]
                await self._worker.run(lambda: self._kernel.unpublish(taken))
            raise
        await self._keep_watch()
        made = {id(b): forwards for b, forwards in zip(order, held, strict=True)}
        return tuple(_published(f, container_id) for b in bindings for f in made[id(b)])

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
        resolver: tuple[int, int] | Literal["keep"] | None,
        servers: tuple[str, ...] = (),
    ) -> None:
        """What the container is called in each network (by network name), and its resolver.

        See `Naming`. Calling again replaces; open sockets are kept.
        """
        await self.name(
            Naming(
                container_id=container_id,
                endpoints=tuple(endpoints),
                names=names,
                resolver=resolver,
                servers=servers,
            )
        )

    async def name(self, naming: Naming) -> None:
        """What a container is called. Calling again replaces; open sockets are kept."""
        raw = self._raw_names(naming)
        await self._worker.run(lambda: self._kernel.set_names(raw["id"], raw))
        if self._witness is None:
            await self._keep_watch()

    def _raw_names(self, naming: Naming) -> dict[str, Any]:
        networks = {}
        members = []
        for endpoint in naming.endpoints:
            record = self._networks.get(endpoint.network_id)
            internal = record is not None and record.config.internal
            networks[endpoint.network_id] = [endpoint.network, internal]
            names = naming.names
            called = names.get(endpoint.network) or names.get(endpoint.network_id) or ()
            v4, v6 = endpoint.ipv4.partition("/")[0], endpoint.ipv6.partition("/")[0]
            members.append([endpoint.network_id, v4, v6, list(called)])
        resolver = naming.resolver
        return {
            "id": naming.container_id,
            "networks": networks,
            "members": members,
            "resolver": [resolver[0], 0, resolver[1]] if isinstance(resolver, tuple) else resolver,
            "servers": list(naming.servers),
            "project": naming.project,
            "links": dict(naming.links),
            "weak": naming.weak,
        }

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


def _subnets_of(record: NetworkRecord) -> list[tuple[int, str, str]]:
    """(IP version, subnet, gateway) of each subnet that the network has."""
    both = ((4, record.subnet4, record.gateway4), (6, record.subnet6, record.gateway6))
    return [item for item in both if item[1]]


def _bridge_of(record: NetworkRecord) -> Bridge:
    gateways = [f"{g}/{s.partition('/')[2]}" for _, s, g in _subnets_of(record)]
    return Bridge(
        walls=walls_of(record),
        gateways=tuple(gateways),
        mac=mac_of(gateways[0]),
        mtu=mtu_of(record.config),
    )


def _addresses(endpoint: Endpoint) -> list[str]:
    return [a.partition("/")[0] for a in (endpoint.ipv4, endpoint.ipv6) if a]


def _ways_out(endpoints: Sequence[Endpoint]) -> dict[str, Endpoint]:
    """The gateway of each IP version's default route, with the endpoint it is reached by.

    The highest gw_priority wins, then the first name, as Docker has it.
    """
    found = {}
    order = sorted(endpoints, key=lambda e: (-e.gw_priority, e.network))
    for attribute in ("gateway4", "gateway6"):
        for endpoint in order:
            gateway = getattr(endpoint, attribute)
            if gateway:
                found[gateway] = endpoint
                break
    return found


def _key_of(port: PublishedPort) -> tuple[str, str, int]:
    return port.protocol, port.host_ip or ANY_ADDRESS, port.host_port


def _freedom(binding: PortBinding) -> int:
    match binding.host_port:
        case None:
            return 1 << 16
        case (first, last):
            return last - first


def _wish(
    binding: PortBinding, default_ip: str, endpoint: Endpoint
) -> tuple[str, str, int, int, str]:
    """(protocol, address, first, last, twin address) for the keeper.

    Without an address of its own a port is published on all, of both IP versions
    when the container has both. An address needs one of its version inside.
    """
    if binding.protocol not in PROTOCOLS:
        raise StackctlError(f"unknown protocol {binding.protocol!r} of a published port")
    address, twin = binding.host_ip or default_ip or ANY_ADDRESS, ""
    if not binding.host_ip and address in (ANY_ADDRESS, ANY_ADDRESS6):
        both = [ANY_ADDRESS] * bool(endpoint.ipv4) + [ANY_ADDRESS6] * bool(endpoint.ipv6)
        address, twin = both[0] if both else ANY_ADDRESS, both[1] if len(both) > 1 else ""
    version = 6 if ":" in address else 4
    if not (endpoint.ipv6 if version == 6 else endpoint.ipv4):
        raise StackctlError(
            f"publishing on {address}: the container has no IPv{version} address"
            f" in network {endpoint.network}",
            hint="set enable_ipv6: true for the network" if version == 6 else "publish on [::]",
        )
    if version == 6 and ipaddress.ip_address(address).is_loopback:
        raise StackctlError(
            "publishing on [::1] is not possible: the kernel forwards nothing from there",
            hint="publish on 127.0.0.1",
        )
    first, last = binding.host_port or (0, 0)
    return binding.protocol, address, first, last, twin


def _published(forward: Forward, container_id: str) -> PublishedPort:
    return PublishedPort(
        host_ip=forward.host_ip,
        host_port=forward.host_port,
        container_port=forward.port,
        protocol=forward.protocol,
        container_id=container_id,
        address=forward.address,
    )
