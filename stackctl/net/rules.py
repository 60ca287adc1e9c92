"""The engine's own nftables tables: what they hold, and the changes to them.

Three tables named after the engine. Those of family ip and ip6 have the same
shape; that of family bridge keeps containers from using each other's addresses.
Rules are fixed; what varies is in sets and maps, so that a change is a few
elements and never a rule:

    local      bridge . the same bridge       subnets    every network's addresses
    guarded    addresses nobody outside may   outgoing   addresses that are masqueraded
               use directly                              when they leave
    any        proto . port -> container      at         address . proto . port -> container
    relayed    proto . port that the keeper hands on (IPv6 only)

    macs, v4, v6 (family bridge)              port . the address its container has

Bridges are known by their marks (interface groups), not by name. Isolation is in chains
of type filter (between: what is forwarded; entering: what is for the machine), which need
no translation: a lost map loses a port, never a wall. No chain of ours sees each packet
before it is known where it goes: what passes within one bridge pays for one chain.
`EngineTable` is the wanted state; its methods change it and return the requests that make
the kernel follow. The ip6 table exists from the first IPv6 network on.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable

from stackctl.net import nft, stations
from stackctl.net import nftexpr as x
from stackctl.net.marks import Marks, marks_of
from stackctl.net.netlink import Request
from stackctl.net.nft import IFNAME, INET_PROTO, INET_SERVICE, DataType, Table, element
from stackctl.net.nftexpr import IPV4, IPV6, Layout
from stackctl.net.stations import Station
from stackctl.values import dataclass

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}

_DSTNAT, _FILTER, _SRCNAT = -100, 0, 100
_ANY = ("", "0.0.0.0", "::")
#: lo is the first interface of every network namespace.
_FROM_LO = (x.meta(x.META_IIF), x.equal(x.interface(1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkWalls:
    """What the tables need to know of one network. Subnets as "10.4.0.0/22"."""

    bridge: str
    subnets: tuple[str, ...]
    internal: bool = False
    masquerade: bool = True
    #: Containers of the network may speak to each other.
    icc: bool = True

    @property
    def has_ipv6(self) -> bool:
        return any(":" in subnet for subnet in self.subnets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """A host port led to a container. `host_ip` "", "0.0.0.0" or "::" is every address.

    Where the kernel has no way the keeper has one (`is_relayed`), and no rule leads
    from there: from ::1, and from an IPv6 address to a container that has IPv4 only.
    """

    protocol: str
    host_ip: str
    host_port: int
    address: str
    port: int

    @property
    def version(self) -> int:
        """Of what arrives."""
        return 6 if ":" in (self.host_ip or self.address) else 4

    @property
    def is_relayed(self) -> bool:
        return self.host_ip == "::1" or (self.version == 6 and ":" not in self.address)


def _bounds(subnet: str) -> tuple[int, int]:
    network = ipaddress.ip_network(subnet)
    return int(network.network_address), int(network.broadcast_address)


def _network_elements(walls: NetworkWalls, version: int) -> dict[str, list[bytes]]:
    """The elements of one network, by set; none when it has nothing to do with the family."""
    length = 4 if version == 4 else 16
    chosen = [s for s in walls.subnets if (":" in s) == (version == 6)]
    if version == 6 and not chosen:
        return {}  # such a bridge has no IPv6 at all
    name = nft.ifname(walls.bridge)
    found: dict[str, list[bytes]] = {}
    if walls.icc:
        found["local"] = [element(name + name)]
    if chosen:
        spans = [part for s in chosen for part in nft.interval(*_bounds(s), length)]
        found["subnets"] = spans
        if walls.internal or walls.masquerade:
            found["guarded"] = spans
        if walls.masquerade and not walls.internal:
            found["outgoing"] = spans
    return found


def _forward_element(forward: Forward, *, delete: bool = False) -> tuple[str, bytes]:
    """(map, element) of one published port."""
    protocol = bytes((PROTOCOLS[forward.protocol],))
    key = nft.join(protocol, nft.port(forward.host_port))
    if forward.is_relayed:
        return "relayed", element(key)
    address = ipaddress.ip_address(forward.address).packed
    target = None if delete else nft.join(address, nft.port(forward.port))
    if forward.host_ip in _ANY:
        return "any", element(key, target)
    host = ipaddress.ip_address(forward.host_ip).packed
    return "at", element(host + key, target)


class EngineTable:
    """The wanted contents of one engine's tables. No I/O."""

    def __init__(self, name: str, tag: str = "0") -> None:
        """`tag` is the engine's: in the names of its ends of veth pairs, and in its marks."""
        self.table = Table(nft.FAMILY_IP, name)
        self.marks = marks_of(tag)
        self._table6 = Table(nft.FAMILY_IP6, name)
        self.stations = stations.StationTable(name, f"v{tag}")
        self._has6 = False
        self.networks: dict[str, NetworkWalls] = {}
        self.forwards: dict[tuple[str, str, int], Forward] = {}

    @property
    def is_empty(self) -> bool:
        return not self.networks and not self.forwards

    @property
    def has6(self) -> bool:
        return self._has6

    def _tables(self) -> tuple[Table, Table]:
        return self.table, self._table6

    def _of(self, version: int) -> Table:
        return self.table if version == 4 else self._table6

    def add_network(self, walls: NetworkWalls) -> list[Request]:
        requests = self.remove_network(walls.bridge)
        self.networks[walls.bridge] = walls
        if walls.has_ipv6 and not self._has6:
            self._has6 = True
            return requests + self._network_requests(walls, 4) + self._whole(6)
        return requests + self._network_requests(walls)

    def remove_network(self, bridge: str) -> list[Request]:
        walls = self.networks.pop(bridge, None)
        return self._network_requests(walls, delete=True) if walls else []

    def _network_requests(
        self, walls: NetworkWalls, *versions: int, delete: bool = False
    ) -> list[Request]:
        requests = []
        for version in versions or (4, 6):
            for name, elements in _network_elements(walls, version).items():
                requests += self._of(version).elements(name, elements, delete=delete)
        return requests

    def add_forwards(self, forwards: Iterable[Forward]) -> list[Request]:
        new = list(forwards)
        requests = self.remove_forwards(new)
        for forward in new:
            self.forwards[_key(forward)] = forward
        if not self._has6 and any(f.version == 6 and not f.is_relayed for f in new):
            self._has6 = True
            four = [f for f in new if f.version == 4]
            return requests + self._forward_requests(four, delete=False) + self._whole(6)
        return requests + self._forward_requests(new, delete=False)

    def remove_forwards(self, forwards: Iterable[Forward]) -> list[Request]:
        """Unknown ones are no mistake."""
        gone = [f for f in (self.forwards.pop(_key(f), None) for f in forwards) if f]
        return self._forward_requests(gone, delete=True)

    def _forward_requests(self, forwards: Iterable[Forward], *, delete: bool) -> list[Request]:
        pages: dict[tuple[int, str], list[bytes]] = {}
        for forward in forwards:
            if forward.is_relayed and not self._has6:
                continue
            if forward.is_relayed and delete and self._is_relayed_elsewhere(forward):
                continue
            name, item = _forward_element(forward, delete=delete)
            pages.setdefault((forward.version, name), []).append(item)
        requests = []
        for (version, name), items in pages.items():
            once = list(dict.fromkeys(items))
            requests += self._of(version).elements(name, once, delete=delete)
        return requests

    def _is_relayed_elsewhere(self, gone: Forward) -> bool:
        """Whether the same number is still relayed at another address."""
        number = gone.protocol, gone.host_port
        left = (f for f in self.forwards.values() if f.is_relayed)
        return any((f.protocol, f.host_port) == number for f in left)

    def add_stations(self, stations: Iterable[Station]) -> list[Request]:
        return self.stations.add(stations)

    def remove_stations(self, ports: Iterable[str]) -> list[Request]:
        """Unknown ones are no mistake."""
        return self.stations.remove(ports)

    def clear(self) -> None:
        """Nothing is wanted any more."""
        self.networks.clear()
        self.forwards.clear()
        self.stations.clear()
        self._has6 = False

    def removal(self, present: Collection[tuple[int, str]]) -> list[Request]:
        """Takes those of our tables away that are `present` ((family, name))."""
        self._has6 = any(w.has_ipv6 for w in self.networks.values())
        mine = (*self._tables(), self.stations.table)
        return [t.delete() for t in mine if (t.family, t.name) in present]

    def whole(self) -> list[Request]:
        """Replaces the tables, whatever they were, by the wanted ones: one atomic batch."""
        requests = self._whole(4)
        if self._has6:
            requests += self._whole(6)
        return requests + self.stations.whole()

    def _whole(self, version: int) -> list[Request]:
        table = self._of(version)
        layout = IPV4 if version == 4 else IPV6
        requests = [
            table.create(),
            table.delete(),
            table.create(),
            *_skeleton(table, layout, self.marks),
        ]
        for walls in self.networks.values():
            requests += self._network_requests(walls, version)
        mine = [f for f in self.forwards.values() if f.version == version]
        return requests + self._forward_requests(mine, delete=False)


