"""rtnetlink's rare messages, coded by pyroute2: dumps and the making of bridges.

The only file that knows pyroute2. Its package imports everything it has (163
modules, 110 ms, 13 MB more than asyncio needs anyway) for any part of it; the
message classes alone take 11 ms and 2 MB, so the package is entered beside its
__init__. Messages on the path of every container are packed by hand in
`endpoint`: pyroute2's encoder takes longer than the kernel does.
"""

from __future__ import annotations

import importlib
import importlib.util
import ipaddress
import socket
import struct
import sys
import types
from typing import Any

from stackctl.model.addressing import AnyNetwork
from stackctl.net.netlink import NLM_F_CREATE, NLM_F_EXCL, NetlinkSocket, Request
from stackctl.values import dataclass

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_GETROUTE = 24, 26
RTM_NEWNEIGH = 28
RTM_NEWNETCONF = 80

_IFF_UP = 1
#: A route with a prefix so short, or shorter, is to a range and not to a network.
_WIDE: dict[int, int] = {socket.AF_INET: 16, socket.AF_INET6: 48}
_MAIN_TABLE = 254


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface. `kind` is "bridge", "veth"... or "" (hardware, lo)."""

    index: int
    name: str
    kind: str
    mac: str
    mtu: int
    #: Index of the bridge it is a port of; 0 for none.
    master: int
    up: bool
    #: Interface group.
    group: int


@dataclass(frozen=True, slots=True)
class Address:
    index: int
    #: With prefix length.
    address: str


@dataclass(frozen=True, slots=True)
class Route:
    """`destination` is a network; the default route is 0.0.0.0/0. `index` 0: several ways."""

    destination: str
    gateway: str
    index: int


def _codec(name: str) -> Any:
    """A module of pyroute2.netlink.rtnl, without the rest of the package."""
    if "pyroute2" not in sys.modules:
        spec = importlib.util.find_spec("pyroute2")
        if spec is not None and spec.submodule_search_locations:
            package = types.ModuleType("pyroute2")
            package.__path__ = list(spec.submodule_search_locations)
            package.__spec__ = spec
            sys.modules["pyroute2"] = package
    return importlib.import_module(f"pyroute2.netlink.rtnl.{name}")


def load() -> None:
    """Imports the codecs now instead of at their first use."""
    for name in ("ifinfmsg", "ifaddrmsg", "rtmsg"):
        _codec(name)


def _decoded(link: NetlinkSocket, kind: int, header: bytes, codec: Any) -> list[Any]:
    found = []
    for message in link.dump(Request(kind, 0, header, "dump")):
        length = 16 + len(message.body)
        data = struct.pack("=IHHII", length, message.kind, 0, 0, 0) + message.body
        item = codec(data)
        item.decode()
        found.append(item)
    return found


def links(link: NetlinkSocket) -> list[Link]:
    """Every interface of the socket's network namespace."""
    codec = _codec("ifinfmsg").ifinfmsg
    result = []
    for item in _decoded(link, RTM_GETLINK, struct.pack("=BxHiII", 0, 0, 0, 0, 0), codec):
        info = item.get_attr("IFLA_LINKINFO")
        result.append(
            Link(
                item["index"],
                item.get_attr("IFLA_IFNAME") or "",
                (info.get_attr("IFLA_INFO_KIND") if info else "") or "",
                item.get_attr("IFLA_ADDRESS") or "",
                item.get_attr("IFLA_MTU") or 0,
                item.get_attr("IFLA_MASTER") or 0,
                bool(item["flags"] & _IFF_UP),
                item.get_attr("IFLA_GROUP") or 0,
            )
        )
    return result


def addresses(link: NetlinkSocket, family: int = socket.AF_INET) -> list[Address]:
    codec = _codec("ifaddrmsg").ifaddrmsg
    header = struct.pack("=BBBBI", family, 0, 0, 0, 0)
    return [
        Address(item["index"], f"{item.get_attr('IFA_ADDRESS')}/{item['prefixlen']}")
        for item in _decoded(link, RTM_GETADDR, header, codec)
    ]


def routes(link: NetlinkSocket, family: int = socket.AF_INET) -> list[Route]:
    """The routes of every table but the local one (those are the machine's own addresses)."""
    codec = _codec("rtmsg").rtmsg
    header = struct.pack("=BBBBBBBBI", family, 0, 0, 0, 0, 0, 0, 0, 0)
    unspecified = "0.0.0.0" if family == socket.AF_INET else "::"
    result = []
    for item in _decoded(link, RTM_GETROUTE, header, codec):
        if item.get_attr("RTA_TABLE") == 255:
            continue
        destination = f"{item.get_attr('RTA_DST') or unspecified}/{item['dst_len']}"
        gateway = item.get_attr("RTA_GATEWAY") or ""
        result.append(Route(destination, gateway, item.get_attr("RTA_OIF") or 0))
    return result


def new_bridge(name: str, mac: str, mtu: int = 0, group: int = 0) -> Request:
    """A request for a bridge that forwards at once: no spanning tree, no delay.

    A MAC address of its own: else it takes the lowest of its ports' and changes
    with every container, and neighbours' ARP entries go stale.
    """
    options = [
        ("IFLA_BR_STP_STATE", 0),
        ("IFLA_BR_FORWARD_DELAY", 0),
        # No querier is in a container network: snooping would only lose groups.
        ("IFLA_BR_MCAST_SNOOPING", 0),
    ]
    message = _codec("ifinfmsg").ifinfmsg()
    message["attrs"] = [("IFLA_IFNAME", name), ("IFLA_ADDRESS", mac), ("IFLA_GROUP", group)]
    if mtu:
        message["attrs"].append(("IFLA_MTU", mtu))
    info = {"attrs": [("IFLA_INFO_KIND", "bridge"), ("IFLA_INFO_DATA", {"attrs": options})]}
    message["attrs"].append(("IFLA_LINKINFO", info))
    message.encode()
    body = bytes(message.data)[16:]
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, f"add bridge {name}")


def networks_in_use(
    link: NetlinkSocket, family: int = socket.AF_INET
) -> tuple[list[AnyNetwork], list[AnyNetwork]]:
    """(near, far): what the machine has an address in or routes, without the default route.

    Far is what is routed as a whole range and may hold nobody at all: a tunnel's 0.0.0.0/1
    and 128.0.0.0/1 (a default route by another name), a company's 10.0.0.0/8.
    """
    own = {ipaddress.ip_network(a.address, strict=False) for a in addresses(link, family)}
    routed = {ipaddress.ip_network(r.destination) for r in routes(link, family)} - own
    widest = _WIDE[family]
    near = own | {n for n in routed if n.prefixlen > widest}
    far = {n for n in routed if 0 < n.prefixlen <= widest}
    return list(near), list(far)
