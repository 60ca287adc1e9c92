"""A small netlink transport: requests in one send, replies checked by sequence number.

The kernel handles a request inside send(2), so every reply lies in the receive
queue when send returns: one non-blocking sweep collects them, nothing waits.
Errors are raised as NetlinkError with the kernel's extended text. Speaks any
netlink family; says nothing about what the messages mean (rtnetlink(7),
netlink(7), Documentation/userspace-api/netlink/intro.rst).
"""

from __future__ import annotations

import array
import errno as _errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence

from stackctl.values import dataclass

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12

NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP = 0x300
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800

NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_DUMP_INTR = 0x10
NLM_F_CAPPED = 0x100
NLM_F_ACK_TLVS = 0x200

NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF

_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP = 1
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_SO_ATTACH_FILTER = 26
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
_NLMSGERR_ATTR_MSG = 1

_HEADER = struct.Struct("=IHHII")
_ATTR = struct.Struct("=HH")
#: Largest receive: dumps come in pages of at most 32 KiB, replies are far smaller.
_RECEIVE = 1 << 18
#: Requests with an acknowledgement each that go into one send.
_AT_ONCE = 64


class NetlinkError(OSError):
    """A request that the kernel refused: errno, its text, and what was asked."""

    def __init__(self, number: int, text: str, what: str) -> None:
        super().__init__(number, text or os.strerror(number), what)
        self.what = what

    def __str__(self) -> str:
        return f"{self.what}: {self.strerror} ({_errno.errorcode.get(self.errno or 0, self.errno)})"


@dataclass(frozen=True, slots=True)
class Request:
    """One message to send: its type, flags beside NLM_F_REQUEST, and body.

    `what` names it in an error ("link add v1"). With `tolerate` such errnos
    count as success (EEXIST when a thing is to be there, ENOENT when it is not).
    """

    kind: int
    flags: int
    body: bytes
    what: str = ""
    tolerate: tuple[int, ...] = ()

    def encode(self, sequence: int, flags: int = NLM_F_REQUEST | NLM_F_ACK) -> bytes:
        length = _HEADER.size + len(self.body)
        header = _HEADER.pack(length, self.kind, self.flags | flags, sequence, 0)
        return header + self.body + b"\0" * (-length % 4)


@dataclass(frozen=True, slots=True)
class Message:
    """One message received; `port` is the netlink port of the socket that caused it."""

    kind: int
    flags: int
    sequence: int
    port: int
    body: bytes


