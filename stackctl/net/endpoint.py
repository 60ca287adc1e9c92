"""A container's interface: a veth pair from its network namespace to a bridge.

Everything is sent from two sockets: one that is opened inside the container's
namespace (the only reason for which the thread goes there) and the host's.

    inside   no IPv6 by default; veth made here under its final name and MAC address,
             its other end directly in the host's namespace; IPv6 if the network has
             it; lo up, veth up, addresses, default routes
    host     no IPv6 on our end; port of the bridge; up; hairpin; its MAC address told

A macvlan or ipvlan interface is made from the host's socket instead, directly in
the container's namespace, and has no end on the host.

Messages are packed by hand: this is on the path of every start.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Sequence

from stackctl.linux import ns
from stackctl.model.addressing import setting_path
from stackctl.net import rtnl
from stackctl.net.bridge import (
    IFLA_IFNAME,
    add_address,
    allow_ipv6,
    family_of,
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
from stackctl.net.options import Trunk
from stackctl.values import dataclass

_IFLA_ADDRESS, _IFLA_MTU, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 1, 4, 10, 18, 28
_INFO_KIND, _INFO_DATA, _INFO_SLAVE_KIND, _INFO_SLAVE_DATA = 1, 2, 4, 5
_VETH_PEER = 1
_BRPORT_HAIRPIN, _BRPORT_LEARNING = 4, 8
_NDA_LLADDR, _NUD_NOARP, _NTF_MASTER = 2, 0x40, 0x04
_IFLA_LINK, _VLAN_MODE = 5, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """One interface to make. `host_name` is our end, `name` the container's.

    `gateways` make default routes. `addresses` have a prefix length.
    """

    bridge: str
    host_name: str
    name: str
    mac: str
    addresses: tuple[str, ...]
    gateways: tuple[str, ...] = ()
    mtu: int = 0
    #: The bridge's MAC address when the container may send to nobody else there; else "".
    uplink: str = ""
    #: Not a veth pair but an interface on a trunk.
    trunk: Trunk | None = None
    #: (path, value), see addressing.interface_settings.
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def has_ipv6(self) -> bool:
        return any(":" in address for address in self.addresses)


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


def new_on_trunk(wire: Wire, trunk: Trunk, there: int) -> Request:
    """A macvlan or ipvlan interface in the namespace that `there` is a descriptor of."""
    mode = (
        u32(_VLAN_MODE, trunk.mode)
        if trunk.kind == "macvlan"
        else attr(_VLAN_MODE, struct.pack("=H", trunk.mode))
    )
    body = link_header() + text(IFLA_IFNAME, wire.name)
    body += u32(_IFLA_LINK, socket.if_nametoindex(trunk.parent)) + u32(_IFLA_NET_NS_FD, there)
    if trunk.kind == "macvlan":  # an ipvlan interface shares its parent's
        body += attr(_IFLA_ADDRESS, bytes.fromhex(wire.mac.replace(":", "")))
    if wire.mtu:
        body += u32(_IFLA_MTU, wire.mtu)
    body += nested(_IFLA_LINKINFO, text(_INFO_KIND, trunk.kind), nested(_INFO_DATA, mode))
    what = f"add {trunk.kind} interface on {trunk.parent}"
    return Request(rtnl.RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, what)


def _default_route(gateway: str, index: int) -> Request:
    # table main, protocol static (boot is 3), scope universe, type unicast
    family = family_of(gateway)
    header = struct.pack("=BBBBBBBBI", family, 0, 0, 0, 254, 4, 0, 1, 0)
    body = header + attr(5, socket.inet_pton(family, gateway)) + u32(4, index)
    what = f"default route by {gateway}"
    return Request(rtnl.RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, body, what)


def _port(wire: Wire) -> list[Request]:
    """Makes our end a port of its bridge, which is told who is there and learns from nobody."""
    name = wire.host_name
    master = u32(_IFLA_MASTER, socket.if_nametoindex(wire.bridge))
    # Hairpin: a packet that br_netfilter translated back to its sender leaves where it came in.
    options = u8(_BRPORT_HAIRPIN, 1) + u8(_BRPORT_LEARNING, 0)
    info = nested(
        _IFLA_LINKINFO, text(_INFO_SLAVE_KIND, "bridge"), nested(_INFO_SLAVE_DATA, options)
    )
    body = link_header() + text(IFLA_IFNAME, name) + info
    # struct ndmsg: an entry of the bridge that stays
    entry = struct.pack(
        "=BxxxiHBB", socket.AF_BRIDGE, socket.if_nametoindex(name), _NUD_NOARP, _NTF_MASTER, 0
    )
    entry += attr(_NDA_LLADDR, bytes.fromhex(wire.mac.replace(":", "")))
    return [
        link_up(name, 0, master),
        Request(rtnl.RTM_NEWLINK, 0, body, f"port {name}"),
        Request(rtnl.RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, entry, f"{wire.mac} at {name}"),
    ]


def attach(link: NetlinkSocket, pid: int, wires: Sequence[Wire], home: int) -> None:
    """Makes the wires in the network namespace of process `pid`; lo comes up in any case.

    `home` is a descriptor of the host's namespace, which `link` is in. On an
    error the ends that exist already stay: the caller removes them by name.
    """
    there = ns.open_netns(pid)
    try:
        link.request([new_on_trunk(w, w.trunk, there) for w in wires if w.trunk])
        with ns.in_netns(there, home):
            _inside(wires, home)
    finally:
        os.close(there)
    requests = []
    for wire in wires:
        if wire.trunk is not None:
            continue
        forbid_ipv6(wire.host_name)
        requests += _port(wire)
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
            if wire.trunk is None:
                requests.append(_new_veth(wire, home))
            if not wire.has_ipv6:
                requests.append(link_up(wire.name))
        link.request(requests)
        for wire in wires:
            if wire.has_ipv6:
                allow_ipv6(wire.name)  # before it goes up: no address is doubted
                link.request([link_up(wire.name)])
            elif wire.trunk is not None:
                forbid_ipv6(wire.name)  # made from outside, where IPv6 is usual
        requests = []
        for wire in wires:
            index = socket.if_nametoindex(wire.name)
            requests += [add_address(index, a, f"address {a}") for a in wire.addresses]
            requests += [_default_route(gateway, index) for gateway in wire.gateways]
        link.request(requests)
    for wire in wires:
        for path, value in wire.settings:
            _set(setting_path(path, wire.name), value)


def _set(path: str, value: str) -> None:
    try:
        write_setting(path, value)
    except OSError as error:
        name = path.replace("/", ".")
        raise OSError(error.errno, f"setting net.{name}={value}: {error.strerror}") from error


def route(pid: int, ways: Sequence[tuple[str, str]], home: int) -> list[str]:
    """Makes (gateway, interface) the default routes in the network namespace of `pid`.

    Gives what could not be made: the container may have set an interface down, or renamed it.
    """
    problems = []
    there = ns.open_netns(pid)
    try:
        with ns.in_netns(there, home), NetlinkSocket(NETLINK_ROUTE) as link:
            for gateway, name in ways:
                try:
                    link.request([_default_route(gateway, socket.if_nametoindex(name))])
                except OSError as error:
                    why = error.strerror or error
                    problems.append(f"no default route by {gateway} on {name}: {why}")
    finally:
        os.close(there)
    return problems


def unplug_inside(pid: int, names: Sequence[str], home: int) -> None:
    """Removes interfaces in the network namespace of `pid`; absent ones are no mistake."""
    there = ns.open_netns(pid)
    absent = (errno.ENODEV,)
    try:
        with ns.in_netns(there, home), NetlinkSocket(NETLINK_ROUTE) as link:
            body = link_header()
            link.request(
                [
                    Request(rtnl.RTM_DELLINK, 0, body + text(IFLA_IFNAME, n), f"remove {n}", absent)
                    for n in names
                ]
            )
    finally:
        os.close(there)


def plug(link: NetlinkSocket, wire: Wire) -> None:
    """Makes our end of an existing wire a port of its bridge (again)."""
    link.request(_port(wire))
