"""Other people's resolvers: systemd's on 127.0.0.53, liars, long answers, broken streams."""

from __future__ import annotations

import asyncio
import itertools
import select
import socket
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from stackctl.state.paths import Paths
from support.netlab import Box, run
from support.netnames import NamesLab, Upstream, answering, resolve, texts
from support.waiting import wait_until

pytestmark = pytest.mark.needs("root", "netns", "bridge")

RESOLVED = "127.0.0.53"
LONG = " ".join(f'"{chr(97 + n) * 250}"' for n in range(12))


def test_the_machines_resolver_may_be_on_its_own_loopback(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        resolved = Upstream(RESOLVED, answering("192.0.2.53"))
        async with NamesLab(paths, (RESOLVED,)) as it:
            front = await it.network("front")
            web = await it.named("web-1", (), front)
            for tcp in (False, True):
                for name in ("example.org", "single"):
                    found = await asyncio.to_thread(resolve, web, name, tcp=tcp)
                    assert texts(found) == ["192.0.2.53"]
            assert set(resolved.asked) == {"example.org.", "single."}
            # What is ours never goes there.
            assert texts(await asyncio.to_thread(resolve, web, "web-1")) != ["192.0.2.53"]
            assert "web-1." not in resolved.asked

    run(scenario, tmp_path)


def test_servers_of_ones_own_are_asked_from_where_one_is(tmp_path: Path) -> None:
    """Docker asks those that the user names in the container's namespace."""
    own = "127.0.0.77"

    async def scenario(paths: Paths) -> None:
        machines = Upstream(RESOLVED, answering("192.0.2.53"))
        Upstream(own, answering("192.0.2.1"))
        async with NamesLab(paths, (RESOLVED,)) as it:
            front = await it.network("front")
            inner = await it.network("inner", internal=True)
            server = await it.named("server", (), inner)
            Upstream("0.0.0.0", answering("192.0.2.3"), server)
            there = (it.address("server"),)
            hole = await it.named("hole", (), front, servers=(own,))
            Upstream(own, answering("192.0.2.2"), hole)
            inside = await it.named("inside", (), inner, servers=there)
            outside = await it.named("outside", (), front, servers=there)
            plain = await it.named("plain", (), inner)
            looped = await it.named("looped", (), front, servers=("127.0.0.11",))
            nobody = await it.named("nobody", (), front, servers=(own,))

            async def found(box: Box, *, tcp: bool = False) -> object:
                reply = await asyncio.to_thread(resolve, box, "example.org", tcp=tcp)
                return texts(reply) or reply.rcode()

            for tcp in (False, True):
                assert await found(hole, tcp=tcp) == ["192.0.2.2"]
                assert await found(inside, tcp=tcp) == ["192.0.2.3"]
                assert await found(looped, tcp=tcp) == ["192.0.2.53"]
                assert await found(plain, tcp=tcp) == dns.rcode.NXDOMAIN
            machines.asked.clear()
            # Nobody listens there, whoever listens on the machine; the walls hold for questions.
            assert await found(nobody) == dns.rcode.SERVFAIL
            assert await found(outside) == dns.rcode.SERVFAIL
            assert machines.asked == []

    run(scenario, tmp_path)


def dead_or_not(query: dns.message.Message) -> dns.message.Message | list[bytes] | None:
    is_dead = query.question[0].name.to_text().endswith("dead.example.")
    return None if is_dead else answering("192.0.2.9")(query)


def ask_too_much(box: Box) -> None:
    """Asks for names that nobody answers for until one is refused."""
    with box.new_socket(socket.SOCK_DGRAM) as link:
        link.connect(("127.0.0.11", 53))
        for number in itertools.count():
            link.send(dns.message.make_query(f"x{number}.dead.example", "A").to_wire())
            if select.select([link], [], [], 0)[0]:
                reply = dns.message.from_wire(link.recv(4096))
                assert reply.rcode() == dns.rcode.SERVFAIL
                return


def test_who_asks_too_much_is_refused_alone(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        Upstream("127.0.1.1", dead_or_not)
        async with NamesLab(paths, ("127.0.1.1",)) as it:
            front = await it.network("front")
            noisy, quiet = [await it.named(name, (), front) for name in ("noisy", "quiet")]
            await asyncio.to_thread(ask_too_much, noisy)
            for tcp in (False, True):
                found = await asyncio.to_thread(resolve, quiet, "a.example", tcp=tcp)
                assert texts(found) == ["192.0.2.9"]
            assert texts(await asyncio.to_thread(resolve, noisy, "quiet"))

    run(scenario, tmp_path)


def lying(query: dns.message.Message) -> list[bytes]:
    """Forged answers first, as somebody who guesses sends them, then the true one."""
    true = answering("192.0.2.1")(query)
    forged = answering("203.0.113.66")(query)
    assert isinstance(true, dns.message.Message) and isinstance(forged, dns.message.Message)
    other_id = bytes((query.id >> 8 ^ 1, query.id & 255)) + forged.to_wire()[2:]
    other_name = answering("203.0.113.66")(dns.message.make_query("other.example", "A"))
    assert isinstance(other_name, dns.message.Message)
    other_name.id = query.id
    question = query.to_wire()  # a query is no answer
    short = [b"", b"\0", forged.to_wire()[:11]]
    return [*short, other_id, other_name.to_wire(), question, true.to_wire()]


def test_who_guesses_is_not_believed(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        Upstream("127.0.1.1", lying)
        async with NamesLab(paths, ("127.0.1.1",)) as it:
            web = await it.named("web-1", (), await it.network("front"))
            for name in ("a.example", "b.example"):
                assert texts(await asyncio.to_thread(resolve, web, name)) == ["192.0.2.1"]

    run(scenario, tmp_path)


def long_text(query: dns.message.Message) -> dns.message.Message:
    """Three thousand bytes for who offers to take them, else "too long"."""
    reply = dns.message.make_response(query)
    if query.payload < 4096:
        reply.flags |= dns.flags.TC
    else:
        reply.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "TXT", LONG))
    return reply


def test_long_answers_pass_whole_and_a_broken_stream_is_no_answer(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        Upstream("127.0.1.1", long_text)
        conf = paths.run / "resolv.conf"
        async with NamesLab(paths, ("127.0.1.1",)) as it:
            web = await it.named("web-1", (), await it.network("front"))
            short = await asyncio.to_thread(resolve, web, "long.example", "TXT")
            assert short.flags & dns.flags.TC and not short.answer
            for tcp in (False, True):
                found = await asyncio.to_thread(
                    resolve, web, "long.example", "TXT", tcp=tcp, payload=4096
                )
                assert texts(found) == [LONG]
                assert found.edns == 0
            # It takes streams and ends them without a word.
            broken = Upstream("127.0.1.2", lambda _: None)
            Upstream("127.0.1.3", answering("192.0.2.3"))
            conf.write_text("nameserver 127.0.1.2\nnameserver 127.0.1.3\n")

            def has_changed() -> bool:
                return texts(resolve(web, "a.example", tcp=True)) == ["192.0.2.3"]

            await asyncio.to_thread(wait_until, has_changed)
            assert "a.example." in broken.asked

    run(scenario, tmp_path)
