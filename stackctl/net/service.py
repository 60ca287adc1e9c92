"""The engine's networks: the room's front, used from the daemon's loop.

`Net` decides (addresses, ports, what a request means); `Kernel` carries out, on
one thread of its own, everything that waits in one batch. Nothing here blocks
the loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from stackctl.errors import ContainerError
from stackctl.model.container import NetworkAttachment, PortBinding
from stackctl.model.network import Endpoint, NetworkConfig, PublishedPort
from stackctl.model.record import NetworkRecord, with_subnets
from stackctl.net import redirect, rtnl
from stackctl.net.addresses import Addresses, front_of, ways_out
from stackctl.net.endpoint import Wire
from stackctl.net.firewall import Finding
from stackctl.net.guard import Guard
from stackctl.net.kernel import Kernel
from stackctl.net.links import Bridge
from stackctl.net.naming import Naming, raw_names
from stackctl.net.options import (
    binding_of,
    bridge_name_of,
    check_config,
    has_icc,
    is_bridge,
    mtu_of,
    trunk_of,
    walls_of,
)
from stackctl.net.pool import mac_of
from stackctl.net.publishing import (
    ANY_ADDRESS,
    freedom,
    key_of,
    led_to,
    published,
    ways_of,
    wish_of,
)
from stackctl.net.rules import Forward
from stackctl.net.worker import Worker
from stackctl.state.paths import Paths


class Net:
    """All networks of one engine. `clock` gives the Unix time."""

    def __init__(
        self,
        paths: Paths,
        *,
        clock: Callable[[], float] = time.time,
        resolv_conf: str = "/etc/resolv.conf",
        machine_id: str = "",
        title_of: Callable[[str], str] = lambda container_id: f"container {container_id[:12]}",
        on_lost: Callable[[str, str, int], None] = lambda protocol, address, number: None,
    ) -> None:
        """`machine_id` makes the IPv6 prefix this machine's own.

        `title_of(container id)` names it in somebody else's Conflict ("container web-1 of
        project shop"); the network's thread asks, too.
        `on_lost(protocol, host address, host port)` is told of a port that somebody
        took while the keeper was dead.
        """
        self._paths = paths
        self._clock = clock
        self._kernel = Kernel(paths, resolv_conf)
        self._worker = Worker(self._kernel.flush, self._kernel.links.flush_late)
        self._title_of = title_of
        self._addresses = Addresses(paths.tag, machine_id, title_of)
        self._guard = Guard(
            self._kernel,
            self._worker,
            f"v{paths.tag}",
            self._wanted_bridges,
            self._wanted_wires,
            on_lost,
        )

    # --- life ---------------------------------------------------------------------

    async def open(
        self,
        networks: Sequence[NetworkRecord],
        endpoints: Sequence[Endpoint],
        ports: Sequence[PublishedPort],
        running: Collection[str] = (),
    ) -> tuple[PublishedPort, ...]:
        """Makes kernel and keeper what the records say, and removes strays of our tag.

        `running` are ids, `ports` those of running containers. Answers with those of them
        that somebody else took while no keeper ran. Names are the keeper's to remember.
        """
        self._worker.start()
        for record in networks:
            self._addresses.remember(record)
        for endpoint in endpoints:
            if self._addresses.network(endpoint.network_id):
                self._addresses.hold(endpoint)
        self._addresses.use([e for e in endpoints if e.container_id in running])
        wanted, wires = list(self._wanted_bridges().values()), self._wanted_wires()
        forwards = [(self._forward_of(p), p.container_id) for p in ports]
        containers = list({e.container_id for e in endpoints})
        lost = await self._worker.run(
            lambda: self._kernel.converge(wanted, wires, forwards, containers)
        )
        if self._kernel.is_installed:
            await self._guard.keep()
        # 11 ms of imports that the first network would wait for.
        self._worker.call_soon(rtnl.load)
        keys = {tuple(key) for key in lost}
        return tuple(p for p in ports if key_of(p) in keys)

    async def close(self) -> None:
        """Leaves kernel and keeper as they are."""
        self._guard.stop()
        if self._worker.is_running:
            await self._worker.run(self._kernel.close)
            await self._worker.stop()

    async def stop(self) -> None:
        """The engine is empty: table, strays and keeper go."""
        self._guard.stop()
        await self._worker.run(self._kernel.remove_everything)

    def _wanted_bridges(self) -> dict[str, Bridge]:
        return {r.bridge: _bridge_of(r) for r in self._addresses.networks if r.bridge}

    def _wanted_wires(self) -> dict[str, Wire]:
        """By our end."""
        return {self._veth(e): self._wire(e) for e in self._addresses.endpoints}

    # --- networks -----------------------------------------------------------------

    async def create_network(self, config: NetworkConfig, network_id: str) -> NetworkRecord:
        """A network with subnets of its own. StackctlError for what cannot be done."""
        check_config(config)
        record = await self._worker.run(lambda: self._create(config, network_id))
        self._addresses.remember(record, is_claimed=True)
        await self._guard.keep()
        return record

    def _create(self, config: NetworkConfig, network_id: str) -> NetworkRecord:
        self._kernel.keeper.start()  # it will be needed soon; comes up meanwhile
        trunk = trunk_of(config)
        subnets = self._addresses.choose(config, self._kernel.links.networks_in_use)
        with ExitStack() as undo:
            undo.callback(self._addresses.give_back, subnets)
            if chosen := bridge_name_of(config):
                self._kernel.links.check_name(chosen)
            name = chosen or self._paths.bridge(network_id)
            record = with_subnets(
                NetworkRecord(
                    id=network_id,
                    config=config,
                    created_at=self._clock(),
                    bridge=name if is_bridge(config) else "",
                ),
                subnets,
            )
            if is_bridge(config):
                self._kernel.make_network(_bridge_of(record))
            elif trunk is not None:
                self._kernel.links.check_trunk(trunk)
            undo.pop_all()
        return record

    async def remove_network(self, record: NetworkRecord) -> None:
        """Idempotent."""
        self._addresses.forget(record)
        if record.bridge:
            await self._worker.run(lambda: self._kernel.drop_network(record.bridge), late=True)
        self._addresses.give_back(record.subnets)

    def has_network(self, network_id: str) -> bool:
        """Not one that is being removed: nothing can be leased or attached there any more."""
        return self._addresses.network(network_id) is not None

    # --- endpoints ----------------------------------------------------------------

    def lease(
        self,
        record: NetworkRecord,
        container_id: str,
        attachment: NetworkAttachment,
        wished: Collection[str] = (),
    ) -> Endpoint:
        """Addresses and an interface name for a container; nothing in the kernel yet.

        `wished`: interface names that it is to have in other networks.

        An address that the attachment names may be another container's still: the
        two cannot run at the same time (`attach`).
        """
        return self._addresses.lease(record, container_id, attachment, wished)

    def release(self, endpoint: Endpoint) -> None:
        """Gives the addresses back. Idempotent."""
        self._addresses.release(endpoint)

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
        self._addresses.use(endpoints)
        ways = ways_out(endpoints)
        wires = [self._wire(e, ways) for e in endpoints]
        raw = self._raw_names(names) if names else None

        def work() -> None:
            self._kernel.attach(pid, wires)
            if raw is not None:
                self._kernel.set_names(raw["id"], raw)

        try:
            await self._worker.run(work)
        except BaseException:
            self._addresses.stop_using(endpoints)
            raise
        await self._guard.keep()

    async def connect(
        self, pid: int, endpoint: Endpoint, every: Sequence[Endpoint], names: Naming
    ) -> list[str]:
        """Wires one more network into a running container. `every`: all its endpoints, this too.

        Gives the default routes that the container's own doings prevented.
        """
        self._addresses.use([endpoint])
        wire = self._wire(endpoint, {})
        raw = self._raw_names(names)
        ways = ways_out(every)

        def work() -> list[str]:
            self._kernel.attach(pid, [wire])
            problems = self._kernel.links.route(pid, [(g, e.interface) for g, e in ways.items()])
            self._kernel.set_names(raw["id"], raw)
            return problems

        try:
            return await self._worker.run(work)
        except BaseException:
            self._addresses.stop_using([endpoint])
            self._worker.call_soon(lambda: self._kernel.detach([wire.host_name]))
            raise

    async def mend(self, pid: int, endpoints: Sequence[Endpoint], names: Naming) -> list[str]:
        """After `open`: what a daemon that was killed left half done for a running container.

        Its wires, default routes and names are made what its record says; answers as `connect`.
        """
        wires = [self._wire(e) for e in endpoints]
        raw = self._raw_names(names)
        ways = [(g, e.interface) for g, e in ways_out(endpoints).items()]

        def work() -> list[str]:
            problems = self._kernel.mend(pid, wires, ways)
            self._kernel.set_names(raw["id"], raw)
            return problems

        return await self._worker.run(work)

    async def disconnect(
        self, pid: int, endpoint: Endpoint, rest: Sequence[Endpoint], names: Naming
    ) -> list[str]:
        """Takes one network away from a running container. `rest`: the endpoints that it keeps.

        Idempotent, also when it has just ended; answers as `connect`.
        """
        raw = self._raw_names(names)
        ways = ways_out(rest)
        veth = self._veth(endpoint)

        def work() -> list[str]:
            self._kernel.set_names(raw["id"], raw)
            self._kernel.detach([veth])
            try:
                # At once: while the interface is there, so are its routes.
                self._kernel.links.unplug(pid, [endpoint.interface])
                return self._kernel.links.route(pid, [(g, e.interface) for g, e in ways.items()])
            except ContainerError:
                return []  # its interfaces went with it

        problems = await self._worker.run(work)
        self._addresses.stop_using([endpoint])
        return problems

    def _wire(self, endpoint: Endpoint, ways: Mapping[str, Endpoint] | None = None) -> Wire:
        record = self._addresses.network(endpoint.network_id)
        assert record is not None, endpoint
        gateways = [g for g, e in (ways or {}).items() if e is endpoint]
        return Wire(
            bridge=record.bridge,
            host_name=self._veth(endpoint),
            name=endpoint.interface,
            mac=endpoint.mac,
            addresses=tuple(a for a in (endpoint.ipv4, endpoint.ipv6, *endpoint.link_local) if a),
            settings=endpoint.settings,
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
        gone = endpoints or self._addresses.endpoints_of(container_id)
        names = [self._veth(e) for e in gone]
        self._addresses.stop_using(gone)
        if names:
            await self._worker.run(lambda: self._kernel.detach(names))

    async def leave(self, container_id: str, ports: Sequence[PublishedPort] = ()) -> None:
        """A container has ended: names, wires and `ports` go in one round. Idempotent."""
        gone = self._addresses.endpoints_of(container_id)
        names = [self._veth(e) for e in gone]
        self._addresses.stop_using(gone)
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
        endpoints: Sequence[Endpoint],
        bindings: Sequence[PortBinding],
        default_ip: str = "",
    ) -> tuple[PublishedPort, ...]:
        """Holds host ports and leads them to the container: all or none.

        `endpoints` are all that it has: the ports lead to that of its default route.
        Conflict: a port is taken; its text says by whom.
        """
        endpoint = front_of(endpoints)
        if not bindings or endpoint is None:
            return ()
        record = self._addresses.network(endpoint.network_id)
        usual = (binding_of(record.config) if record else "") or default_ip
        order = sorted(bindings, key=freedom)
        wishes = [wish_of(b, usual, endpoint) for b in order]
        held: list[list[Forward]] = []

        def forward(index: int, number: int) -> list[Forward]:
            held.append(list(ways_of(wishes[index], number, endpoint, order[index].container_port)))
            return held[-1]

        try:
            await self._worker.run(
                lambda: self._kernel.publish(container_id, wishes, forward, self._title_of)
            )
        except BaseException:
            if held:
                taken = [f for made in held for f in made]
                await self._worker.run(lambda: self._kernel.unpublish(taken))
            raise
        await self._guard.keep()
        made = {id(b): forwards for b, forwards in zip(order, held, strict=True)}
        return tuple(published(f, container_id) for b in bindings for f in made[id(b)])

    async def lead(
        self, ports: Sequence[PublishedPort], endpoints: Sequence[Endpoint]
    ) -> tuple[PublishedPort, ...]:
        """After a change of the container's endpoints: its ports lead where it answers from now.

        Their numbers stay held; one that no address is left for is given up.
        """
        front = front_of(endpoints)
        wanted = led_to(front, ports) if front else []
        if wanted == list(ports):
            return tuple(ports)
        kept = {key_of(p) for p in wanted}
        forwards = [self._forward_of(p) for p in wanted]
        gone = [self._forward_of(p) for p in ports if key_of(p) not in kept]

        def work() -> None:
            self._kernel.lead(forwards)
            self._kernel.unpublish(gone)

        await self._worker.run(work)
        return tuple(wanted)

    async def unpublish(self, ports: Sequence[PublishedPort]) -> None:
        """Idempotent."""
        forwards = [self._forward_of(p) for p in ports]
        if forwards:
            await self._worker.run(lambda: self._kernel.unpublish(forwards))

    def _forward_of(self, port: PublishedPort) -> Forward:
        address = port.address
        if not address:
            mine = self._addresses.endpoints_of(port.container_id)
            address = next((e.ipv4.partition("/")[0] for e in mine), "127.0.0.1")
        return Forward(
            protocol=port.protocol,
            host_ip=port.host_ip or ANY_ADDRESS,
            host_port=port.host_port,
            address=address,
            port=port.container_port,
        )

    # --- names --------------------------------------------------------------------

    async def name(self, naming: Naming) -> None:
        """What a container is called. Calling again replaces; open sockets are kept."""
        raw = self._raw_names(naming)
        await self._worker.run(lambda: self._kernel.set_names(raw["id"], raw))
        await self._guard.keep()

    def _raw_names(self, naming: Naming) -> dict[str, Any]:
        return raw_names(naming, self._addresses.network)

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


def _bridge_of(record: NetworkRecord) -> Bridge:
    gateways = [f"{g}/{s.partition('/')[2]}" for s, g in record.subnets]
    return Bridge(
        walls=walls_of(record),
        gateways=tuple(gateways),
        mac=mac_of(gateways[0]),
        mtu=mtu_of(record.config),
    )
