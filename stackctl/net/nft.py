"""nftables through nfnetlink: tables, chains, rules, sets and maps in atomic batches.

Builders return Requests for `NetlinkSocket.batch`; `Ruleset` reads back what the
kernel has. The expressions of rules are in `nftexpr`. Follows
include/uapi/linux/netfilter/nf_tables.h. Decides nothing: what the engine's own
table looks like is in `rules`.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable, Sequence

from stackctl.net.netlink import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    Message,
    NetlinkSocket,
    Request,
    attr,
    attribute_list,
    attributes,
    be32,
    nested,
    text,
)
from stackctl.values import dataclass

FAMILY_INET = 1
FAMILY_IP = socket.AF_INET
FAMILY_NETDEV = 5
FAMILY_BRIDGE = 7
FAMILY_IP6 = socket.AF_INET6

HOOK_PREROUTING, HOOK_INPUT, HOOK_FORWARD, HOOK_OUTPUT, HOOK_POSTROUTING = range(5)
#: NFNLGRP_NFTABLES: notifications about every change.
GROUP_NFTABLES = 7

_SUBSYSTEM = 10
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
(
    NEWTABLE,
    GETTABLE,
    DELTABLE,
    NEWCHAIN,
    GETCHAIN,
    DELCHAIN,
    NEWRULE,
    GETRULE,
    DELRULE,
    NEWSET,
    GETSET,
    DELSET,
    NEWSETELEM,
    GETSETELEM,
    DELSETELEM,
    NEWGEN,
) = ((_SUBSYSTEM << 8) | n for n in range(16))

#: Set flags (enum nft_set_flags).
SET_INTERVAL, SET_MAP, SET_CONCAT = 0x4, 0x8, 0x80
_ELEM_INTERVAL_END = 1

#: An attribute's length has 16 bits: so many bytes of elements go into one message.
_ELEMENTS_PER_MESSAGE = 48_000


@dataclass(frozen=True, slots=True)
class DataType:
    """A set's key or data: the number by which the nft tool prints it, and its length."""

    number: int
    length: int
    #: The host's byte order; else network order. Only the nft tool's print depends on it.
    is_host_order: bool = False

    def __add__(self, other: DataType) -> DataType:
        """Concatenation: each part fills whole 32-bit registers."""
        return DataType(
            (self.number << 6) | other.number, _padded(self.length) + _padded(other.length)
        )


IPV4_ADDR = DataType(7, 4)
IPV6_ADDR = DataType(8, 16)
ETHER_ADDR = DataType(9, 6)
#: A MAC address and the ether type behind it, as they are in a frame.
ETHER = DataType(9, 8)
INET_PROTO = DataType(12, 1)
INET_SERVICE = DataType(13, 2)
IFNAME = DataType(41, 16, True)


def _padded(length: int) -> int:
    return (length + 3) & ~3


def join(*parts: bytes) -> bytes:
    """The value of a concatenated key: each part padded to 32 bits."""
    return b"".join(p + b"\0" * (-len(p) % 4) for p in parts)


def ifname(name: str) -> bytes:
    return name.encode().ljust(16, b"\0")


def port(number: int) -> bytes:
    return struct.pack(">H", number)


