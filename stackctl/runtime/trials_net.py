"""What the kernel's network can do, tried in a network namespace that ends with the trial.

A few hand-made netlink messages; the engine's own netlink lives in `net`, which
this layer does not know. Sources: rtnetlink(7), include/uapi/linux/if_link.h,
include/uapi/linux/netfilter/{nfnetlink,nf_tables}.h.
"""

from __future__ import annotations

import os
import socket
import struct

from stackctl.linux import process

_ROUTE, _NETFILTER = 0, 12
_REQUEST_ACK = 0x1 | 0x4
_CREATE_EXCLUSIVE = 0x400 | 0x200
_ERROR = 2

_NEWLINK = 16
_IFNAME, _LINKINFO, _INFO_KIND = 3, 18, 1

_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_TABLES = 10 << 8
_NEWTABLE, _NEWCHAIN, _NEWSET = _TABLES, _TABLES | 3, _TABLES | 9
_PREROUTING, _DSTNAT = 0, 2**32 - 100
_IS_MAP = 0x8
_NESTED = 0x8000


def bridge() -> str:
    return _link("bridge")


def veth() -> str:
    return _link("veth")


def nft() -> str:
    """A table with a nat chain and a map, in one batch: what published ports need."""
    process.unshare(process.CLONE_NEWNET)
    table = _text(1, "stackctl-trial")
    hook = _attribute(4 | _NESTED, _u32(1, _PREROUTING) + _u32(2, _DSTNAT))
    chain = table + _text(3, "prerouting") + hook + _text(7, "nat")
    # inet_service -> ipv4_addr . inet_service, types as the nft tool numbers them
    ports = (
        *(table, _text(2, "ports"), _u32(3, _IS_MAP), _u32(4, 13), _u32(5, 2)),
        *(_u32(6, 7 << 6 | 13), _u32(7, 8), _u32(10, 1)),
    )
    batch = (
        _netfilter(_BATCH_BEGIN, b"", family=0, resource=10),
        _netfilter(_NEWTABLE, table),
        _netfilter(_NEWCHAIN, chain),
        _netfilter(_NEWSET, b"".join(ports)),
        _netfilter(_BATCH_END, b"", family=0, resource=10),
    )
    _send(_NETFILTER, batch)
    return "nat chains and maps"


def _link(kind: str) -> str:
    process.unshare(process.CLONE_NEWNET)
    info = _attribute(_LINKINFO | _NESTED, _text(_INFO_KIND, kind))
    body = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + _text(_IFNAME, "trial0") + info
    _send(_ROUTE, ((_NEWLINK, _CREATE_EXCLUSIVE, body),))
    return "can be made"


def _netfilter(
    kind: int, attributes: bytes, family: int = socket.AF_INET, resource: int = 0
) -> tuple[int, int, bytes]:
    header = struct.pack("=BB", family, 0) + struct.pack(">H", resource)
    return kind, 0x400 if kind >= _TABLES else 0, header + attributes


def _send(protocol: int, requests: tuple[tuple[int, int, bytes], ...]) -> None:
    """All requests in one send; the first refusal is raised as OSError."""
    data = b""
    for number, (kind, flags, body) in enumerate(requests, 1):
        # The batch's own begin and end are not acknowledged.
        asks = _REQUEST_ACK if kind not in (_BATCH_BEGIN, _BATCH_END) else 0x1
        data += struct.pack("=IHHII", 16 + len(body), kind, asks | flags, number, 0) + body
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as link:
        link.settimeout(5)
        link.bind((0, 0))
        link.sendall(data)
        waiting = sum(kind not in (_BATCH_BEGIN, _BATCH_END) for kind, _, _ in requests)
        while waiting > 0:
            waiting -= _acknowledged(link.recv(65536))


def _acknowledged(data: bytes) -> int:
    count = 0
    while len(data) >= 20:
        length, kind = struct.unpack_from("=IH", data)
        if kind == _ERROR:
            (code,) = struct.unpack_from("=i", data, 16)
            if code:
                raise OSError(-code, os.strerror(-code))
            count += 1
        data = data[(length + 3) & ~3 :]
    return count


def _attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + b"\0" * (-length % 4)


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _u32(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack(">I", value))
