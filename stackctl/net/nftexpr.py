"""The expressions that nftables rules are made of, as bytes for `nft.Table.rule`.

Registers: 1 is the first 16-byte register; 8, 9, 10... are its 32-bit parts, of
which a concatenated key fills one or more a part. Follows
include/uapi/linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import struct

from stackctl.net.netlink import attr, be32, nested, text
from stackctl.values import dataclass

REG_VERDICT = 0
REG = 1
#: The 32-bit parts of the registers; PARTS is part 0 of REG.
PARTS = 8

_DROP, _ACCEPT, _JUMP, _RETURN = 0, 1, -3, -5

META_PROTOCOL, META_L4PROTO, META_NFPROTO = 1, 16, 15
META_IIF, META_IIFNAME, META_OIFNAME, META_IIFGROUP, META_OIFGROUP = 4, 6, 7, 21, 22
_LINK, _NETWORK, _TRANSPORT = 0, 1, 2

CT_ESTABLISHED, CT_RELATED, CT_INVALID = 2, 4, 1
#: enum ip_conntrack_status: this connection's destination was translated.
CT_STATUS_DNAT = 1 << 5
_RTN_LOCAL = 2


def _expression(name: str, *parts: bytes) -> bytes:
    return nested(1, text(1, name), nested(2, *parts))


def meta(key: int, register: int = REG) -> bytes:
    return _expression("meta", be32(1, register), be32(2, key))


def _payload(base: int, offset: int, length: int, register: int) -> bytes:
    return _expression(
        "payload", be32(1, register), be32(2, base), be32(3, offset), be32(4, length)
    )


def saddr4(register: int = REG) -> bytes:
    """The IPv4 source address."""
    return _payload(_NETWORK, 12, 4, register)


def daddr4(register: int = REG) -> bytes:
    return _payload(_NETWORK, 16, 4, register)


def saddr6(register: int = REG) -> bytes:
    """The IPv6 source address."""
    return _payload(_NETWORK, 8, 16, register)


def ether_saddr(register: int = REG) -> bytes:
    """The source MAC address (family bridge only, as the next ones)."""
    return _payload(_LINK, 6, 6, register)


def ether_daddr(register: int = REG) -> bytes:
    return _payload(_LINK, 0, 6, register)


def ether_type(register: int = REG) -> bytes:
    return _payload(_LINK, 12, 2, register)


def ether_saddr_type(register: int = REG) -> bytes:
    """The source MAC address and the type behind it, 8 bytes."""
    return _payload(_LINK, 6, 8, register)


def arp_sender4(register: int = REG) -> bytes:
    """The sender's IPv4 address in an ARP message (RFC 826)."""
    return _payload(_NETWORK, 14, 4, register)


def icmp_type(register: int = REG) -> bytes:
    return _payload(_TRANSPORT, 0, 1, register)


def advertised6(register: int = REG) -> bytes:
    """The target address in a neighbour advertisement (RFC 4861, 4.4)."""
    return _payload(_TRANSPORT, 8, 16, register)


def sport(register: int = REG) -> bytes:
    """The source port; TCP, UDP and SCTP have it at the same place."""
    return _payload(_TRANSPORT, 0, 2, register)


def dport(register: int = REG) -> bytes:
    return _payload(_TRANSPORT, 2, 2, register)


def set_sport(checksum: int, register: int = REG) -> bytes:
    """Writes the source port; `checksum` is the offset of the transport's checksum."""
    return _set_port(0, checksum, register)


def set_dport(checksum: int, register: int = REG) -> bytes:
    return _set_port(2, checksum, register)


def _set_port(offset: int, checksum: int, register: int) -> bytes:
    return _expression(
        "payload",
        be32(5, register),
        be32(2, _TRANSPORT),
        be32(3, offset),
        be32(4, 2),
        be32(6, 1),  # NFT_PAYLOAD_CSUM_INET: keep the checksum right
        be32(7, checksum),
        be32(8, 0),
    )


def equal(value: bytes, register: int = REG) -> bytes:
    """Goes on only when the register starts with `value`."""
    return _compare(0, value, register)


def differs(value: bytes, register: int = REG) -> bytes:
    return _compare(1, value, register)


def _compare(operator: int, value: bytes, register: int) -> bytes:
    return _expression("cmp", be32(1, register), be32(2, operator), nested(3, attr(1, value)))