@dataclass(frozen=True, slots=True)
class Table:
    """A table's name and family: the first thing every message carries."""

    family: int
    name: str

    def header(self, resource: int = 0) -> bytes:
        return struct.pack(">BBH", self.family, 0, resource)

    def request(self, kind: int, flags: int, what: str, *parts: bytes) -> Request:
        # The table's name is attribute 1 in every kind of message.
        body = self.header() + text(1, self.name) + b"".join(parts)
        return Request(kind, flags, body, f"{what} ({self.name})")

    def create(self) -> Request:
        return self.request(NEWTABLE, NLM_F_CREATE, "add table")

    def delete(self) -> Request:
        return self.request(DELTABLE, 0, "delete table")

    def chain(
        self, name: str, kind: str = "", hook: int = 0, priority: int = 0, accept: bool = True
    ) -> Request:
        """A chain; with `kind` ("filter", "nat", "route") a base chain on a hook."""
        parts = [text(3, name)]
        if kind:
            parts.append(nested(4, be32(1, hook), attr(2, struct.pack(">i", priority))))
            parts.append(be32(5, 1 if accept else 0))
            parts.append(text(7, kind))
        return self.request(NEWCHAIN, NLM_F_CREATE, f"add chain {name}", *parts)

    def ingress(self, name: str, device: str) -> Request:
        """A base chain that sees what arrives at a device (family netdev only)."""
        hook = nested(4, be32(1, 0), attr(2, struct.pack(">i", 0)), text(3, device))
        parts = (text(3, name), hook, be32(5, 1), text(7, "filter"))
        return self.request(NEWCHAIN, NLM_F_CREATE, f"add chain {name}", *parts)

    def rule(
        self, chain: str, expressions: Sequence[bytes], *, comment: str = "", insert: bool = False
    ) -> Request:
        """A rule at the end of `chain`, or before its first with `insert`."""
        parts = [text(2, chain), nested(4, *expressions)]
        if comment:
            raw = comment.encode() + b"\0"
            parts.append(attr(7, bytes((0, len(raw))) + raw))
        flags = NLM_F_CREATE | (0 if insert else NLM_F_APPEND)
        return self.request(NEWRULE, flags, f"add rule to {chain}", *parts)

    def delete_rule(self, chain: str, handle: int) -> Request:
        parts = (text(2, chain), attr(3, struct.pack(">Q", handle)))
        return self.request(DELRULE, 0, f"delete rule {handle} of {chain}", *parts)

    def set(
        self,
        name: str,
        key: DataType,
        data: DataType | None = None,
        *,
        interval: bool = False,
        number: int = 0,
    ) -> Request:
        """A named set, or a map with `data`. `number` tells a batch's sets apart."""
        flags = (SET_INTERVAL if interval else 0) | (SET_MAP if data else 0)
        parts = [text(2, name), be32(3, flags), be32(4, key.number), be32(5, key.length)]
        if data:
            parts += [be32(6, data.number), be32(7, data.length)]
        parts.append(be32(10, number or 1))
        # User data as the nft tool writes it: without it names print as garbage.
        order = struct.pack("=BBI", 0, 4, 1 if key.is_host_order else 2)
        parts.append(attr(13, order))
        return self.request(NEWSET, NLM_F_CREATE, f"add set {name}", *parts)

    def elements(
        self, name: str, elements: Iterable[bytes], *, delete: bool = False
    ) -> list[Request]:
        """Adds (or deletes) elements made by `element`; in as few messages as fit."""
        requests: list[Request] = []
        page: list[bytes] = []
        size = 0
        for item in elements:
            if size + len(item) > _ELEMENTS_PER_MESSAGE:
                requests.append(self._elements(name, page, delete))
                page, size = [], 0
            page.append(item)
            size += len(item)
        if page:
            requests.append(self._elements(name, page, delete))
        return requests

    def _elements(self, name: str, page: list[bytes], delete: bool) -> Request:
        kind, flags = (DELSETELEM, 0) if delete else (NEWSETELEM, NLM_F_CREATE)
        what = f"{'delete' if delete else 'add'} elements of {name}"
        return self.request(kind, flags, what, text(2, name), nested(3, *page))


def element(key: bytes, data: bytes | None = None, *, end: bool = False) -> bytes:
    """One element of a set or map; `end` closes an interval (exclusive)."""
    parts = [nested(1, attr(1, key))]
    if data is not None:
        parts.append(nested(2, attr(1, data)))
    if end:
        parts.append(be32(3, _ELEM_INTERVAL_END))
    return nested(1, *parts)


def interval(first: int, last: int, length: int) -> list[bytes]:
    """The elements that make [first, last] of `length`-byte numbers in an interval set."""
    elements = [element(first.to_bytes(length, "big"))]
    if last + 1 < 1 << (8 * length):
        elements.append(element((last + 1).to_bytes(length, "big"), end=True))
    return elements


_BEGIN = Request(_BATCH_BEGIN, 0, struct.pack(">BBH", 0, 0, _SUBSYSTEM), "begin")
_END = Request(_BATCH_END, 0, struct.pack(">BBH", 0, 0, _SUBSYSTEM), "end")


def commit(link: NetlinkSocket, requests: Sequence[Request]) -> None:
    """Carries out all requests or none. NetlinkError: the first that was refused."""
    if requests:
        link.batch(_BEGIN, requests, _END)


def encode_batch(requests: Sequence[Request], sequence: int = 1) -> bytes:
    """The bytes of a whole batch, for somebody who has a bare socket: ONE send.

    The last request asks for an acknowledgement; refusals come as NLMSG_ERROR.
    """
    parts = [_BEGIN.encode(sequence, 1)]
    for offset, item in enumerate(requests, 1):
        parts.append(item.encode(sequence + offset, 1 | (4 if item is requests[-1] else 0)))
    parts.append(_END.encode(sequence + len(requests) + 1, 1))
    return b"".join(parts)


