"""What the keeper hands on: what is asked for at [::1], and IPv6 for containers without it."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import threading
from pathlib import Path

import pytest

from stackctl.errors import Conflict
from stackctl.net import bridge
from stackctl.net.keeper.loop import Loop
from stackctl.net.keeper.ports import Busy, Port, Ports, Wish
from stackctl.net.netlink import NETLINK_ROUTE, NetlinkSocket
from stackctl.state.paths import Paths
from support.netengine import Lab
from support.netlab import Box, fetch, neighbour, run
from support.netnames import keeper_pid
from support.waiting import wait_until

pytestmark = pytest.mark.needs("root", "netns", "bridge")

#: More than the buffers on the way hold.
BIG = 24 << 20


def echo_at_end(box: Box, port: int) -> None:
    """A server that answers everything it got, when it has got everything."""
    link = box.new_socket()
    link.settimeout(None)
    link.bind(("0.0.0.0", port))
    link.listen(16)

    def work() -> None:
        while True:
            client, _ = link.accept()
            data = b""
            while part := client.recv(1 << 20):
                data += part
            client.sendall(data)
            client.close()

    threading.Thread(target=work, daemon=True).start()


def whole(address: str, port: int, data: bytes) -> bytes:
    """Sends everything, says that this was all, and only then reads to the end."""
    with socket.create_connection((address, port), timeout=20) as link:
        link.sendall(data)
        link.shutdown(socket.SHUT_WR)
        got = bytearray()
        while part := link.recv(1 << 16):
            got += part
        return bytes(got)


def hello(address: str, port: int, *, udp: bool = False, timeout: float = 5) -> str:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
    with socket.socket(family, kind) as link:
        link.settimeout(timeout)
        link.connect((address, port))
        if udp:
            link.send(b"?")
        return link.recv(100).decode()


def test_localhost_is_answered_whichever_ip_version_it_means(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths) as it:
            front = await it.network("front")
            box = await it.container("one", front)
            echo_at_end(box, 90)
            await it.publish("one", 8080)
            await it.publish("one", 8080, protocol="udp")
            await it.publish("one", 9090, inside=90)
            # As at 127.0.0.1, the container sees its network's gateway as the client.
            for address in ("127.0.0.1", "::1"):
                for udp in (False, True):
                    answer = await asyncio.to_thread(hello, address, 8080, udp=udp)
                    assert answer == f"one {front.gateway4}", (address, udp)
            data = os.urandom(BIG)
            assert await asyncio.to_thread(whole, "::1", 9090, data) == data
            # A port on which nobody listens inside ends at once, not in silence.
            await it.publish("one", 9191, inside=91)
            with pytest.raises(ConnectionError):
                await asyncio.to_thread(hello, "::1", 9191)
            # Another keeper, and another daemon, know it too.
            first = keeper_pid(paths)
            os.kill(first, signal.SIGKILL)

            def answers() -> bool:
                try:
                    return hello("::1", 8080, timeout=1) == f"one {front.gateway4}"
                except OSError:
                    return False

            await asyncio.to_thread(wait_until, answers, 10)
            assert keeper_pid(paths) != first
            ports = [
                p
                for f in it.net._kernel.table.forwards.values()
                for p in [(f.protocol, f.host_ip, f.host_port)]
            ]
            assert ("tcp", "0.0.0.0", 8080) in ports

    run(scenario, tmp_path)


def test_a_port_of_loopback_alone_and_who_wants_it_more(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths) as it:
            front = await it.network("front")
            six = await it.network("six", enable_ipv6=True)
            for name in ("one", "two", "three"):
                await it.container(name, front)
            await it.container("both", six)
            await it.publish("one", 8081, host_ip="::1")
            assert await asyncio.to_thread(hello, "::1", 8081) == f"one {front.gateway4}"
            with pytest.raises(ConnectionRefusedError):
                await asyncio.to_thread(hello, "127.0.0.1", 8081)
            with pytest.raises(Conflict, match="8081/tcp is held by container one"):
                await it.publish("two", 8081, host_ip="::1")
            # What "one" has at every IPv4 address gives way to who names ::1 or ::.
            await it.publish("one", 8082)
            await it.publish("two", 8082, host_ip="::1")
            assert await asyncio.to_thread(hello, "::1", 8082) == f"two {front.gateway4}"
            assert await asyncio.to_thread(hello, "127.0.0.1", 8082) == f"one {front.gateway4}"
            # A process that has it is left alone.
            taken = socket.create_server(("::1", 8083), family=socket.AF_INET6)
            await it.publish("one", 8083)
            taken.close()
            # A port of both IP versions: what comes in by ::1 goes on by IPv6.
            await it.publish("both", 8084)
            assert await asyncio.to_thread(hello, "::1", 8084) == f"both {six.gateway6}"

    run(scenario, tmp_path)


def test_ipv6_is_led_to_a_container_that_has_none(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths) as it:
            outside = it.boxes["lan"] = neighbour("fd77::")
            with NetlinkSocket(NETLINK_ROUTE) as link:
                index = socket.if_nametoindex("lan0")
                link.request([bridge.add_address(index, "fd77::9/64", "a second address")])
            front = await it.network("front")
            shut = await it.network("shut", enable_ipv6=True, internal=True)
            six = await it.network("six", enable_ipv6=True)
            await it.container("one", front)
            inmate, guest = await it.container("inmate", shut), await it.container("guest", six)
            for protocol in ("tcp", "udp"):
                await it.publish("one", 8080, "::", protocol)
                await it.publish("one", 8081, "fd77::9", protocol)
            answer = f"one {front.gateway4}"
            for udp in (False, True):
                for box, address in (
                    (outside, "fd77::1"),
                    (outside, "fd77::9"),
                    (None, "::1"),
                    (guest, six.gateway6),
                ):
                    assert await fetch(box, address, 8080, udp=udp) == answer, (address, udp)
                assert await fetch(outside, "fd77::9", 8081, udp=udp) == answer
                # Only where it was asked for; and nobody leaves an internal network this way.
                for address, port in (("127.0.0.1", 8080), ("fd77::1", 8081)):
                    assert await fetch(None, address, port, udp=udp) == "Connection refused"
                for port in (8080, 8081):
                    lost = await fetch(inmate, shut.gateway6, port, udp=udp, timeout=0.2)
                    assert lost == "timeout"

    run(scenario, tmp_path)


def test_what_is_too_much_is_told_and_leaves_room_for_others(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        told: list[Exception] = []
        loop = Loop(told.append)
        ports = Ports(loop, most=3, most_streams=2)
        echo = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=echoing, args=(echo,), daemon=True).start()
        (number,) = ports.hold([Wish("tcp", "::1", 0, 0)], "one")
        ports.lead(Port("tcp", "::1", number), echo.getsockname())
        threading.Thread(target=loop.run, daemon=True).start()

        def answer() -> tuple[socket.socket, bytes]:
            client = socket.create_connection(("::1", number))
            client.settimeout(10)
            try:
                client.sendall(b"x")
                return client, client.recv(1)
            except ConnectionError:
                return client, b""

        first = [answer() for _ in range(2)]
        assert [said for _, said in first] == [b"x", b"x"]
        for _ in range(3):
            client, said = answer()
            assert said == b""
            client.close()
        # Once, not for each of them.
        (why,) = told
        assert "2 connections are being handed on: further ones are reset" in str(why)
        for client, _ in first:
            client.close()
        wait_until(lambda: answer()[1] == b"x", 10)
        # Ports stop short of what names need: all of a wish or nothing.
        with pytest.raises(Busy) as full:
            ports.hold([Wish("udp", "127.0.0.1", 0, 0)] * 3, "two")
        assert full.value.errno == errno.EMFILE and set(ports.owners().values()) == {"one"}
        assert len(ports.hold([Wish("udp", "127.0.0.1", 0, 0)] * 2, "two")) == 2
        loop.stop()

    run(scenario, tmp_path)


def echoing(server: socket.socket) -> None:
    while True:
        client, _ = server.accept()
        threading.Thread(target=echo_one, args=(client,), daemon=True).start()


def echo_one(client: socket.socket) -> None:
    while data := client.recv(100):
        client.sendall(data)
    client.close()
