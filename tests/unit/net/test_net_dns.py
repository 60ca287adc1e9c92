"""The DNS codec against an independent one, against noise; and names as askers see them."""

import ipaddress

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.reversename
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackctl.net.keeper import codec
from stackctl.net.keeper.codec import Question, Refusal
from stackctl.net.keeper.names import Directory, Elsewhere, Membership
from stackctl.net.keeper.upstream import nameservers

LABEL = st.text("abcdefghijklmnopqrstuvwxyzABCZ0123456789-_", min_size=1, max_size=20)


def asked(name: str, kind: str = "A", *, edns: int | bool = False) -> tuple[bytes, Question]:
    wire = dns.message.make_query(name, kind, use_edns=bool(edns), payload=int(edns)).to_wire()
    question = codec.parse(wire)
    assert isinstance(question, Question)
    return wire, question


def reply(directory: Directory, asker: str, name: str, kind: str = "A") -> dns.message.Message:
    """The answer, read (and compared with the query) by dnspython."""
    query = dns.message.make_query(name, kind)
    wire = query.to_wire()
    question = codec.parse(wire)
    assert isinstance(question, Question)
    found = directory.answer(asker, question, question.udp_limit)
    assert not isinstance(found, Elsewhere)
    message = dns.message.from_wire(wire[:2] + found[0])
    assert query.is_response(message)
    return message


def texts(message: dns.message.Message) -> list[str]:
    return [item.to_text() for section in message.answer for item in section]


@pytest.fixture
def directory() -> Directory:
    """web-1 and web-2 in front; db in front and back; other in a network called alone."""
    made = Directory()
    made.set_network("f", "shop_front", False)
    made.set_network("b", "shop_back", True)
    made.set_network("o", "alone", False)
    made.set_container("w1", (Membership("f", "10.0.0.2", "", ("web-1", "web", "Store")),))
    made.set_container("w2", (Membership("f", "10.0.0.3", "", ("web-2", "web")),))
    made.set_container(
        "db",
        (
            Membership("f", "10.0.0.4", "fd00::4", ("db-1", "db")),
            Membership("b", "10.1.0.2", "", ("db-1", "db", "primary")),
        ),
    )
    made.set_container("job", (Membership("b", "10.1.0.3", "", ("job-1",)),))
    made.set_container("x", (Membership("o", "10.2.0.2", "", ("web",)),))
    return made


@given(st.lists(LABEL, min_size=1, max_size=5), st.sampled_from(["A", "AAAA", "PTR", "MX"]))
def test_queries_of_dnspython_are_read(labels: list[str], kind: str) -> None:
    _, question = asked(".".join(labels), kind)
    assert question.name == ".".join(labels).lower()
    assert question.kind == dns.rdatatype.from_text(kind)


@settings(max_examples=600)
@given(st.binary(max_size=600))
def test_any_bytes_give_a_question_or_a_refusal(data: bytes) -> None:
    found = codec.parse(data)
    if isinstance(found, Refusal):
        if found.code is not None:
            codec.refusal(data, found.flags, found.code)
        return
    codec.failure(data, found)


@settings(max_examples=400)
@given(st.data())
def test_a_damaged_query_never_raises_and_what_is_answered_can_be_read(data: st.DataObject) -> None:
    wire = bytearray(dns.message.make_query("web.shop_front", "A", use_edns=True).to_wire())
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(wire[: data.draw(st.integers(0, len(wire)))])
    found = codec.parse(cut)
    if isinstance(found, Question):
        directory = Directory()
        directory.set_network("f", "shop_front", False)
        directory.set_container("w", (Membership("f", "10.0.0.2", "", ("web",)),))
        answer = directory.answer("w", found, found.udp_limit)
        if not isinstance(answer, Elsewhere):
            dns.message.from_wire(cut[:2] + answer[0], ignore_trailing=True)


def test_an_answer_is_not_answered() -> None:
    wire = bytearray(dns.message.make_query("a", "A").to_wire())
    wire[2] |= 0x80
    assert codec.parse(bytes(wire)) == Refusal(0x8100, None)