# --- reading back ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FoundChain:
    """`kind` is "" and `hook` -1 for a chain that no hook calls. `policy` 0 is drop."""

    family: int
    table: str
    name: str
    kind: str
    hook: int
    priority: int
    policy: int


@dataclass(frozen=True, slots=True)
class FoundRule:
    """`expressions` are (name, attributes); `raw` the whole list as the kernel gave it."""

    family: int
    table: str
    chain: str
    handle: int
    comment: str
    expressions: tuple[tuple[str, dict[int, bytes]], ...]
    raw: bytes


@dataclass(frozen=True, slots=True)
class FoundSet:
    family: int
    table: str
    name: str
    flags: int
    key: DataType


def _text(value: bytes | None) -> str:
    return (value or b"").rstrip(b"\0").decode(errors="replace")


def _number(value: bytes | None, default: int = 0) -> int:
    return int.from_bytes(value, "big") if value else default


def _dump(link: NetlinkSocket, kind: int, family: int, body: bytes = b"") -> list[Message]:
    header = struct.pack(">BBH", family, 0, 0)
    return link.dump(Request(kind, 0, header + body, "dump", (errno.ENOENT,)))


def tables(link: NetlinkSocket) -> set[tuple[int, str]]:
    """(family, name) of every table."""
    found = _dump(link, GETTABLE, 0)
    return {(m.body[0], _text(attributes(m.body, 4).get(1))) for m in found}


def chains(link: NetlinkSocket, family: int = 0) -> list[FoundChain]:
    """Every chain of a family (0: all)."""
    result = []
    for message in _dump(link, GETCHAIN, family):
        found = attributes(message.body, 4)
        hook = attributes(found[4]) if 4 in found else {}
        priority = struct.unpack(">i", hook[2])[0] if 2 in hook else 0
        result.append(
            FoundChain(
                message.body[0],
                _text(found.get(1)),
                _text(found.get(3)),
                _text(found.get(7)),
                _number(hook.get(1), -1) if hook else -1,
                priority,
                _number(found.get(5), 1),
            )
        )
    return result


def rules(link: NetlinkSocket, table: Table, chain: str = "") -> list[FoundRule]:
    """The rules of a table, in order; nothing when there is no such table."""
    body = text(1, table.name) + (text(2, chain) if chain else b"")
    result = []
    for message in _dump(link, GETRULE, table.family, body):
        found = attributes(message.body, 4)
        if _text(found.get(1)) != table.name or (chain and _text(found.get(2)) != chain):
            continue  # kernels before 4.20 do not filter
        expressions = tuple(_expression(v) for _, v in attribute_list(found.get(4, b"")))
        comment = _comment(found.get(7, b""))
        result.append(
            FoundRule(
                message.body[0],
                _text(found.get(1)),
                _text(found.get(2)),
                _number(found.get(3)),
                comment,
                expressions,
                found.get(4, b""),
            )
        )
    return result


def _expression(value: bytes) -> tuple[str, dict[int, bytes]]:
    parts = attributes(value)
    return _text(parts.get(1)), attributes(parts.get(2, b""))


def _comment(userdata: bytes) -> str:
    """The comment in a rule's user data: a list of (type, length, value) bytes."""
    offset = 0
    while offset + 2 <= len(userdata):
        kind, length = userdata[offset], userdata[offset + 1]
        if kind == 0:
            return _text(userdata[offset + 2 : offset + 2 + length])
        offset += 2 + length
    return ""


def sets(link: NetlinkSocket, table: Table) -> list[FoundSet]:
    """The named sets and maps of a table."""
    result = []
    for message in _dump(link, GETSET, table.family, text(1, table.name)):
        found = attributes(message.body, 4)
        key = DataType(_number(found.get(4)), _number(found.get(5)))
        flags = _number(found.get(3))
        result.append(
            FoundSet(message.body[0], _text(found.get(1)), _text(found.get(2)), flags, key)
        )
    return result


def set_elements(link: NetlinkSocket, table: Table, name: str) -> dict[bytes, bytes]:
    """key -> data (b"" in a set) of every element; ends of intervals are left out."""
    result: dict[bytes, bytes] = {}
    body = text(1, table.name) + text(2, name)
    for message in _dump(link, GETSETELEM, table.family, body):
        for _, raw in attribute_list(attributes(message.body, 4).get(3, b"")):
            item = attributes(raw)
            if _number(item.get(3)) & _ELEM_INTERVAL_END:
                continue
            key = attributes(item[1]).get(1, b"")
            result[key] = attributes(item[2]).get(1, b"") if 2 in item else b""
    return result