def masked(mask: bytes, register: int = REG) -> bytes:
    """register &= mask."""
    size = len(mask)
    return _expression(
        "bitwise",
        be32(1, register),
        be32(2, register),
        be32(3, size),
        nested(4, attr(1, mask)),
        nested(5, attr(1, b"\0" * size)),
    )


def in_set(name: str, register: int = REG, *, inverted: bool = False) -> bytes:
    flags = (be32(5, 1),) if inverted else ()
    return _expression("lookup", text(1, name), be32(2, register), *flags)


def from_map(name: str, source: int = REG, target: int = REG) -> bytes:
    """target = map[source]; the rule ends when the key is not there."""
    return _expression("lookup", text(1, name), be32(2, source), be32(3, target))


def immediate(value: bytes, register: int = REG) -> bytes:
    return _expression("immediate", be32(1, register), nested(2, attr(1, value)))


def _verdict(code: int, chain: str = "") -> bytes:
    parts = [attr(1, struct.pack(">i", code))]
    if chain:
        parts.append(text(2, chain))
    return _expression("immediate", be32(1, REG_VERDICT), nested(2, nested(2, *parts)))


def accept() -> bytes:
    return _verdict(_ACCEPT)


def drop() -> bytes:
    return _verdict(_DROP)


def leave() -> bytes:
    """Return to the calling chain (in a base chain: its policy)."""
    return _verdict(_RETURN)


def jump(chain: str) -> bytes:
    return _verdict(_JUMP, chain)


def counter() -> bytes:
    return _expression("counter", attr(1, b"\0" * 8), attr(2, b"\0" * 8))


def ct_state(bits: int) -> tuple[bytes, ...]:
    """Goes on when the connection is in one of these states."""
    return _ct_any(0, bits)


def ct_status(bits: int) -> tuple[bytes, ...]:
    return _ct_any(2, bits)


def _ct_any(key: int, bits: int) -> tuple[bytes, ...]:
    load = _expression("ct", be32(1, REG), be32(2, key))
    return load, masked(struct.pack("=I", bits)), differs(b"\0" * 4)


def ct_is_answer() -> tuple[bytes, ...]:
    """Goes on when the packet goes against the direction in which its connection began."""
    load = _expression("ct", be32(1, REG), be32(2, 1))
    return load, equal(b"\1")


def interface(number: int) -> bytes:
    """An interface's index or group, as `meta` loads it."""
    return struct.pack("=I", number)


def daddr_is_local() -> tuple[bytes, ...]:
    """Goes on when the destination is an address of this machine."""
    load = _expression("fib", be32(1, REG), be32(2, 3), be32(3, 2))
    return load, equal(struct.pack("=I", _RTN_LOCAL))


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the addresses of an IP version are, and how it is called (NFPROTO_..., nft's type)."""

    family: int
    type_number: int
    #: Of an address, in bytes.
    length: int
    source: int
    destination: int
    #: What every address of loopback begins with.
    loopback: bytes

    @property
    def parts(self) -> int:
        """32-bit registers that an address fills."""
        return self.length // 4

    def saddr(self, register: int = REG) -> bytes:
        return _payload(_NETWORK, self.source, self.length, register)

    def daddr(self, register: int = REG) -> bytes:
        return _payload(_NETWORK, self.destination, self.length, register)

    def saddr_is_loopback(self) -> tuple[bytes, ...]:
        size = len(self.loopback)
        return _payload(_NETWORK, self.source, size, REG), equal(self.loopback)

    def daddr_is_loopback(self) -> tuple[bytes, ...]:
        return self._daddr_begin(), equal(self.loopback)

    def daddr_is_no_loopback(self) -> tuple[bytes, ...]:
        return self._daddr_begin(), differs(self.loopback)

    def _daddr_begin(self) -> bytes:
        return _payload(_NETWORK, self.destination, len(self.loopback), REG)

    def dnat(self, address: int, port: int) -> bytes:
        """Destination becomes the address and port in these registers."""
        family = be32(2, self.family)
        return _expression("nat", be32(1, 1), family, be32(3, address), be32(5, port))


IPV4 = Layout(2, 7, 4, 12, 16, b"\x7f")
IPV6 = Layout(10, 8, 16, 8, 24, b"\0" * 15 + b"\x01")


def masquerade() -> bytes:
    return _expression("masq")
