"""The keeper: names as a container asks for them, held ports, and lives of its own."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import pytest

from stackctl.errors import Conflict, StackctlError
from stackctl.model.container import NetworkAttachment, PortBinding
from stackctl.model.network import Endpoint
from stackctl.net.keeperlink import KeeperLink
from stackctl.net.naming import Naming
from stackctl.net.service import Net
from stackctl.state.paths import Paths
from support.netlab import defaults, fetch, run
from support.netnames import NamesLab, Upstream, answering, resolve, texts
from support.waiting import wait_until

pytestmark = pytest.mark.needs("root", "netns", "bridge")


async def until(condition: Callable[[], bool], limit: float = 10) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.01)


def test_names_of_containers_resolve_by_udp_and_tcp(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with NamesLab(paths) as it:
            front, back = await it.network("front"), await it.network("back", internal=True)
            web = await it.named("web-1", ("web",), front)
            await it.named("web-2", ("web",), front)
            other = await it.named("db-1", ("db",), back)
            for tcp in (False, True):
                assert len(texts(resolve(web, "web", tcp=tcp))) == 2
                assert resolve(web, "web", "AAAA", tcp=tcp).rcode() == dns.rcode.NOERROR
                assert len(texts(resolve(other, "DB", tcp=tcp))) == 1
                # Of another network, and nothing is forwarded.
                assert resolve(other, "web", tcp=tcp).rcode() == dns.rcode.NXDOMAIN
                # No resolver on this machine.
                assert resolve(web, "db", tcp=tcp).rcode() == dns.rcode.SERVFAIL
            # A container may have the port itself.
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                link = web.new_socket(kind)
                link.bind(("0.0.0.0", 53))
                if kind == socket.SOCK_STREAM:
                    link.listen()
                assert len(texts(resolve(web, "web"))) == 2
            await it.net.drop_names("web-2")
            assert len(texts(resolve(web, "web"))) == 1

    run(scenario, tmp_path)


def test_other_names_are_asked_of_the_machines_resolvers(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        good = Upstream("127.0.1.3", answering("192.0.2.9"))
        Upstream("127.0.1.2", answering("", code=2))
        # 127.0.1.1: nobody is there.
        async with NamesLab(paths, ("127.0.1.1", "127.0.1.2", "127.0.1.3")) as it:
            front, back = await it.network("front"), await it.network("back", internal=True)
            web = await it.named("web-1", (), front)
            inside = await it.named("db-1", (), back)
            for tcp in (False, True):
                assert texts(await asyncio.to_thread(resolve, web, "example.org", tcp=tcp)) == [
                    "192.0.2.9"
                ]
            assert set(good.asked) == {"example.org."}
            assert resolve(inside, "secret.example").rcode() == dns.rcode.NXDOMAIN
            assert "secret.example." not in good.asked

    run(scenario, tmp_path)


def test_the_first_answer_counts_and_failure_is_told_only_when_all_failed(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        silent = Upstream("127.0.1.1", lambda _: None)
        Upstream("127.0.1.2", answering("", code=3))
        Upstream("127.0.1.4", answering("", code=2))
        Upstream("127.0.1.5", answering("", truncated=True))
        conf = paths.run / "resolv.conf"
        async with NamesLab(paths, ("127.0.1.1", "127.0.1.2")) as it:
            web = await it.named("web-1", (), await it.network("front"))
            # The silent one is given a second, then the next is asked, too: no such name.
            reply = await asyncio.to_thread(resolve, web, "a.example")
            assert reply.rcode() == dns.rcode.NXDOMAIN
            assert silent.asked == ["a.example."]
            conf.write_text("nameserver 127.0.1.4\n")
            await until(lambda: resolve(web, "b.example").rcode() == dns.rcode.SERVFAIL)
            conf.write_text("nameserver 127.0.1.5\n")
            await until(lambda: bool(resolve(web, "c.example").flags & dns.flags.TC))

    run(scenario, tmp_path)


def test_a_killed_keeper_is_replaced_and_nothing_is_lost(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with NamesLab(paths) as it:
            front = await it.network("front")
            web = await it.named("web-1", ("web",), front)
            lease = it.endpoints["web-1"][0]
            binding = PortBinding(container_port=80, host_port=(8080, 8080))
            await it.net.publish("web-1", [lease], [binding])
            first = it.keeper_pid()
            os.kill(first, signal.SIGKILL)
            await until(lambda: os.path.exists(f"/proc/{first}") is False or _zombie(first))

            def answers() -> bool:
                try:
                    return texts(resolve(web, "web", timeout=0.05)) == [
                        lease.ipv4.partition("/")[0]
                    ]
                except OSError:
                    return False

            await until(answers)
            assert it.keeper_pid() != first
            # The port is held again, and led on all the time.
            assert (await fetch(None, "127.0.0.1", 8080)).startswith("web-1 ")
            with pytest.raises(OSError, match="in use"):
                socket.create_server(("0.0.0.0", 8080))

    run(scenario, tmp_path)


def _zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_resolver_that_could_have_no_descriptor_is_tried_again(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with NamesLab(paths) as it:
            front = await it.network("front")
            await it.named("one", (), front)
            keeper = it.keeper_pid()
            largest = max(map(int, os.listdir(f"/proc/{keeper}/fd")))
            before = resource.prlimit(keeper, resource.RLIMIT_NOFILE)
            resource.prlimit(keeper, resource.RLIMIT_NOFILE, (largest + 1, before[1]))
            late = await it.named("late", (), front)

            def is_served() -> bool:
                try:
                    return texts(resolve(late, "one", timeout=0.3)) == [it.address("one")]
                except OSError:
                    return False

            assert not await asyncio.to_thread(is_served)
            resource.prlimit(keeper, resource.RLIMIT_NOFILE, before)
            await asyncio.to_thread(wait_until, is_served, 10)

    run(scenario, tmp_path)


def test_a_keeper_alone_takes_up_its_table(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with NamesLab(paths) as it:
            front = await it.network("front")
            web = await it.named("web-1", ("web",), front)
            lease = it.endpoints["web-1"][0]
            binding = PortBinding(container_port=80, host_port=(8080, 8080))
            ports = await it.net.publish("web-1", [lease], [binding])
            await until(lambda: "8080" in _text(paths.keeper_table))
            await it.net.close()  # no daemon
            assert texts(resolve(web, "web"))
            pid = it.keeper_pid()
            os.kill(pid, signal.SIGKILL)
            link = KeeperLink(paths)
            await until(lambda: _zombie(pid))
            assert link.call("show")["open"] == ["web-1"]
            link.disconnect()
            assert texts(resolve(web, "web"))
            it.net = Net(paths)
            await it.net.open([front], [lease], ports)

    run(scenario, tmp_path)


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_a_container_that_ends_frees_its_namespace_while_no_daemon_runs(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with NamesLab(paths) as it:
            front = await it.network("front")
            web = await it.named("web-1", ("web",), front, is_mute=True)
            veth = it.net._veth(it.endpoints["web-1"][0])
            await it.net.close()
            assert veth in [name for _, name in socket.if_nameindex()]
            web.end()
            # With the last socket the namespace goes, and with it the wire.
            await until(lambda: veth not in [name for _, name in socket.if_nameindex()])
            it.net = Net(paths)
            await it.net.open([front], [], [])

    run(scenario, tmp_path)


def test_what_a_killed_daemon_left_half_done_is_mended(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with NamesLab(paths) as it:
            front, back = await it.network("front"), await it.network("back")
            web = await it.named("web-1", (), front)
            other = await it.named("web-2", (), back)
            first = it.endpoints["web-1"][0]

            def naming(*endpoints: Endpoint) -> Naming:
                called = {e.network: ("web-1", "here") for e in endpoints}
                return Naming(
                    container_id="web-1", endpoints=endpoints, names=called, resolver="keep"
                )

            async def next_daemon(*endpoints: Endpoint) -> None:
                """Knows the container with these endpoints, and nothing else of it."""
                await it.net.close()
                it.net = Net(paths)
                known = (*endpoints, *it.endpoints["web-2"])
                await it.net.open((front, back), known, (), ("web-1", "web-2"))
                await it.net.mend(web.pid, endpoints, naming(*endpoints))

            # Killed before it wrote down that the container is in another network, too: back
            # had become its way out.
            wish = NetworkAttachment(network="back", gw_priority=1)
            lease = it.net.lease(back, "web-1", wish)
            await it.net.connect(web.pid, lease, (first, lease), naming(first, lease))
            assert texts(resolve(other, "here"))
            await next_daemon(first)
            assert resolve(other, "here").rcode() == dns.rcode.SERVFAIL  # no resolver to ask
            assert texts(resolve(web, "here")) == [first.ipv4.partition("/")[0]]
            with web.inside():
                assert [name for _, name in socket.if_nameindex()] == ["lo", "eth0"]
            assert defaults(web) == [front.gateway4]
            # Killed before it wrote down that the container has left.
            lease = it.net.lease(back, "web-1", wish)
            every = (first, lease)
            await it.net.connect(web.pid, lease, every, naming(*every))
            await it.net.disconnect(web.pid, lease, (first,), naming(first))
            await next_daemon(*every)
            assert texts(resolve(other, "here")) == [lease.ipv4.partition("/")[0]]
            address = it.address("web-2")
            assert await fetch(web, address, 80) == f"web-2 {lease.ipv4.partition('/')[0]}"
            assert defaults(web) == [back.gateway4]

    run(scenario, tmp_path)


def test_a_busy_port_names_who_has_it(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with NamesLab(paths) as it:
            front = await it.network("front")
            await it.named("web-1", ("web",), front)
            lease = it.endpoints["web-1"][0]

            async def publish(first: int, last: int, **more: str) -> int:
                binding = PortBinding(container_port=80, host_port=(first, last), **more)
                return (await it.net.publish("web-1", [lease], [binding]))[0].host_port

            me = rf"8080/tcp is held by .* \(pid {os.getpid()}\)"
            with socket.create_server(("127.0.0.1", 8080)):
                with pytest.raises(Conflict, match=me):
                    await publish(8080, 8080)
                assert await publish(8080, 8090) == 8081
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.bind(("0.0.0.0", 8080))
                with pytest.raises(Conflict, match=r"8080/udp is held by .* \(pid"):
                    await publish(8080, 8080, protocol="udp")
            assert await publish(8080, 8080) == 8080
            with pytest.raises(Conflict, match="held by container web-1 of project shop"):
                await publish(8080, 8080)
            with pytest.raises(Conflict, match="no host port in 8080-8081/tcp is free"):
                await publish(8080, 8081)
            with pytest.raises(StackctlError, match="not an address of this machine"):
                await publish(9000, 9000, host_ip="203.0.113.1")
            # A failed request leaves nothing held.
            two = [PortBinding(container_port=80, host_port=(n, n)) for n in (8500, 8080)]
            with pytest.raises(Conflict):
                await it.net.publish("web-1", [lease], two)
            # Nor does it clash with nobody when it clashes with itself.
            two = [PortBinding(container_port=n, host_port=(8500, 8500)) for n in (80, 81)]
            with pytest.raises(Conflict, match="8500/tcp is held by container web-1"):
                await it.net.publish("web-1", [lease], two)
            # Who has the number at another address is not the holder.
            await publish(8501, 8501, host_ip="127.0.0.2")
            told = pytest.raises(Conflict, match=r"8501/tcp is held by .* \(pid")
            with socket.create_server(("127.0.0.3", 8501)), told:
                await publish(8501, 8501, host_ip="127.0.0.3")
            socket.create_server(("0.0.0.0", 8500)).close()
            free = await it.net.publish("web-1", [lease], [PortBinding(container_port=80)])
            assert free[0].host_port >= 1024
            await it.net.unpublish(free)
            await it.net.unpublish(free)
            socket.create_server(("0.0.0.0", free[0].host_port)).close()

    run(scenario, tmp_path)


def test_a_port_that_waits_for_old_connections_to_end_can_be_published(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with NamesLab(paths) as it:
            front = await it.network("front")
            await it.named("web-1", ("web",), front)
            server = socket.create_server(("127.0.0.1", 8080))
            client = socket.create_connection(("127.0.0.1", 8080))
            served, _ = server.accept()
            served.close()  # the server's side is left in TIME_WAIT
            client.close()
            server.close()
            lease = it.endpoints["web-1"][0]
            binding = PortBinding(container_port=80, host_port=(8080, 8080))
            assert (await it.net.publish("web-1", [lease], [binding]))[0].host_port == 8080

    run(scenario, tmp_path)


def test_an_idle_keeper_leaves_by_itself(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        paths.run.mkdir(parents=True)
        link = KeeperLink(paths)
        link.call("show")
        link.disconnect()
        await until(lambda: not link.exists, limit=20)
        assert list(paths.run.iterdir()) == []

    run(scenario, tmp_path)
