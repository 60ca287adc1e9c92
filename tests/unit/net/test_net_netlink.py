"""Netlink messages: attributes there and back, and any bytes at all."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from stackctl.net import netlink
from stackctl.net.netlink import NLM_F_ACK, NLM_F_REQUEST, Request, attr, attributes, nested


@given(st.dictionaries(st.integers(1, 0x3FFF), st.binary(max_size=300), max_size=8))
def test_attributes_come_back_as_they_were_packed(wanted: dict[int, bytes]) -> None:
    packed = b"".join(attr(kind, value) for kind, value in wanted.items())
    assert len(packed) % 4 == 0
    assert attributes(packed) == wanted


@given(st.binary(max_size=400))
def test_any_bytes_are_read_without_an_error(data: bytes) -> None:
    dict(netlink.attribute_list(data))
    for message in netlink.messages(data):
        assert len(message.body) <= len(data)


def test_nested_attributes_are_marked_and_read_back() -> None:
    packed = nested(18, attr(1, b"veth\0"), attr(2, b"x"))
    assert struct.unpack_from("=H", packed, 2)[0] & netlink.NLA_F_NESTED
    assert attributes(attributes(packed)[18]) == {1: b"veth\0", 2: b"x"}


def test_a_request_has_its_length_flags_and_number() -> None:
    data = Request(16, 0x400, b"abcde").encode(7)
    assert len(data) == 24  # 16 + 5, padded to a multiple of 4
    assert struct.unpack_from("=IHHII", data) == (
        21,
        16,
        0x400 | NLM_F_REQUEST | NLM_F_ACK,
        7,
        0,
    )


def test_several_messages_in_one_datagram_are_told_apart() -> None:
    data = Request(1, 0, b"a").encode(1) + Request(2, 0, b"").encode(2)
    assert [(m.kind, m.sequence, m.body) for m in netlink.messages(data)] == [
        (1, 1, b"a"),
        (2, 2, b""),
    ]
