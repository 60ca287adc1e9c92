"""What of the kernel's news about interfaces wakes the engine: a filter that the kernel runs.

Each start and stop of a container is some ten messages about its interface, of which none
is news to us. What passes: an interface that is gone or down or has no mark of our bridges,
if it is none of our ends of containers' wires; an address that was taken away; forwarding
switched off. Classic BPF
with the extension that finds a netlink attribute (Documentation/networking/filter.rst,
SKF_AD_NLATTR). Loads are in network byte order, netlink in the machine's.
"""

from __future__ import annotations

import socket
import struct
import sys

from stackctl.net import rtnl
from stackctl.net.bridge import IFLA_GROUP, IFLA_IFNAME
from stackctl.net.marks import Marks

_LOAD_HALF, _LOAD_BYTE, _LOAD_WORD = 0x28, 0x30, 0x20
_LOAD_NUMBER, _LOAD_X_NUMBER, _LOAD_AT_X = 0x00, 0x01, 0x40
_IF_EQUAL, _IF_BIT, _A_TO_X, _RETURN = 0x15, 0x45, 0x07, 0x06
_FIND_ATTRIBUTE = 0xFFFFF000 + 12
_NETCONFA_FORWARDING = 2
#: Offsets: nlmsg_type; ifi_flags' lowest byte; attributes behind ifinfomsg and netconfmsg.
_TYPE = 4
_FLAGS = 24 if sys.byteorder == "little" else 27
_LINK_ATTRIBUTES, _NETCONF_ATTRIBUTES = 32, 20
_IFF_UP = 1
_PASS, _DROP = 0xFFFFFFFF, 0


#: (label, code, target if true, target if false, number); "" is the next one.
Line = tuple[str, int, str, str, int]


def _attribute(label: str, first: int, kind: int) -> list[Line]:
    """Loads the first word of an attribute; a message without it is dropped.

    `first` is the offset of the first attribute.
    """
    return [
        (label, _LOAD_NUMBER, "", "", first),
        ("", _LOAD_X_NUMBER, "", "", kind),
        ("", _LOAD_WORD, "", "", _FIND_ATTRIBUTE),
        ("", _IF_EQUAL, "drop", "", 0),
        ("", _A_TO_X, "", "", 0),
        ("", _LOAD_AT_X, "", "", 4),
    ]


def program(veths: str, marks: Marks) -> bytes:
    """Struct sock_filter, 8 bytes each. `veths` begins the names of our ends of wires."""
    start = int.from_bytes(veths.encode()[:4].ljust(4, b"\0"))
    lines: list[Line] = [
        ("", _LOAD_HALF, "", "", _TYPE),
        ("", _IF_EQUAL, "netconf", "", socket.htons(rtnl.RTM_NEWNETCONF)),
        ("", _IF_EQUAL, "pass", "", socket.htons(rtnl.RTM_DELADDR)),
        ("", _IF_EQUAL, "link", "", socket.htons(rtnl.RTM_DELLINK)),
        ("", _IF_EQUAL, "", "drop", socket.htons(rtnl.RTM_NEWLINK)),
        ("", _LOAD_BYTE, "", "", _FLAGS),
        ("", _IF_BIT, "", "link", _IFF_UP),
        *_attribute("", _LINK_ATTRIBUTES, IFLA_GROUP),
        ("", _IF_EQUAL, "drop", "", socket.htonl(marks.open)),
        ("", _IF_EQUAL, "drop", "", socket.htonl(marks.internal)),
        *_attribute("link", _LINK_ATTRIBUTES, IFLA_IFNAME),
        ("", _IF_EQUAL, "drop", "pass", start),
        *_attribute("netconf", _NETCONF_ATTRIBUTES, _NETCONFA_FORWARDING),
        ("", _IF_EQUAL, "pass", "drop", 0),
        ("pass", _RETURN, "", "", _PASS),
        ("drop", _RETURN, "", "", _DROP),
    ]
    places = {label: place for place, (label, *_) in enumerate(lines) if label}

    def distance(target: str, place: int) -> int:
        return places[target] - place - 1 if target else 0

    return b"".join(
        struct.pack("=HBBI", code, distance(true, place), distance(false, place), number)
        for place, (_, code, true, false, number) in enumerate(lines)
    )
