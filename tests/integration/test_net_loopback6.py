"""What is published is there at [::1], too: by IPv4 networks and by IPv6 ones."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from pathlib import Path

import pytest

from stackctl.errors import Conflict
from stackctl.model.container import NetworkAttachment, PortBinding
from stackctl.model.network import Endpoint
from stackctl.net.service import Net
from stackctl.state.paths import Paths
from support.netlab import Box, run
from support.netwalls import Lab
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


def keeper_pid(paths: Paths) -> int:
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(str(paths.keeper_socket))
        raw = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(raw[:4], "little")


async def publish(net: Net, endpoint: Endpoint, port: int, inside: int = 80, **more: str) -> None:
    binding = PortBinding(container_port=inside, host_port=(port, port), **more)
    title = f"container {endpoint.container_id}"
    await net.publish(endpoint.container_id, endpoint, [binding], title=title)


def test_localhost_is_answered_whichever_ip_version_it_means(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths) as it:
            front = await it.network("front")
            box = await it.container("one", front)
            mine = it.endpoints["one"][0]
            echo_at_end(box, 90)
            box.serve(80, socket.SOCK_DGRAM, text="one")
            await publish(it.net, mine, 8080)
            await publish(it.net, mine, 8080, protocol="udp")
            await publish(it.net, mine, 9090, 90)
            # As at 127.0.0.1, the container sees its network's gateway as the client.
            for address in ("127.0.0.1", "::1"):
                for udp in (False, True):
                    answer = await asyncio.to_thread(hello, address, 8080, udp=udp)
                    assert answer == f"one {front.gateway4}", (address, udp)
            data = os.urandom(BIG)
            assert await asyncio.to_thread(whole, "::1", 9090, data) == data
            # A port on which nobody listens inside ends at once, not in silence.
            await publish(it.net, mine, 9191, 91)
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
            both = it.net.lease(six, "both", NetworkAttachment(network="six"))
            box = it.boxes["both"] = Box()
            await it.net.attach(box.pid, [both])
            link = box.new_socket(socket.SOCK_STREAM, socket.AF_INET6)
            link.bind(("::", 80))
            link.listen(5)
            box.serve(81, text="both")
            one, two = it.endpoints["one"][0], it.endpoints["two"][0]
            await publish(it.net, one, 8081, host_ip="::1")
            assert await asyncio.to_thread(hello, "::1", 8081) == f"one {front.gateway4}"
            with pytest.raises(ConnectionRefusedError):
                await asyncio.to_thread(hello, "127.0.0.1", 8081)
            with pytest.raises(Conflict, match="8081/tcp is held by container one"):
                await publish(it.net, two, 8081, host_ip="::1")
            # What "one" has at every IPv4 address gives way to who names ::1 or ::.
            await publish(it.net, one, 8082)
            await publish(it.net, two, 8082, host_ip="::1")
            assert await asyncio.to_thread(hello, "::1", 8082) == f"two {front.gateway4}"
            assert await asyncio.to_thread(hello, "127.0.0.1", 8082) == f"one {front.gateway4}"
            # A process that has it is left alone.
            taken = socket.create_server(("::1", 8083), family=socket.AF_INET6)
            await publish(it.net, one, 8083)
            taken.close()
            # A port of both IP versions: what comes in by ::1 goes on by IPv6.
            await publish(it.net, both, 8084)
            with socket.create_connection(("::1", 8084), timeout=5) as client:
                served, peer = await asyncio.to_thread(link.accept)
                assert peer[0] == six.gateway6
                served.close()
                assert client.recv(10) == b""
            link.close()
            await it.net.unpublish([])

    run(scenario, tmp_path)