def _key(forward: Forward) -> tuple[str, str, int]:
    every = "0.0.0.0" if forward.version == 4 else "::"
    return forward.protocol, forward.host_ip or every, forward.host_port


def _skeleton(table: Table, layout: Layout, marks: Marks) -> list[Request]:
    """Sets, chains and rules, without elements."""
    address = DataType(layout.type_number, layout.length)
    target = address + INET_SERVICE
    at = address + INET_PROTO + INET_SERVICE
    sets = [
        table.set("local", IFNAME + IFNAME, number=1),
        table.set("subnets", address, interval=True, number=2),
        table.set("guarded", address, interval=True, number=3),
        table.set("outgoing", address, interval=True, number=4),
        table.set("any", INET_PROTO + INET_SERVICE, target, number=5),
        table.set("at", at, target, number=6),
    ]
    if layout is IPV6:
        sets.append(table.set("relayed", INET_PROTO + INET_SERVICE, number=7))
    chains = [
        table.chain("between", "filter", nft.HOOK_FORWARD, _FILTER),
        table.chain("entering", "filter", nft.HOOK_INPUT, _FILTER),
        table.chain("arriving", "nat", nft.HOOK_PREROUTING, _DSTNAT),
        table.chain("own", "nat", nft.HOOK_OUTPUT, _DSTNAT),
        table.chain("leaving", "nat", nft.HOOK_POSTROUTING, _SRCNAT),
    ]
    return sets + chains + _filter_rules(table, layout, marks) + _nat_rules(table, layout, marks)


