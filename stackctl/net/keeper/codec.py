"""DNS messages (RFC 1035, RFC 6891), as little of them as a resolver in front needs.

Any byte string gives a Question or a refusal; nothing else is raised. Names are
lower-case text without the final dot; a label that holds a dot is kept apart as
unanswerable here.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

TYPE_A, TYPE_PTR, TYPE_AAAA, TYPE_OPT = 1, 12, 28, 41
CLASS_IN = 1

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = 0, 1, 2, 3, 4, 5

_HEADER = struct.Struct(">HHHHHH")
_QR, _TC, _RD, _RA, _CD, _OPCODE = 0x8000, 0x0200, 0x0100, 0x0080, 0x0010, 0x7800
#: What a client without EDNS takes (RFC 1035, 2.3.4).
PLAIN_UDP = 512
#: What we say that we take; fits any path's packets (the DNS flag day's number).
_OUR_UDP = 1232


class Question(NamedTuple):
    """A query with one question. `raw` is the question section as it came."""

    flags: int
    name: str
    kind: int
    klass: int
    raw: bytes
    #: Largest UDP answer; 0 without EDNS.
    edns: int

    @property
    def udp_limit(self) -> int:
        return max(self.edns, PLAIN_UDP)


class Refusal(NamedTuple):
    """A message that cannot be answered; `code` None: not even with an error."""

    flags: int
    code: int | None


def parse(data: bytes) -> Question | Refusal:
    """Reads a query."""
    if len(data) < 12:
        return Refusal(0, None)
    _, flags, questions, answers, authority, additional = _HEADER.unpack_from(data)
    if flags & _QR:
        return Refusal(flags, None)  # answering answers makes loops
    if flags & _OPCODE:
        return Refusal(flags, NOTIMP)
    if questions != 1 or answers or authority:
        return Refusal(flags, FORMERR)
    labels, end = _labels(data, 12)
    if labels is None or end + 4 > len(data):
        return Refusal(flags, FORMERR)
    kind, klass = struct.unpack_from(">HH", data, end)
    end += 4
    edns = _edns(data, end) if additional else 0
    name = "\\" if any(b"." in label for label in labels) else _text(labels)
    return Question(flags, name, kind, klass, data[12:end], edns)


def _text(labels: list[bytes]) -> str:
    return b".".join(labels).decode("latin-1").lower()


def _labels(data: bytes, offset: int) -> tuple[list[bytes] | None, int]:
    """The labels of an uncompressed name, and where it ends. None: malformed."""
    labels: list[bytes] = []
    start, end = offset, len(data)
    while offset < end:
        length = data[offset]
        offset += 1
        if length == 0:
            return labels, offset
        # A pointer in the first name can only point into the header.
        if length > 63 or offset + length > end or offset + length - start > 254:
            return None, offset
        labels.append(data[offset : offset + length])
        offset += length
    return None, offset


def _edns(data: bytes, offset: int) -> int:
    """The UDP size of an OPT record that directly follows; 0 when there is none."""
    if data[offset : offset + 3] != b"\0\0\x29" or offset + 11 > len(data):
        return 0
    return max(int.from_bytes(data[offset + 3 : offset + 5], "big"), PLAIN_UDP)


def encode_name(name: str) -> bytes:
    """The wire form of a name; labels that do not fit are cut."""
    parts = []
    for label in name.rstrip(".").split("."):
        raw = label.encode("latin-1", "replace")[:63]
        if raw:
            parts.append(bytes((len(raw),)) + raw)
    return b"".join(parts) + b"\0"


def record(kind: int, value: bytes, ttl: int) -> bytes:
    """An answer to the question's own name (a pointer to it)."""
    return struct.pack(">HHHIH", 0xC00C, kind, CLASS_IN, ttl, len(value)) + value


def answer(question: Question, code: int, records: list[bytes], limit: int) -> bytes:
    """A whole answer without its two bytes of id. Beyond `limit` bytes it is truncated."""
    opt = b""
    if question.edns:
        opt = b"\0" + struct.pack(">HHIH", TYPE_OPT, _OUR_UDP, 0, 0)
    room = limit - 12 - len(question.raw) - len(opt)
    flags = _QR | _RA | (question.flags & (_RD | _CD)) | code
    body = b"".join(records)
    count = len(records)
    if len(body) > room:
        flags |= _TC
        count = max(room, 0) // len(records[0])
        body = b"".join(records[:count])
    header = struct.pack(">HHHHH", flags, 1, count, 0, 1 if opt else 0)
    return header + question.raw + body + opt


def refusal(query: bytes, flags: int, code: int) -> bytes:
    """An error without the question, for a query that we could not read."""
    reply = _QR | _RA | (flags & (_RD | _CD | _OPCODE)) | code
    return query[:2] + struct.pack(">HHHHH", reply, 0, 0, 0, 0)


def failure(query: bytes, question: Question, code: int = SERVFAIL) -> bytes:
    """A whole answer (with id) that only says an error code."""
    return query[:2] + answer(question, code, [], 65535)


def reply_code(data: bytes) -> int:
    return data[3] & 0xF


def answers_query(reply: bytes, query: bytes, question: Question) -> bool:
    """Is `reply` an answer to this query? (id, answer bit, the same question)"""
    if len(reply) < 12 or reply[:2] != query[:2] or not reply[2] & 0x80:
        return False
    if reply[4:6] == b"\0\0":
        # Some servers leave the question out of an error.
        return reply_code(reply) != NOERROR
    return reply[12 : 12 + len(question.raw)].lower() == question.raw.lower()
