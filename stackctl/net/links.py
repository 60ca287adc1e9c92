"""The engine's interfaces in the kernel: bridges, and containers' wires to them.

Used on the net thread only. Removals are collected: `flush_late` waits for all of
them at once.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import socket
from collections.abc import Iterable, Mapping, Sequence

from stackctl.errors import Conflict, ContainerError, NotFound, StackctlError
from stackctl.linux import ns
from stackctl.model.addressing import AnyNetwork
from stackctl.net import bridge, endpoint, rtnl
from stackctl.net.endpoint import Wire
from stackctl.net.failures import translated
from stackctl.net.marks import marks_of
from stackctl.net.netlink import NETLINK_ROUTE, NetlinkSocket
from stackctl.net.options import Trunk
from stackctl.net.pool import link_local_of
from stackctl.net.rules import NetworkWalls
from stackctl.net.stations import Station
from stackctl.net.upstreams import host_nameservers
from stackctl.state.paths import Paths
from stackctl.values import dataclass

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """A network that is a bridge here. `gateways` have a prefix length."""

    walls: NetworkWalls
    gateways: tuple[str, ...]
    mac: str
    mtu: int = 0


def station_of(wire: Wire) -> Station | None:
    """What the wire's container may call itself; None when it is no port of a bridge."""
    if wire.trunk is not None:
        return None
    addresses = [address.partition("/")[0] for address in wire.addresses]
    if wire.has_ipv6:
        addresses.append(link_local_of(wire.mac))
    return Station(
        port=wire.host_name, mac=wire.mac, addresses=tuple(addresses), uplink=wire.uplink
    )


