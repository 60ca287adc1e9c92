"""Forgetting connections: only what published UDP ports need.

A UDP sender that never stops keeps its old connection entry alive for ever: its
packets would go to where the port led before. (TCP ends by itself.) Follows
include/uapi/linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Set

from stackctl.net.netlink import NetlinkSocket, Request, attributes, nested

_GET, _DELETE = (1 << 8) | 1, (1 << 8) | 2
_UDP = 17


def forget_udp(link: NetlinkSocket, ports: Set[int]) -> int:
    """Deletes the entries of UDP flows that were sent to one of these ports; gives how many."""
    return sum(_forget(link, ports, family) for family in (socket.AF_INET, socket.AF_INET6))


def _forget(link: NetlinkSocket, ports: Set[int], family: int) -> int:
    header = struct.pack(">BBH", family, 0, 0)
    # ENOENT and the like: no connection tracking in this namespace, nothing to forget.
    request = Request(
        _GET, 0, header, "connections", (errno.ENOENT, errno.EOPNOTSUPP, errno.EINVAL)
    )
    doomed = []
    for message in link.dump(request):
        original = attributes(message.body, 4).get(1, b"")
        protocol = attributes(attributes(original).get(2, b""))
        if protocol.get(1) != bytes((_UDP,)):
            continue
        if int.from_bytes(protocol.get(3, b""), "big") in ports:
            body = header + nested(1, original)
            doomed.append(Request(_DELETE, 0, body, "forget connection", (errno.ENOENT,)))
    link.request(doomed)
    return len(doomed)