def attr(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    length = 4 + len(value)
    return _ATTR.pack(length, kind) + value + b"\0" * (-length % 4)


def nested(kind: int, *parts: bytes) -> bytes:
    """An attribute of attributes."""
    return attr(kind | NLA_F_NESTED, b"".join(parts))


def text(kind: int, value: str) -> bytes:
    """A NUL-terminated string attribute."""
    return attr(kind, value.encode() + b"\0")


def u8(kind: int, value: int) -> bytes:
    return attr(kind, struct.pack("=B", value))


def u32(kind: int, value: int) -> bytes:
    """A number in the host's byte order."""
    return attr(kind, struct.pack("=I", value))


def be32(kind: int, value: int) -> bytes:
    """A number in network byte order (nfnetlink)."""
    return attr(kind, struct.pack(">I", value))


def attributes(body: bytes, offset: int = 0) -> dict[int, bytes]:
    """The attributes in `body` from `offset`; a repeated type keeps its last value."""
    return dict(attribute_list(body, offset))


def attribute_list(body: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """(type without flags, value) of each attribute in order; stops at a malformed one."""
    end = len(body)
    while offset + 4 <= end:
        length, kind = _ATTR.unpack_from(body, offset)
        if length < 4 or offset + length > end:
            return
        yield kind & NLA_TYPE_MASK, body[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def messages(data: bytes) -> Iterator[Message]:
    """The messages in one received datagram."""
    offset, end = 0, len(data)
    while offset + 16 <= end:
        length, kind, flags, sequence, port = _HEADER.unpack_from(data, offset)
        if length < 16 or offset + length > end:
            return
        yield Message(kind, flags, sequence, port, data[offset + 16 : offset + length])
        offset += (length + 3) & ~3


def _error_of(message: Message) -> tuple[int, str]:
    """(errno, extended text) of an NLMSG_ERROR; errno 0 is an acknowledgement."""
    number = -struct.unpack_from("=i", message.body)[0]
    if not message.flags & NLM_F_ACK_TLVS:
        return number, ""
    # The offending message follows the code: only its header when capped.
    offset = 4 + 16
    if not message.flags & NLM_F_CAPPED:
        offset = 4 + ((struct.unpack_from("=I", message.body, 4)[0] + 3) & ~3)
    raw = attributes(message.body, offset).get(_NLMSGERR_ATTR_MSG, b"")
    return number, raw.rstrip(b"\0").decode(errors="replace")


class NetlinkSocket:
    """One socket of one family, in the network namespace of the thread that made it.

    Not for several threads. `groups` are multicast groups to join.
    """

    def __init__(self, family: int, groups: Sequence[int] = ()) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family
        )
        try:
            self._socket.bind((0, 0))
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
            for group in groups:
                self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
        except BaseException:
            self._socket.close()
            raise
        self._sequence = 0

    @property
    def port(self) -> int:
        """The port id that the kernel writes into notifications of our own changes."""
        return int(self._socket.getsockname()[0])

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> NetlinkSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def reserve(self, send: int = 0, receive: int = 0) -> None:
        """Raises the buffers to at least so many bytes (needs CAP_NET_ADMIN)."""
        if send:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, send)
        if receive:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, receive)

    def filter(self, program: bytes) -> None:
        """Messages that a program (struct sock_filter, 8 bytes each) lets through, no others."""
        code = array.array("B", program)
        fprog = struct.pack("@HP", len(code) // 8, code.buffer_info()[0])
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)

    def next_sequence(self) -> int:
        self._sequence = (self._sequence + 1) & 0x7FFFFFFF
        return self._sequence

    def send(self, data: bytes) -> None:
        self._socket.sendto(data, (0, 0))

    def received(self) -> Iterator[Message]:
        """All messages that are in the queue now. OSError ENOBUFS: some were lost."""
        while True:
            try:
                data = self._socket.recv(_RECEIVE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            yield from messages(data)

    def request(self, requests: Iterable[Request]) -> None:
        """Sends all in one send and checks each acknowledgement.

        The kernel carries out every one of them, also after one that failed; the
        first failure that is not tolerated is raised (NetlinkError).
        """
        todo = list(requests)
        failure: NetlinkError | None = None
        # The acknowledgements of one send must fit into the receive queue.
        for start in range(0, len(todo), _AT_ONCE):
            failure = self._request_some(todo[start : start + _AT_ONCE]) or failure
        if failure is not None:
            raise failure

    def _request_some(self, requests: Sequence[Request]) -> NetlinkError | None:
        pending: dict[int, Request] = {}
        parts = []
        for item in requests:
            sequence = self.next_sequence()
            pending[sequence] = item
            parts.append(item.encode(sequence))
        self.send(b"".join(parts))
        failure: NetlinkError | None = None
        for message in self.received():
            if message.kind != NLMSG_ERROR:
                continue
            done = pending.pop(message.sequence, None)
            if done is None:
                continue
            number, explanation = _error_of(message)
            if number and number not in done.tolerate and failure is None:
                failure = NetlinkError(number, explanation, done.what)
        if pending and failure is None:
            first = next(iter(pending.values()))
            failure = NetlinkError(_errno.EIO, "the kernel did not answer", first.what)
        return failure

    def batch(self, begin: Request, items: Sequence[Request], end: Request) -> None:
        """One nfnetlink batch: all of `items` or none (errors of all in the notes).

        Only the last item asks for an acknowledgement: refusals come unasked, and a
        thousand acknowledgements would be a thousand messages to read.
        """
        first = self.next_sequence()
        sent = {first: begin}
        parts = [begin.encode(first, NLM_F_REQUEST)]
        for item in items:
            sequence = self.next_sequence()
            sent[sequence] = item
            flags = NLM_F_REQUEST | (NLM_F_ACK if item is items[-1] else 0)
            parts.append(item.encode(sequence, flags))
        parts.append(end.encode(self.next_sequence(), NLM_F_REQUEST))
        data = b"".join(parts)
        if len(data) > 1 << 16:
            self.reserve(send=2 * len(data) + (1 << 16))
        self.send(data)
        failures = []
        acknowledged = False
        for message in self.received():
            if message.kind != NLMSG_ERROR:
                continue
            number, explanation = _error_of(message)
            what = sent[message.sequence].what if message.sequence in sent else "batch"
            if number:
                failures.append(NetlinkError(number, explanation, what))
            else:
                acknowledged = True
        if failures:
            for other in failures[1:]:
                failures[0].add_note(str(other))
            raise failures[0]
        if not acknowledged:
            raise NetlinkError(_errno.EIO, "the kernel did not answer", "nftables batch")

    def dump(self, item: Request) -> list[Message]:
        """All messages that answer a dump request (NLM_F_DUMP), taken again when interrupted."""
        for _ in range(8):
            result = self._dump_once(item)
            if result is not None:
                return result
        raise NetlinkError(_errno.EINTR, "the table keeps changing", item.what)

    def _dump_once(self, item: Request) -> list[Message] | None:
        sequence = self.next_sequence()
        self.send(item.encode(sequence, NLM_F_REQUEST | NLM_F_DUMP))
        found: list[Message] = []
        interrupted = False
        while True:
            # A dump goes on inside recv, page by page: blocking here never waits long.
            for message in messages(self._socket.recv(_RECEIVE)):
                if message.sequence != sequence:
                    continue
                interrupted |= bool(message.flags & NLM_F_DUMP_INTR)
                if message.kind == NLMSG_DONE:
                    return None if interrupted else found
                if message.kind == NLMSG_ERROR:
                    number, explanation = _error_of(message)
                    if number in item.tolerate:
                        return []
                    raise NetlinkError(number, explanation, item.what)
                found.append(message)
