"""The little that a fresh network namespace needs before anybody else looks at it."""

from __future__ import annotations

import _socket
import fcntl
import os
import struct

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_NETLINK_NETFILTER = 12
_NLMSG_ERROR = 2
_NLM_F_ACK = 4


def up(name: str) -> None:
    """Set the interface `name` of the present network namespace up."""
    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        request = struct.pack("16sH14x", name.encode(), 0)
        (flags,) = struct.unpack_from("H", fcntl.ioctl(sock.fileno(), _SIOCGIFFLAGS, request), 16)
        request = struct.pack("16sH14x", name.encode(), flags | _IFF_UP)
        fcntl.ioctl(sock.fileno(), _SIOCSIFFLAGS, request)
    finally:
        sock.close()


def send_netfilter(blob: bytes) -> None:
    """Send prepared NETLINK_NETFILTER messages and read their acknowledgements.

    `blob` is one batch, its messages carrying their own sequence numbers; those
    with NLM_F_ACK are waited for. Raises OSError with the kernel's first error.
    """
    awaited = _acknowledged(blob)
    kind = _socket.SOCK_RAW | _socket.SOCK_CLOEXEC
    sock = _socket.socket(_socket.AF_NETLINK, kind, _NETLINK_NETFILTER)
    try:
        sock.bind((0, 0))
        sock.send(blob)
        while awaited:
            answer = sock.recv(65536)
            offset = 0
            while offset + 20 <= len(answer):
                length, kind, _, sequence, _, code = struct.unpack_from("=IHHIIi", answer, offset)
                if kind == _NLMSG_ERROR:
                    if code:
                        raise OSError(-code, os.strerror(-code), f"netlink message {sequence}")
                    awaited.discard(sequence)
                offset += (max(length, 16) + 3) & ~3
    finally:
        sock.close()


def _acknowledged(blob: bytes) -> set[int]:
    """Sequence numbers of the messages in `blob` that ask for an acknowledgement."""
    found = set()
    offset = 0
    while offset + 16 <= len(blob):
        length, _, flags, sequence, _ = struct.unpack_from("=IHHII", blob, offset)
        if flags & _NLM_F_ACK:
            found.add(sequence)
        offset += (max(length, 16) + 3) & ~3
    return found