class Links:
    """The socket for interfaces, and what is still to be removed."""

    def __init__(self, paths: Paths, resolv_conf: str) -> None:
        self._paths = paths
        self._resolv_conf = resolv_conf
        self._marks = marks_of(paths.tag)
        self._doomed: list[str] = []
        self._home = -1
        self._route: NetlinkSocket | None = None
        #: What `converge` found: interfaces that were there, and whether any was a stray.
        self.found: frozenset[str] = frozenset()
        self.had_strays = False

    @property
    def _links(self) -> NetlinkSocket:
        if self._route is None:
            self._route = NetlinkSocket(NETLINK_ROUTE)
            self._home = ns.open_netns()
        return self._route

    def close(self) -> None:
        self.flush_late()
        if self._route is not None:
            self._route.close()
            self._route = None
        if self._home >= 0:
            os.close(self._home)
            self._home = -1

    def flush_late(self) -> None:
        """Removes links that are not wanted any more, with one wait for all."""
        doomed, self._doomed = self._doomed, []
        if not all(map(self.is_own, doomed)):
            # A name that a user chose may be somebody else's by now.
            alive = (self._marks.open, self._marks.internal)
            marked = {link.name for link in rtnl.links(self._links) if link.group in alive}
            doomed = [name for name in doomed if self.is_own(name) or name in marked]
        if doomed:
            try:
                bridge.remove_links(self._links, doomed, self._marks.doomed)
            except OSError as error:
                raise translated(error, "removing interfaces") from error

    # --- bridges ------------------------------------------------------------------

    def networks_in_use(self, version: int) -> tuple[list[AnyNetwork], list[AnyNetwork]]:
        """What a new subnet must not overlap (routes, addresses, the resolvers' addresses),
        and what it had better not (ranges that are routed as a whole).
        """
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        near, far = rtnl.networks_in_use(self._links, family)
        resolvers = host_nameservers(self._resolv_conf) if version == 4 else []
        return near + [ipaddress.ip_network(a) for a in resolvers], far

    def check_name(self, name: str) -> None:
        """Conflict when a name that the user chose for a bridge is somebody's."""
        if self.is_own(name):
            problem = f"{name} is a name as this engine gives to its own interfaces"
        elif _exists(name):
            problem = f"there is an interface called {name} already"
        else:
            return
        hint = "choose another com.docker.network.bridge.name, or leave it out"
        raise Conflict(problem, hint=hint)

    def is_own(self, name: str) -> bool:
        """Whether an interface has a name that the engine chose."""
        return name.startswith((f"sc{self._paths.tag}", f"v{self._paths.tag}"))

    def make_bridge(self, wanted: Bridge) -> None:
        """Right also when it exists. What an OSError leaves goes in `flush_late`."""
        name = wanted.walls.bridge
        try:
            self._make(wanted)
        except OSError as error:
            self._doomed.append(name)
            raise translated(error, f"bridge {name}") from error

    def _make(self, wanted: Bridge) -> None:
        name, group = wanted.walls.bridge, self._group(wanted)
        bridge.make_bridge(
            self._links, name, wanted.gateways, wanted.mac, mtu=wanted.mtu, group=group
        )

    def _group(self, wanted: Bridge) -> int:
        return self._marks.of(internal=wanted.walls.internal)

    def remove(self, names: Iterable[str]) -> None:
        """They go in `flush_late`."""
        self._doomed += names

    def check_trunk(self, trunk: Trunk) -> None:
        """StackctlError when no interface could be made on it."""
        if not _exists(trunk.parent):
            raise NotFound(
                f'there is no interface "{trunk.parent}" on this machine',
                hint="`ip link` lists them; the option parent names one",
            )
        links = self._links  # opens `home`, too
        wire = Wire(
            bridge="",
            host_name="",
            name=f"sc{self._paths.tag}try",
            mac="0a:5c:00:00:00:01",
            addresses=(),
            trunk=trunk,
        )
        try:
            links.request([endpoint.new_on_trunk(wire, trunk, self._home)])
        except OSError as error:
            raise translated(error, f"driver {trunk.kind} on {trunk.parent}") from error
        bridge.remove_links(links, [wire.name], self._marks.doomed)

    # --- containers' ends ---------------------------------------------------------

    def attach(self, pid: int, wires: Sequence[Wire]) -> None:
        """OSError leaves the ends that exist already: the caller removes them by name."""
        links = self._links
        if any(wire.host_name in self._doomed for wire in wires):
            self.flush_late()  # of the container's former life
        endpoint.attach(links, pid, wires, self._home)

    def route(self, pid: int, ways: Sequence[tuple[str, str]]) -> list[str]:
        """Makes (gateway, interface) the default routes of a container, but for those it gives."""
        try:
            _ = self._links
            return endpoint.route(pid, ways, self._home)
        except OSError as error:
            raise attaching(error, pid) from error

    def unplug(self, pid: int, interfaces: Sequence[str]) -> None:
        """Takes interfaces out of a living container that have no end on the host."""
        try:
            _ = self._links
            endpoint.unplug_inside(pid, interfaces, self._home)
        except OSError as error:
            raise attaching(error, pid, "taking an interface away") from error

    # --- the whole ----------------------------------------------------------------

    def converge(self, networks: Sequence[Bridge], wires: Mapping[str, Wire]) -> None:
        """Bridges as wanted; strays of our tag go. `wires`: those that may exist, by our end."""
        ours = {network.walls.bridge for network in networks}
        tag = self._paths.tag
        present = [name for _, name in socket.if_nameindex()]
        if not networks and not any(n.startswith((f"sc{tag}", f"v{tag}")) for n in present):
            return  # spares an idle engine the codecs
        links = rtnl.links(self._links)
        self.found = frozenset(link.name for link in links)
        for link in links:
            stray_bridge = link.kind == "bridge" and link.name.startswith(f"sc{tag}")
            stray_veth = link.kind == "veth" and link.name.startswith(f"v{tag}")
            if (stray_bridge and link.name not in ours) or (stray_veth and link.name not in wires):
                self._doomed.append(link.name)
        foreign = self._foreign(networks, links)
        for network in networks:
            if network.walls.bridge not in foreign:
                self.make_bridge(network)
        for link in links:
            wire = wires.get(link.name)
            if wire is not None and link.kind == "veth" and wire.bridge not in foreign:
                self._plug(wire)
        self.had_strays = any(name.startswith(f"v{tag}") for name in self._doomed)
        self.flush_late()

    def rebuild(self, networks: Sequence[Bridge], wires: Mapping[str, Wire]) -> list[str]:
        """Makes those bridges whole that are not, and containers their ports again.

        Gives their names. Removes nothing: what a job that waits makes is not known yet.
        """
        links = rtnl.links(self._links)
        bridges = [link for link in links if link.kind == "bridge" and link.up]
        whole = {(link.name, link.group): link.index for link in bridges}
        present = {
            (a.index, ipaddress.ip_interface(a.address))
            for family in (socket.AF_INET, socket.AF_INET6)
            for a in rtnl.addresses(self._links, family)
        }
        broken = [
            network
            for network in networks
            for index in (whole.get((network.walls.bridge, self._group(network))),)
            if any((index, ipaddress.ip_interface(g)) not in present for g in network.gateways)
        ]
        foreign = self._foreign(broken, links)
        broken = [network for network in broken if network.walls.bridge not in foreign]
        names = [network.walls.bridge for network in broken]
        for network in broken:
            self._make(network)
        for link in links:
            wire = wires.get(link.name)
            if wire is not None and not link.master and wire.bridge in names:
                self._plug(wire)
        return names

    def _foreign(self, networks: Sequence[Bridge], links: Sequence[rtnl.Link]) -> set[str]:
        """Names of bridges that somebody else's interface has by now; told in the log."""
        alive = (self._marks.open, self._marks.internal)
        wanted = {network.walls.bridge: network for network in networks}
        found = {
            link.name
            for link in links
            if link.name in wanted
            # An older engine's bridges have no mark.
            and (
                link.kind != "bridge"
                or (link.group not in alive and link.mac != wanted[link.name].mac)
            )
        }
        for name in sorted(found):
            log.warning("%s is an interface of somebody else: its network is not there", name)
        return found

    def _plug(self, wire: Wire) -> None:
        try:
            endpoint.plug(self._links, wire)
        except OSError as error:
            if error.errno != errno.ENODEV:  # else its container has just ended
                raise


def attaching(error: OSError, pid: int, what: str = "attaching to the network") -> StackctlError:
    """Why a container could not be wired. ContainerError when it has ended."""
    if not os.path.exists(f"/proc/{pid}/ns/net"):
        return ContainerError("the container ended before its network was attached")
    return translated(error, what)


def _exists(name: str) -> bool:
    # Not by /sys: that may be another network namespace's.
    return any(name == present for _, present in socket.if_nameindex())
