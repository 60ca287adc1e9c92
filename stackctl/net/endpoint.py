"""A container's interface: a veth pair from its network namespace to a bridge.

Everything is sent from two sockets: one that is opened inside the container's
namespace (the only reason for which the thread goes there) and the host's.

    inside   no IPv6 by default; veth made here under its final name and MAC address,
             its other end directly in the host's namespace; lo up, veth up,
             address, default route
    host     no IPv6 on our end; port of the bridge; up; hairpin

Messages are packed by hand: this is on the path of every start.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from stackctl.linux import ns
from stackctl.net import rtnl
from stackctl.net.bridge import (
    IFLA_IFNAME,
    add_address,
    forbid_ipv6,
    link_header,
    link_up,
    write_setting,
)
from stackctl.net.netlink import (
    NETLINK_ROUTE,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NetlinkSocket,
    Request,
    attr,
    nested,
    text,
    u8,
    u32,
)

_IFLA_ADDRESS, _IFLA_MTU, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 1, 4, 10, 18, 28
_INFO_KIND, _INFO_DATA, _INFO_SLAVE_KIND, _INFO_SLAVE_DATA = 1, 2, 4, 5
_VETH_PEER = 1
_BRPORT_HAIRPIN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """One veth pair to make. `host_name` is our end, `name` the container's.

    `gateway` "" makes no default route. `address` has a prefix length.
    """

    bridge: str
    host_name: str
    name: str
    mac: str
    address: str
    gateway: str = ""
    mtu: int = 0
    #: Of default routes the one with the lowest metric is used.
    metric: int = 0


def _new_veth(wire: Wire, home: int) -> Request:
    mtu = u32(_IFLA_MTU, wire.mtu) if wire.mtu else b""
    peer = link_header() + text(IFLA_IFNAME, wire.host_name) + u32(_IFLA_NET_NS_FD, home) + mtu
    body = (
        link_header()
        + text(IFLA_IFNAME, wire.name)
        + attr(_IFLA_ADDRESS, bytes.fromhex(wire.mac.replace(":", "")))
        + mtu
        + nested(
            _IFLA_LINKINFO,
            text(_INFO_KIND, "veth"),
            nested(_INFO_DATA, attr(_VETH_PEER, peer)),
        )
    )
    what = f"add veth {wire.host_name} ({wire.name})"
    return Request(rtnl.RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, what)


def _default_route(wire: Wire, index: int) -> Request:
    # table main, protocol static (boot is 3), scope universe, type unicast
    header = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 254, 4, 0, 1, 0)
    body = header + attr(5, socket.inet_aton(wire.gateway)) + u32(4, index)
    if wire.metric:
        body += u32(6, wire.metric)
    what = f"default route by {wire.gateway}"
    return Request(rtnl.RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, body, what)


def _hairpin(name: str) -> Request:
    # A packet that br_netfilter translated back to its sender leaves where it came in.
    data = nested(_INFO_SLAVE_DATA, u8(_BRPORT_HAIRPIN, 1))
    info = nested(_IFLA_LINKINFO, text(_INFO_SLAVE_KIND, "bridge"), data)
    body = link_header() + text(IFLA_IFNAME, name) + info
    return Request(rtnl.RTM_NEWLINK, 0, body, f"hairpin on {name}")


def attach(link: NetlinkSocket, pid: int, wires: Sequence[Wire], home: int) -> None:
    """Makes the wires in the network namespace of process `pid`; lo comes up in any case.

    `home` is a descriptor of the host's namespace, which `link` is in. On an
    error the ends that exist already stay: the caller removes them by name.
    """
    there = ns.open_netns(pid)
    try:
        with ns.in_netns(there, home):
            _inside(wires, home)
    finally:
        os.close(there)
    requests = []
    for wire in wires:
        forbid_ipv6(wire.host_name)
        master = u32(_IFLA_MASTER, socket.if_nametoindex(wire.bridge))
        requests += [link_up(wire.host_name, 0, master), _hairpin(wire.host_name)]
    link.request(requests)


def _inside(wires: Sequence[Wire], home: int) -> None:
    try:
        # New interfaces only: lo keeps ::1, as programs expect.
        write_setting("ipv6/conf/default/disable_ipv6", "1")
    except FileNotFoundError:
        pass  # a kernel without IPv6
    with NetlinkSocket(NETLINK_ROUTE) as link:
        requests = [link_up("", 1)]
        for wire in wires:
            requests += [_new_veth(wire, home), link_up(wire.name)]
        link.request(requests)
        requests = []
        for wire in wires:
            index = socket.if_nametoindex(wire.name)
            requests.append(add_address(index, wire.address, f"address {wire.address}"))
            if wire.gateway:
                requests.append(_default_route(wire, index))
        link.request(requests)


def plug(link: NetlinkSocket, host_name: str, bridge: str) -> None:
    """Makes our end of an existing wire a port of a bridge (again)."""
    master = u32(_IFLA_MASTER, socket.if_nametoindex(bridge))
    link.request([link_up(host_name, 0, master), _hairpin(host_name)])
