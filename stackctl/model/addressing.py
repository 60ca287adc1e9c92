"""What may stand for an interface, a MAC address, a subnet, an option of a bridge.

Pure questions that a stack file is asked when it is read, and a network and an
endpoint when they are made, whoever asks for them. Each `..._problem` gives what is
wrong, as the end of a sentence that begins with the value; "" is fine.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import TypeAlias

_BRIDGE = "com.docker.network.bridge"
MTU = "com.docker.network.driver.mtu"
MASQUERADE = f"{_BRIDGE}.enable_ip_masquerade"
ICC = f"{_BRIDGE}.enable_icc"
BRIDGE_NAME = f"{_BRIDGE}.name"
BINDING = f"{_BRIDGE}.host_binding_ipv4"
GATEWAY_MODES = (f"{_BRIDGE}.gateway_mode_ipv4", f"{_BRIDGE}.gateway_mode_ipv6")

#: Of an endpoint: what its interface is called, and the kernel's settings for it.
ENDPOINT_NAME = "com.docker.network.endpoint.ifname"
ENDPOINT_SETTINGS = "com.docker.network.endpoint.sysctls"

#: An interface name's length in the kernel, without its end (IFNAMSIZ).
_NAME_LENGTH = 15
#: lo is there already; the others mean something to the kernel's settings.
_TAKEN_NAMES = ("lo", "all", "default", ".", "..")
#: ETH_MIN_MTU and ETH_MAX_MTU (include/uapi/linux/if_ether.h).
_MTUS = range(68, 65536)
#: Less than this and an interface has no IPv6 (RFC 8200, 5).
LEAST_MTU6 = 1280

#: In a setting's name: the interface, whatever it is called.
_INTERFACE = "IFNAME"
_LINK_LOCAL = {4: 16, 6: 64}

AnyNetwork: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"


def interface_problem(name: str) -> str:
    odd = any(c.isspace() or c in "/:%" or not c.isprintable() for c in name)
    if not name or odd or len(name.encode()) > _NAME_LENGTH or name in _TAKEN_NAMES:
        return (
            f"cannot be an interface's name (at most {_NAME_LENGTH} characters, no space, / or :)"
        )
    return ""


def mac_problem(mac: str) -> str:
    if not re.fullmatch(r"([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}", mac):
        return "is not a MAC address such as 02:42:ac:11:00:02"
    first = int(mac[:2], 16)
    if first & 1:
        return "is a group's address, not an interface's"
    return "is nobody's address" if not int(mac.replace(":", ""), 16) else ""


def option_problem(option: str, value: str) -> str:
    """Of a network's driver options; those that are not known here are fine."""
    if option == MTU and (not value.isdecimal() or int(value) not in (0, *_MTUS)):
        return f"is no MTU: {_MTUS.start} to {_MTUS.stop - 1}"
    if option in (MASQUERADE, ICC) and value.lower() not in ("true", "false", "1", "0"):
        return "must be true or false"
    if option in GATEWAY_MODES and value not in ("", "nat"):
        return "is not supported: a network is masqueraded (nat), or `internal`"
    if option == BRIDGE_NAME and value:
        return interface_problem(value)
    if option == BINDING and value:
        try:
            ipaddress.IPv4Address(value)
        except ValueError:
            return "is not an IPv4 address"
    return ""


def subnet_problem(subnet: AnyNetwork) -> str:
    if subnet.is_multicast or subnet.is_loopback:
        return "is for groups or for loopback, not for a network"
    return ""


def address_problem(address: str, subnet: AnyNetwork) -> str:
    """Of an address of `subnet` that somebody is to have."""
    number = ipaddress.ip_address(address)
    if number == subnet.network_address:
        return f"is the subnet {subnet} itself"
    if subnet.version == 4 and number == subnet.broadcast_address:
        return f"is the broadcast address of {subnet}"
    return ""


def usual_gateway(subnet: AnyNetwork, spoken_for: Iterable[str] = ()) -> str:
    """The gateway of a subnet for which none is named: the first address that is not an auxiliary
    one (`spoken_for`); "" when none is left."""
    taken = {ipaddress.ip_address(address) for address in spoken_for if address}
    if subnet.version == 4:
        taken.add(subnet.broadcast_address)
    # Among one more than the taken ones there is a free one, if there is any.
    for number in range(1, min(subnet.num_addresses, len(taken) + 2)):
        if subnet[number] not in taken:
            return str(subnet[number])
    return ""


def link_local(address: str) -> str:
    """A link-local address with its prefix length. ValueError says what is wrong."""
    number = ipaddress.ip_address(address)
    if not number.is_link_local:
        raise ValueError(f'"{address}" is not a link-local address (169.254.0.0/16, fe80::/10)')
    return f"{number}/{_LINK_LOCAL[number.version]}"


def interface_settings(text: str) -> tuple[tuple[str, str], ...]:
    """`net.ipv4.conf.IFNAME.rp_filter=2,...` -> (("ipv4/conf/IFNAME/rp_filter", "2"), ...).

    Nothing but settings of the interface itself can be said. ValueError says what is wrong.
    """
    found = []
    for item in filter(None, map(str.strip, text.split(","))):
        name, equals, value = item.partition("=")
        parts = name.split(".")
        plain = all(p and p.replace("_", "").replace("-", "").isalnum() for p in parts)
        if not (
            equals
            and plain
            and name.isascii()
            and len(parts) == 5
            and parts[0] == "net"
            and parts[1] in ("ipv4", "ipv6", "mpls")
            and parts[3] == _INTERFACE
        ):
            raise ValueError(f'"{item}" is no setting such as net.ipv4.conf.IFNAME.rp_filter=2')
        found.append(("/".join(parts[1:]), value))
    return tuple(found)


def setting_path(path: str, interface: str) -> str:
    """The file, below /proc/sys/net, of a setting of an interface."""
    return "/".join(interface if p == _INTERFACE else p for p in path.split("/"))