class _Sides:
    """Whether a packet comes from one of our bridges, or goes to one."""

    def __init__(self, marks: Marks) -> None:
        mask, ours = x.masked(x.interface(marks.mask)), x.interface(marks.open)
        into, out_of = x.meta(x.META_IIFGROUP), x.meta(x.META_OIFGROUP)
        self.from_us, self.from_others = (into, mask, x.equal(ours)), (into, mask, x.differs(ours))
        self.to_us, self.elsewhere = (out_of, mask, x.equal(ours)), (out_of, mask, x.differs(ours))
        self.usual = (into, x.equal(ours))
        shut_in = x.equal(x.interface(marks.internal))
        self.from_shut_in, self.to_shut_in = (into, shut_in), (out_of, shut_in)


def _filter_rules(table: Table, layout: Layout, marks: Marks) -> list[Request]:
    sides = _Sides(marks)
    both = (x.meta(x.META_IIFNAME), x.meta(x.META_OIFNAME, x.PARTS + 4), x.in_set("local"))
    protocol_port = (x.meta(x.META_L4PROTO, x.PARTS), x.dport(x.PARTS + 1))
    relayed = (*sides.from_shut_in, *protocol_port, x.in_set("relayed"), x.drop())
    known = x.ct_state(x.CT_ESTABLISHED | x.CT_RELATED)
    translated = x.ct_status(x.CT_STATUS_DNAT)
    # What there is most of is asked for first.
    return [
        # The keeper leads everybody on: who is shut in must not get to it.
        *([table.rule("entering", relayed)] if layout is IPV6 else []),
        # route_localnet makes a bridge accept 127.0.0.0/8: for answers only, to what was
        # translated on its way out. A container's own packet must not pass.
        table.rule("entering", [*sides.usual, *x.ct_is_answer(), x.accept()]),
        table.rule("entering", [*sides.from_us, *x.ct_is_answer(), x.accept()]),
        table.rule("entering", [*sides.from_us, *layout.daddr_is_no_loopback(), x.accept()]),
        table.rule("entering", [*sides.from_us, x.drop()]),
        table.rule("entering", [*_FROM_LO, x.accept()]),
        table.rule("entering", [layout.daddr(), x.in_set("guarded"), x.drop()]),
        table.rule("entering", [layout.saddr(), x.in_set("guarded"), x.drop()]),
        # A neighbour who poses as a container would reach published ports under its address.
        table.rule("between", [*sides.from_others, layout.saddr(), x.in_set("guarded"), x.drop()]),
        # Before what is known: an address may have been somebody's who was not shut in.
        table.rule("between", [*sides.from_shut_in, *both, x.accept()]),
        table.rule("between", [*sides.from_shut_in, x.drop()]),
        table.rule("between", [*sides.to_shut_in, x.drop()]),
        table.rule("between", [*known, x.accept()]),
        # bridge-nf-call-iptables shows us frames within one bridge, too.
        table.rule("between", [*both, x.accept()]),
        table.rule("between", [*sides.to_us, *translated, x.accept()]),
        table.rule("between", [*sides.to_us, x.drop()]),
    ]


