"""The engine's own nftables table: what it holds, and the changes to it.

One table of family ip, named after the engine. Rules are fixed; what varies is
in sets and maps, so that a change is a few elements and never a rule:

    bridges    our bridges                    local      bridge . the same bridge
    internal   bridges that lead nowhere      subnets    every network's addresses
    guarded    addresses nobody outside may   outgoing   addresses that are masqueraded
               use directly                              when they leave
    any        proto . port -> container      at         address . proto . port -> container

Isolation is in chains of type filter, which come before translation matters:
a lost map loses a port, never a wall. `EngineTable` is the wanted state; its
methods change it and return the requests that make the kernel follow.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from stackctl.net import nft
from stackctl.net import nftexpr as x
from stackctl.net.netlink import Request
from stackctl.net.nft import IFNAME, INET_PROTO, INET_SERVICE, IPV4_ADDR, Table, element

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}

_RAW, _DSTNAT, _FILTER, _SRCNAT = -300, -100, 0, 100
_LOOPBACK = (b"\x7f\0\0\0", b"\xff\0\0\0")


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkWalls:
    """What the table needs to know of one network. `subnet` as "10.4.0.0/22"."""

    bridge: str
    subnet: str
    internal: bool = False
    masquerade: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """A host port led to a container. `host_ip` "" or "0.0.0.0" is every address."""

    protocol: str
    host_ip: str
    host_port: int
    address: str
    port: int


def _bounds(subnet: str) -> tuple[int, int]:
    network = ipaddress.IPv4Network(subnet)
    return int(network.network_address), int(network.broadcast_address)


def _network_elements(walls: NetworkWalls) -> dict[str, list[bytes]]:
    """The elements of one network, by set."""
    name = nft.ifname(walls.bridge)
    subnet = nft.interval(*_bounds(walls.subnet), 4)
    found = {
        "bridges": [element(name)],
        "local": [element(name + name)],
        "subnets": subnet,
    }
    if walls.internal:
        found["internal"] = [element(name)]
        found["guarded"] = subnet
    elif walls.masquerade:
        found["guarded"] = subnet
        found["outgoing"] = subnet
    return found


def _forward_element(forward: Forward, *, delete: bool = False) -> tuple[str, bytes]:
    """(map, element) of one published port."""
    protocol = bytes((PROTOCOLS[forward.protocol],))
    key = nft.join(protocol, nft.port(forward.host_port))
    address = ipaddress.IPv4Address(forward.address).packed
    target = None if delete else nft.join(address, nft.port(forward.port))
    if forward.host_ip in ("", "0.0.0.0"):
        return "any", element(key, target)
    host = ipaddress.IPv4Address(forward.host_ip).packed
    return "at", element(host + key, target)


class EngineTable:
    """The wanted contents of one engine's table. No I/O."""

    def __init__(self, name: str) -> None:
        self.table = Table(nft.FAMILY_IP, name)
        self.networks: dict[str, NetworkWalls] = {}
        self.forwards: dict[tuple[str, str, int], Forward] = {}

    @property
    def is_empty(self) -> bool:
        return not self.networks and not self.forwards

    def add_network(self, walls: NetworkWalls) -> list[Request]:
        requests = self.remove_network(walls.bridge)
        self.networks[walls.bridge] = walls
        return requests + self._network_requests(walls, delete=False)

    def remove_network(self, bridge: str) -> list[Request]:
        walls = self.networks.pop(bridge, None)
        return self._network_requests(walls, delete=True) if walls else []

    def _network_requests(self, walls: NetworkWalls, *, delete: bool) -> list[Request]:
        requests = []
        for name, elements in _network_elements(walls).items():
            requests += self.table.elements(name, elements, delete=delete)
        return requests

    def add_forwards(self, forwards: Iterable[Forward]) -> list[Request]:
        new = list(forwards)
        requests = self.remove_forwards(new)
        for forward in new:
            self.forwards[_key(forward)] = forward
        return requests + self._forward_requests(new, delete=False)

    def remove_forwards(self, forwards: Iterable[Forward]) -> list[Request]:
        """Unknown ones are no mistake."""
        gone = [f for f in (self.forwards.pop(_key(f), None) for f in forwards) if f]
        return self._forward_requests(gone, delete=True)

    def _forward_requests(self, forwards: Iterable[Forward], *, delete: bool) -> list[Request]:
        pages: dict[str, list[bytes]] = {}
        for forward in forwards:
            name, item = _forward_element(forward, delete=delete)
            pages.setdefault(name, []).append(item)
        requests = []
        for name, items in pages.items():
            requests += self.table.elements(name, items, delete=delete)
        return requests

    def clear(self) -> None:
        """Nothing is wanted any more."""
        self.networks.clear()
        self.forwards.clear()

    def removal(self) -> list[Request]:
        """Takes the table away; right also when there is none."""
        return [self.table.create(), self.table.delete()]

    def whole(self) -> list[Request]:
        """Replaces the table, whatever it was, by the wanted one: one atomic batch."""
        requests = [*self.removal(), self.table.create(), *_skeleton(self.table)]
        for walls in self.networks.values():
            requests += self._network_requests(walls, delete=False)
        return requests + self._forward_requests(self.forwards.values(), delete=False)


