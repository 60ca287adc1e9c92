"""Bridges in the kernel: made, configured, found, removed.

The engine's interfaces carry its tag in their names; nothing else is ever
touched. Many are removed at once through an interface group: one removal waits
for the kernel's grace period (10 to 20 ms), and so does a whole group.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable, Sequence

from stackctl.net import rtnl
from stackctl.net.netlink import (
    NLM_F_CREATE,
    NLM_F_REPLACE,
    NetlinkSocket,
    Request,
    attr,
    text,
    u32,
)

IFLA_IFNAME = 3
IFLA_GROUP = 27
_IFF_UP = 1
_IFA_F_NODAD = 2


def link_header(index: int = 0, flags: int = 0, change: int = 0) -> bytes:
    """struct ifinfomsg."""
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, flags, change)


def link_up(name: str = "", index: int = 0, *extra: bytes) -> Request:
    """Sets an interface (by name, or by index) up."""
    named = text(IFLA_IFNAME, name) if name else b""
    body = link_header(index, _IFF_UP, _IFF_UP) + named + b"".join(extra)
    return Request(rtnl.RTM_NEWLINK, 0, body, f"set {name or index} up")


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def add_address(index: int, address: str, what: str) -> Request:
    """Adds an address with prefix length to an interface; present already is fine."""
    host, _, prefix = address.partition("/")
    family = family_of(host)
    packed = socket.inet_pton(family, host)
    # Nobody else has it: it is leased. Without the flag it could be used a second later.
    flags = _IFA_F_NODAD if family == socket.AF_INET6 else 0
    body = struct.pack("=BBBBI", family, int(prefix), flags, 0, index)
    body += attr(2, packed) + attr(1, packed)
    return Request(rtnl.RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, body, what, (errno.EEXIST,))


def write_setting(path: str, value: str) -> None:
    """Writes a file below /proc/sys/net: of the calling thread's network namespace."""
    with open(f"/proc/sys/net/{path}", "w") as file:
        file.write(value)


def forbid_ipv6(name: str) -> None:
    """No IPv6 on this interface, not even a link-local address. Before it goes up."""
    try:
        write_setting(f"ipv6/conf/{name}/disable_ipv6", "1")
    except FileNotFoundError:
        pass  # a kernel without IPv6


def allow_ipv6(name: str) -> None:
    """IPv6 on this interface, with what we give it only: nobody's advertisements."""
    for setting, value in (("accept_ra", "0"), ("accept_dad", "0"), ("disable_ipv6", "0")):
        write_setting(f"ipv6/conf/{name}/{setting}", value)


def make_bridge(
    link: NetlinkSocket,
    name: str,
    gateways: Sequence[str],
    mac: str,
    *,
    mtu: int = 0,
    group: int = 0,
) -> None:
    """A bridge that is up, with `gateways` ("10.4.0.1/22", "fd00::1/64") as its addresses.

    Right also when it exists: what is missing is added. `group`: its interface group.
    """
    try:
        link.request([rtnl.new_bridge(name, mac, mtu, group)])
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
    if any(":" in gateway for gateway in gateways):
        allow_ipv6(name)
    else:
        forbid_ipv6(name)
    # Connections to 127.0.0.1 are led here, and their answers come back here.
    write_setting(f"ipv4/conf/{name}/route_localnet", "1")
    index = socket.if_nametoindex(name)
    requests = [add_address(index, g, f"address {g} on {name}") for g in gateways]
    link.request([*requests, link_up(name, 0, u32(IFLA_GROUP, group))])


def remove_links(link: NetlinkSocket, names: Iterable[str], group: int) -> None:
    """Removes interfaces by name, all with one wait; absent ones are no mistake.

    `group` is an interface group number that is the engine's own: everything in
    it is removed.
    """
    absent = (errno.ENODEV,)
    doomed = [
        Request(
            rtnl.RTM_SETLINK,
            0,
            link_header() + text(IFLA_IFNAME, name) + u32(IFLA_GROUP, group),
            f"mark {name} for removal",
            absent,
        )
        for name in names
    ]
    if not doomed:
        return
    link.request(doomed)
    body = link_header() + u32(IFLA_GROUP, group)
    link.request([Request(rtnl.RTM_DELLINK, 0, body, "remove interfaces", absent)])