def test_names_are_found_in_every_network_of_the_asker(directory: Directory) -> None:
    assert texts(reply(directory, "w1", "db")) == ["10.0.0.4"]
    assert texts(reply(directory, "job", "db")) == ["10.1.0.2"]
    assert texts(reply(directory, "job", "PRIMARY")) == ["10.1.0.2"]
    assert sorted(texts(reply(directory, "db", "db"))) == ["10.0.0.4", "10.1.0.2"]
    assert texts(reply(directory, "w2", "store")) == ["10.0.0.2"]


def test_another_networks_names_are_not_seen(directory: Directory) -> None:
    assert texts(reply(directory, "x", "web")) == ["10.2.0.2"]
    _, question = asked("db")
    assert directory.answer("x", question, 512) is Elsewhere.FORWARD


def test_an_internal_network_alone_forwards_nothing(directory: Directory) -> None:
    _, question = asked("example.org")
    assert directory.answer("job", question, 512) is Elsewhere.NOBODY
    assert directory.answer("db", question, 512) is Elsewhere.FORWARD
    assert directory.answer("nobody", question, 512) is Elsewhere.NOBODY


def test_several_replicas_take_turns(directory: Directory) -> None:
    firsts = {texts(reply(directory, "db", "web"))[0] for _ in range(4)}
    assert firsts == {"10.0.0.2", "10.0.0.3"}


def test_a_name_without_such_an_address_exists_but_is_empty(directory: Directory) -> None:
    for kind in ("AAAA", "MX", "TXT"):
        message = reply(directory, "w1", "web", kind)
        assert message.rcode() == dns.rcode.NOERROR
        assert not message.answer
    assert texts(reply(directory, "w1", "db", "AAAA")) == ["fd00::4"]


def test_reverse_look_ups_give_the_first_name_and_the_network(directory: Directory) -> None:
    for address, wanted in (("10.0.0.3", "web-2.shop_front."), ("fd00::4", "db-1.shop_front.")):
        name = dns.reversename.from_address(address).to_text()
        assert texts(reply(directory, "w1", name, "PTR")) == [wanted]
    _, question = asked(dns.reversename.from_address("10.2.0.2").to_text(), "PTR")
    assert directory.answer("w1", question, 512) is Elsewhere.FORWARD


def test_names_of_any_alphabet_and_with_a_last_dot_are_found() -> None:
    made = Directory()
    made.set_network("f", "front", False)
    made.set_container("w", (Membership("f", "10.0.0.2", "", ("Straße", "whole.")),))
    for name, found in ((b"stra\xc3\x9fe", ["10.0.0.2"]), (b"WHOLE", ["10.0.0.2"])):
        wire = dns.message.make_query(dns.name.Name((name, b"")), "A").to_wire()
        question = codec.parse(wire)
        assert isinstance(question, Question)
        answer = made.answer("w", question, 512)
        assert not isinstance(answer, Elsewhere)
        assert texts(dns.message.from_wire(wire[:2] + answer[0])) == found
    (name,) = texts(reply(made, "w", "2.0.0.10.in-addr.arpa", "PTR"))
    assert name == "Stra\\195\\159e.front."
    made.drop_container("w")
    assert made._hosts == {}


def test_a_name_can_be_asked_for_within_its_network(directory: Directory) -> None:
    assert texts(reply(directory, "db", "db.shop_back")) == ["10.1.0.2"]
    _, question = asked("job-1.shop_back")
    assert directory.answer("w1", question, 512) is Elsewhere.FORWARD


def test_a_container_that_went_leaves_no_name(directory: Directory) -> None:
    directory.drop_container("w1")
    assert texts(reply(directory, "db", "web")) == ["10.0.0.3"]
    _, question = asked("store")
    assert directory.answer("db", question, 512) is Elsewhere.FORWARD
    for container in list(directory.members):
        directory.drop_container(container)
    directory.prune_networks()
    assert not directory.networks
    assert not directory._hosts
    assert not directory._reverse