def _key(forward: Forward) -> tuple[str, str, int]:
    return forward.protocol, forward.host_ip or "0.0.0.0", forward.host_port


def _skeleton(table: Table) -> list[Request]:
    """Sets, chains and rules, without elements."""
    target = IPV4_ADDR + INET_SERVICE
    sets = [
        table.set("bridges", IFNAME, number=1),
        table.set("internal", IFNAME, number=2),
        table.set("local", IFNAME + IFNAME, number=3),
        table.set("subnets", IPV4_ADDR, interval=True, number=4),
        table.set("guarded", IPV4_ADDR, interval=True, number=5),
        table.set("outgoing", IPV4_ADDR, interval=True, number=6),
        table.set("any", INET_PROTO + INET_SERVICE, target, number=7),
        table.set("at", IPV4_ADDR + INET_PROTO + INET_SERVICE, target, number=8),
    ]
    chains = [
        table.chain("outside", "filter", nft.HOOK_PREROUTING, _RAW),
        table.chain("between", "filter", nft.HOOK_FORWARD, _FILTER),
        table.chain("arriving", "nat", nft.HOOK_PREROUTING, _DSTNAT),
        table.chain("own", "nat", nft.HOOK_OUTPUT, _DSTNAT),
        table.chain("leaving", "nat", nft.HOOK_POSTROUTING, _SRCNAT),
    ]
    return sets + chains + _filter_rules(table) + _nat_rules(table)


def _filter_rules(table: Table) -> list[Request]:
    into, out_of = x.meta(x.META_IIFNAME), x.meta(x.META_OIFNAME)
    from_us = (into, x.in_set("bridges"))
    both = (into, x.meta(x.META_OIFNAME, x.PARTS + 4), x.in_set("local"))
    loopback_target = (x.daddr4(), x.masked(_LOOPBACK[1]), x.equal(_LOOPBACK[0]))
    return [
        # route_localnet makes a bridge accept 127.0.0.0/8: only for answers, which
        # carry the bridge's address here. A container's own packet must not pass.
        table.rule("outside", [*from_us, *loopback_target, x.drop()]),
        table.rule("outside", [*from_us, x.accept()]),
        table.rule("outside", [into, x.equal(nft.ifname("lo")), x.accept()]),
        table.rule("outside", [x.daddr4(), x.in_set("guarded"), x.drop()]),
        # bridge-nf-call-iptables shows us frames within one bridge, too.
        table.rule("between", [*both, x.accept()]),
        table.rule("between", [into, x.in_set("internal"), x.drop()]),
        table.rule("between", [out_of, x.in_set("internal"), x.drop()]),
        table.rule("between", [*x.ct_state(x.CT_ESTABLISHED | x.CT_RELATED), x.accept()]),
        table.rule(
            "between",
            [out_of, x.in_set("bridges"), *x.ct_status(x.CT_STATUS_DNAT), x.accept()],
        ),
        table.rule("between", [out_of, x.in_set("bridges"), x.drop()]),
    ]


def _nat_rules(table: Table) -> list[Request]:
    to_us = (x.meta(x.META_OIFNAME), x.in_set("bridges"))
    elsewhere = (x.meta(x.META_OIFNAME), x.in_set("bridges", inverted=True))
    p = x.PARTS
    protocol_port = (x.meta(x.META_L4PROTO, p), x.dport(p + 1))
    at = (x.daddr4(p), x.meta(x.META_L4PROTO, p + 1), x.dport(p + 2))
    target = (x.REG, x.dnat4(x.REG, p + 1))
    by_any = (*x.daddr_is_local(), *protocol_port, x.from_map("any"), target[1])
    by_address = (*x.daddr_is_local(), *at, x.from_map("at"), target[1])
    loopback_target = (x.daddr4(), x.masked(_LOOPBACK[1]), x.equal(_LOOPBACK[0]))
    loopback_source = (x.saddr4(), x.masked(_LOOPBACK[1]), x.equal(_LOOPBACK[0]))
    from_inside = (x.saddr4(), x.in_set("subnets"))
    translated = x.ct_status(x.CT_STATUS_DNAT)
    return [
        # A neighbour may address a frame for 127.0.0.1 to us: translated before the
        # kernel's check for martians it would reach what is published on loopback.
        table.rule("arriving", [*loopback_target, x.leave()]),
        table.rule("arriving", by_address),
        table.rule("arriving", by_any),
        table.rule("own", by_address),
        table.rule("own", by_any),
        table.rule("leaving", [*to_us, *loopback_source, x.masquerade()]),
        # From a container to a published port, maybe its own: the answer must come
        # back through us, not straight over the bridge.
        table.rule("leaving", [*to_us, *from_inside, *translated, x.masquerade()]),
        table.rule("leaving", [*elsewhere, x.saddr4(), x.in_set("outgoing"), x.masquerade()]),
    ]