def _nat_rules(table: Table, layout: Layout, marks: Marks) -> list[Request]:
    sides = _Sides(marks)
    p, wide = x.PARTS, layout.parts
    protocol_port = (x.meta(x.META_L4PROTO, p), x.dport(p + 1))
    at = (layout.daddr(p), x.meta(x.META_L4PROTO, p + wide), x.dport(p + wide + 1))
    to_target = layout.dnat(x.REG, p + wide)
    by_any = (*x.daddr_is_local(), *protocol_port, x.from_map("any"), to_target)
    by_address = (*x.daddr_is_local(), *at, x.from_map("at"), to_target)
    loopback_target = layout.daddr_is_loopback()
    outgoing = (layout.saddr(), x.in_set("outgoing"))
    from_inside = (layout.saddr(), x.in_set("subnets"))
    translated = x.ct_status(x.CT_STATUS_DNAT)
    return [
        # A neighbour may address a frame for 127.0.0.1 to us: translated before the
        # kernel's check for martians it would reach what is published on loopback.
        table.rule("arriving", [*loopback_target, x.leave()]),
        # Nor does a neighbour get to what is published at a network's gateway.
        table.rule("arriving", [*_FROM_LO, x.accept()]),
        table.rule("arriving", [*sides.from_others, layout.daddr(), x.in_set("guarded"), x.drop()]),
        table.rule("arriving", by_address),
        table.rule("arriving", by_any),
        # The kernel forwards nothing that came from ::1: the keeper's socket gets it.
        *([table.rule("own", [*loopback_target, x.leave()])] if layout is IPV6 else []),
        table.rule("own", by_address),
        table.rule("own", by_any),
        table.rule("leaving", [*sides.to_us, *layout.saddr_is_loopback(), x.masquerade()]),
        # From a container to a published port, maybe its own: the answer must come
        # back through us, not straight over the bridge.
        table.rule("leaving", [*sides.to_us, *from_inside, *translated, x.masquerade()]),
        table.rule("leaving", [*sides.elsewhere, *outgoing, x.masquerade()]),
    ]
