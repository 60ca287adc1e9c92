"""Who may say what on a bridge: each container only its own addresses.

A table of family bridge looks at every frame that a container sends, before
the bridge learns from it. A frame passes with the MAC address that the port was
given, and as IPv4, ARP or IPv6 with the port's addresses only; router
advertisements and redirects never pass. A port that is not known yet sends
nothing: the rules fail closed. What is sent nearly always is let through by one look
at everything at once; the rules behind it would come to the same.

Where containers are to be kept apart (icc off) they send to the bridge only, beside
asking for addresses. (A port's own flag for that, "isolated", would also stop published
ports: bridge-nf-call-iptables makes the kernel bridge what it translated.)

Sets: usual4, usual6 (port . MAC . ether type . address; not of ports in apart),
macs (port . MAC), v4 (port . address), v6 (port . address), apart (port), uplinks
(port . the bridge's MAC).
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable

from stackctl.net import nft
from stackctl.net import nftexpr as x
from stackctl.net.netlink import Request
from stackctl.net.nft import (
    ETHER,
    ETHER_ADDR,
    IFNAME,
    IPV4_ADDR,
    IPV6_ADDR,
    Table,
    element,
)
from stackctl.values import dataclass

_PRIORITY = -300
_IP, _ARP, _IP6 = 0x0800, 0x0806, 0x86DD
_ICMP6 = 58
_ROUTER_ADVERTISEMENT, _REDIRECT = 134, 137
_NEIGHBOUR_SOLICITATION, _NEIGHBOUR_ADVERTISEMENT = 135, 136
#: The second part of a key: after the 16 bytes of the port's name.
_SECOND = x.PARTS + 4
_SETS = ("usual4", "usual6", "macs", "v4", "v6", "apart", "uplinks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """A port of a bridge and what its container may call itself."""

    port: str
    mac: str
    #: Without prefix length.
    addresses: tuple[str, ...]
    #: The bridge's MAC address if that is all it may send to; else "".
    uplink: str = ""


class StationTable:
    """The wanted contents of the table. No I/O."""

    def __init__(self, name: str, prefix: str) -> None:
        self.table = Table(nft.FAMILY_BRIDGE, name)
        self._prefix = prefix
        #: False: the kernel has no such tables, nothing is sent.
        self.is_possible = True
        self.stations: dict[str, Station] = {}

    def add(self, stations: Iterable[Station]) -> list[Request]:
        new = list(stations)
        requests = self.remove(s.port for s in new)
        self.stations.update({s.port: s for s in new})
        return requests + self._elements(new)

    def remove(self, ports: Iterable[str]) -> list[Request]:
        """Unknown ones are no mistake."""
        gone = [s for s in (self.stations.pop(p, None) for p in ports) if s]
        return self._elements(gone, delete=True)

    def clear(self) -> None:
        self.stations.clear()

    def whole(self) -> list[Request]:
        if not self.is_possible:
            return []
        table = self.table
        made = [table.create(), table.delete(), table.create()]
        made += _skeleton(table, self._prefix)
        return made + self._elements(self.stations.values())

    def _elements(self, stations: Iterable[Station], *, delete: bool = False) -> list[Request]:
        if not self.is_possible:
            return []
        pages: dict[str, list[bytes]] = {name: [] for name in _SETS}
        for station in stations:
            port = nft.ifname(station.port)
            mac = bytes.fromhex(station.mac.replace(":", ""))
            pages["macs"].append(element(port + nft.join(mac)))
            if station.uplink:
                uplink = bytes.fromhex(station.uplink.replace(":", ""))
                pages["apart"].append(element(port))
                pages["uplinks"].append(element(port + nft.join(uplink)))
            for text in station.addresses:
                address = ipaddress.ip_address(text)
                pages[f"v{address.version}"].append(element(port + address.packed))
                if not station.uplink:
                    kind = struct.pack(">H", _IP if address.version == 4 else _IP6)
                    usual = element(port + mac + kind + address.packed)
                    pages[f"usual{address.version}"].append(usual)
        requests = []
        for name, items in pages.items():
            requests += self.table.elements(name, items, delete=delete)
        return requests


def _ether_type(number: int) -> tuple[bytes, ...]:
    return x.ether_type(), x.equal(struct.pack(">H", number))


def _skeleton(table: Table, prefix: str) -> list[Request]:
    port = x.meta(x.META_IIFNAME)
    own_mac = (port, x.ether_saddr(_SECOND))
    sender = (port, x.ether_saddr_type(_SECOND))
    usual4 = (*sender, x.saddr4(_SECOND + 2), x.in_set("usual4"))
    usual6 = (*sender, x.saddr6(_SECOND + 2), x.in_set("usual6"))
    own4 = (port, x.saddr4(_SECOND), x.in_set("v4"))
    own6 = (port, x.saddr6(_SECOND), x.in_set("v6"))
    advertised = (port, x.advertised6(_SECOND), x.in_set("v6", inverted=True))
    icmp6 = (*_ether_type(_IP6), x.meta(x.META_L4PROTO), x.equal(bytes((_ICMP6,))))
    not_icmp6 = (x.meta(x.META_L4PROTO), x.differs(bytes((_ICMP6,))))
    nobody4, nobody6 = x.equal(b"\0" * 4), x.equal(b"\0" * 16)

    def icmp6_type(number: int) -> tuple[bytes, ...]:
        return (*icmp6, x.icmp_type(), x.equal(bytes((number,))))

    def rule(*expressions: bytes) -> Request:
        return table.rule("sending", expressions)

    return [
        table.set("macs", IFNAME + ETHER_ADDR, number=1),
        table.set("v4", IFNAME + IPV4_ADDR, number=2),
        table.set("v6", IFNAME + IPV6_ADDR, number=3),
        table.set("apart", IFNAME, number=4),
        table.set("uplinks", IFNAME + ETHER_ADDR, number=5),
        table.set("usual4", IFNAME + ETHER + IPV4_ADDR, number=6),
        table.set("usual6", IFNAME + ETHER + IPV6_ADDR, number=7),
        table.chain("aside"),
        table.rule("aside", [port, x.ether_daddr(_SECOND), x.in_set("uplinks"), x.leave()]),
        table.rule("aside", [*_ether_type(_ARP), x.leave()]),
        table.rule("aside", [*icmp6_type(_NEIGHBOUR_SOLICITATION), x.leave()]),
        table.rule("aside", [*icmp6_type(_NEIGHBOUR_ADVERTISEMENT), x.leave()]),
        table.rule("aside", [x.drop()]),
        table.chain("sending", "filter", nft.HOOK_PREROUTING, _PRIORITY),
        rule(*usual4, x.accept()),
        rule(port, x.differs(prefix.encode()), x.accept()),
        rule(*own_mac, x.in_set("macs", inverted=True), x.drop()),
        rule(port, x.in_set("apart"), x.jump("aside")),
        rule(*usual6, *not_icmp6, x.accept()),
        rule(*_ether_type(_IP), *own4, x.accept()),
        rule(*_ether_type(_ARP), port, x.arp_sender4(_SECOND), x.in_set("v4"), x.accept()),
        # Asking who has an address before taking it (RFC 5227, RFC 4862) teaches nobody.
        rule(*_ether_type(_ARP), x.arp_sender4(), nobody4, x.accept()),
        rule(*icmp6_type(_ROUTER_ADVERTISEMENT), x.drop()),
        rule(*icmp6_type(_REDIRECT), x.drop()),
        rule(*icmp6_type(_NEIGHBOUR_ADVERTISEMENT), *advertised, x.drop()),
        rule(*_ether_type(_IP6), *own6, x.accept()),
        rule(*icmp6, x.saddr6(), nobody6, x.accept()),
        rule(x.drop()),
    ]