def test_an_answer_that_is_too_long_is_truncated_and_says_so() -> None:
    directory = Directory()
    directory.set_network("n", "n", False)
    for n in range(100):
        directory.set_container(str(n), (Membership("n", f"10.0.1.{n}", "", ("web",)),))
    wire, question = asked("web")
    found = directory.answer("1", question, question.udp_limit)
    assert not isinstance(found, Elsewhere)
    message = dns.message.from_wire(wire[:2] + found[0])
    assert message.flags & dns.flags.TC
    assert len(found[0]) <= 510
    wire, question = asked("web", edns=4096)
    found = directory.answer("1", question, question.udp_limit)
    assert not isinstance(found, Elsewhere)
    message = dns.message.from_wire(wire[:2] + found[0])
    assert not message.flags & dns.flags.TC
    assert message.edns == 0
    assert len(texts(message)) == 100


@given(st.ip_addresses(network="fd00::/8"))
def test_reverse_names_of_ipv6_are_understood(address: ipaddress.IPv6Address) -> None:
    directory = Directory()
    directory.set_network("n", "n", False)
    directory.set_container("c", (Membership("n", "", str(address), ("c",)),))
    name = dns.reversename.from_address(str(address)).to_text()
    assert texts(reply(directory, "c", name, "PTR")) == ["c.n."]


def test_nameservers_are_read_as_resolv_conf_has_them() -> None:
    text = "# x\nsearch a b\nnameserver 127.0.0.53\nnameserver\t9.9.9.9 \nnameserver\noptions x\n"
    assert nameservers(text) == ("127.0.0.53", "9.9.9.9")


def meeting() -> Directory:
    """Two projects that share a network; both have a "db"."""
    made = Directory()
    for network in ("p", "q", "shared"):
        made.set_network(network, network, False)
    made.set_container(
        "p-web", (Membership("p", "10.1.0.2", "", ("web",)), _in_shared(2, "web")), project="p"
    )
    made.set_container("p-db", (Membership("p", "10.1.0.3", "", ("db",)),), project="p")
    made.set_container("q-db", (_in_shared(3, "db", "books"),), project="q")
    return made


def _in_shared(number: int, *names: str) -> Membership:
    return Membership("shared", f"10.3.0.{number}", "", names)


def test_a_shared_network_leaks_nobody_into_a_name_of_the_askers_project() -> None:
    directory = meeting()
    assert texts(reply(directory, "p-web", "db")) == ["10.1.0.3"]
    assert texts(reply(directory, "q-db", "db")) == ["10.3.0.3"]
    assert texts(reply(directory, "p-web", "books")) == ["10.3.0.3"]
    # Without one of its own the name means the other project's.
    directory.drop_container("p-db")
    assert texts(reply(directory, "p-web", "db")) == ["10.3.0.3"]


def test_a_name_within_a_named_network_is_everybodys_there() -> None:
    assert texts(reply(meeting(), "p-web", "db.shared")) == ["10.3.0.3"]


def test_unhealthy_replicas_are_left_out_unless_there_is_no_other() -> None:
    directory = Directory()
    directory.set_network("n", "n", False)
    for number in (1, 2):
        place = Membership("n", f"10.0.0.{number}", "", (f"web-{number}", "web"))
        directory.set_container(f"c{number}", (place,), weak=number == 1)
    assert texts(reply(directory, "c1", "web")) == ["10.0.0.2"]
    assert texts(reply(directory, "c2", "web-1")) == ["10.0.0.1"]
    place = Membership("n", "10.0.0.2", "", ("web-2", "web"))
    directory.set_container("c2", (place,), weak=True)
    assert sorted(texts(reply(directory, "c1", "web"))) == ["10.0.0.1", "10.0.0.2"]


def test_a_link_is_a_name_for_one_container_only() -> None:
    directory = Directory()
    directory.set_network("n", "n", False)
    directory.set_container("a", (Membership("n", "10.0.0.1", "", ("a",)),), links={"Store": "b"})
    directory.set_container("b", (Membership("n", "10.0.0.2", "fd00::2", ("b",)),))
    assert texts(reply(directory, "a", "store")) == ["10.0.0.2"]
    assert texts(reply(directory, "a", "STORE", "AAAA")) == ["fd00::2"]
    _, question = asked("store")
    assert directory.answer("b", question, 512) is Elsewhere.FORWARD
