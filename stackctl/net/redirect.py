"""The rules inside a container's network namespace: port 53 of 127.0.0.11 to the keeper.

Stateless: the port is rewritten in the packet, both ways, as it arrives at the
loopback interface. Next to translation (nat) that spares the namespace its connection
tracking; next to a chain on output, everything that is no loopback traffic pays nothing.
"""

from __future__ import annotations

import socket
from functools import cache

from stackctl.net import nft
from stackctl.net import nftexpr as x
from stackctl.net.keeper.resolver import ADDRESS
from stackctl.net.netlink import Request
from stackctl.net.nft import Table

TABLE = "stackctl-dns"
#: (protocol, offset of its checksum)
_TRANSPORTS = ((17, 6), (6, 16))
_IP = b"\x08\x00"


def requests(port: int) -> list[Request]:
    """Leads queries to the resolver's own port, and makes its answers come from 53."""
    table = Table(nft.FAMILY_NETDEV, TABLE)
    address, dns, ours = socket.inet_aton(ADDRESS), nft.port(53), nft.port(port)
    made = [table.create(), table.ingress("arriving", "lo")]
    is_ipv4 = (x.meta(x.META_PROTOCOL), x.equal(_IP))
    for protocol, checksum in _TRANSPORTS:
        of_protocol = (x.meta(x.META_L4PROTO), x.equal(bytes((protocol,))))
        made += [
            table.rule(
                "arriving",
                [
                    *(*is_ipv4, x.daddr4(), x.equal(address)),
                    *(*of_protocol, x.dport(), x.equal(dns)),
                    *(x.immediate(ours), x.set_dport(checksum)),
                ],
            ),
            table.rule(
                "arriving",
                [
                    *(*is_ipv4, x.saddr4(), x.equal(address)),
                    *(*of_protocol, x.sport(), x.equal(ours)),
                    *(x.immediate(dns), x.set_sport(checksum)),
                ],
            ),
        ]
    return made


@cache
def blobs(port: int) -> tuple[bytes, ...]:
    """What to send, one send each, on a NETLINK_NETFILTER socket in the new namespace."""
    return (nft.encode_batch(requests(port)),)
