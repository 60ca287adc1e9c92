"""What somebody takes away under running containers comes back by itself."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stackctl.net import linkfilter, rtnl
from stackctl.net.bridge import IFLA_IFNAME, link_header
from stackctl.net.marks import marks_of
from stackctl.net.netlink import NETLINK_ROUTE, NetlinkSocket, Request, text
from stackctl.net.watch import _LINK_GROUPS
from stackctl.state.paths import Paths
from support.netengine import LAN, Lab
from support.netlab import fetch, neighbour, run, take_down, unmark

pytestmark = pytest.mark.needs("root", "netns", "bridge")


def delete(name: str) -> None:
    """`ip link del NAME`, as another program."""
    with NetlinkSocket(NETLINK_ROUTE) as link:
        link.request([Request(rtnl.RTM_DELLINK, 0, link_header() + text(IFLA_IFNAME, name))])


def strip(name: str, version: int) -> None:
    """`ip -4|-6 address flush dev NAME`."""
    index = socket.if_nametoindex(name)
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with NetlinkSocket(NETLINK_ROUTE) as link:
        for message in link.dump(
            Request(rtnl.RTM_GETADDR, 0, bytes((family, 0, 0, 0, 0, 0, 0, 0)))
        ):
            if int.from_bytes(message.body[4:8], "little") == index:
                link.request([Request(rtnl.RTM_DELADDR, 0, message.body)])


def addresses(name: str) -> set[str]:
    if name not in (found for _, found in socket.if_nameindex()):
        return set()
    index = socket.if_nametoindex(name)
    with NetlinkSocket(NETLINK_ROUTE) as link:
        every = rtnl.addresses(link) + rtnl.addresses(link, socket.AF_INET6)
    return {a.address for a in every if a.index == index and not a.address.startswith("fe80")}


def setting(path: str) -> Path:
    return Path("/proc/sys/net") / path


async def until(condition: Callable[[], bool], limit: float = 10) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.01)


async def until_says(start: str, *where: object) -> None:
    """Until fetching there gives what starts so."""
    end = time.monotonic() + 10
    while not (said := await fetch(*where, timeout=0.3)).startswith(start):  # type: ignore[arg-type]
        assert time.monotonic() < end, said
        await asyncio.sleep(0.01)


class Said(logging.Handler):
    """What the engine's log says in this process."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        logging.getLogger("stackctl").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def test_a_bridge_that_somebody_takes_away_comes_back(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        said = Said()
        async with Lab(paths) as it:
            it.boxes["lan"] = neighbour(LAN)
            front = await it.network("front", enable_ipv6=True)
            other = await it.network(
                "other", driver_opts={"com.docker.network.bridge.name": "mine"}
            )
            one = await it.container("one", front, other)
            await it.container("two", front)
            await it.container("three", other)
            await it.publish("two", 8080)
            whole = {b: addresses(b) for b in (front.bridge, other.bridge)}
            assert [len(found) for found in whole.values()] == [2, 1]

            async def all_is_well() -> None:
                await until(lambda: {b: addresses(b) for b in whole} == whole)
                await until_says("two ", one, it.address("two"), 80)
                await until_says("two ", one, it.six("two"), 80)
                await until_says("three ", one, it.address("three"), 80)
                await until_says("two ", it.boxes["lan"], f"{LAN}1", 8080)
                await until_says("two ", None, "127.0.0.1", 8080)

            for bridge in whole:
                delete(bridge)
                await all_is_well()
            unmark(front.bridge)
            await all_is_well()
            take_down(front.bridge)
            strip(other.bridge, 4)
            await all_is_well()
            strip(front.bridge, 6)
            await all_is_well()
            line = f"somebody took bridge {front.bridge}, its address or its mark away: it is back"
            await until(lambda: said.lines.count(line) == 4)
            # A network that goes by our own hand stays gone.
            await it.net.detach("three")
            await it.net.detach("one", it.endpoints["one"][1:])
            await it.net.remove_network(other)
            delete(front.bridge)
            await until(lambda: addresses(front.bridge) == whole[front.bridge])
            assert addresses("mine") == set()
            assert not [line for line in said.lines if "could not be repaired" in line]

    run(scenario, tmp_path)


def test_forwarding_that_somebody_switches_off_comes_back(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        said = Said()
        async with Lab(paths, enable_ipv6=True) as it:
            it.boxes["lan"] = neighbour(LAN)
            front = await it.network("front")
            one = await it.container("one", front)
            four, six = setting("ipv4/ip_forward"), setting("ipv6/conf/all/forwarding")
            own = setting(f"ipv4/conf/{front.bridge}/forwarding")
            for path in (four, six, own):
                path.write_text("0")
                await until(lambda path=path: path.read_text() == "1\n")  # type: ignore[misc]
            await until_says("lan ", one, f"{LAN}2", 7000)
            assert [line for line in said.lines if "forwarding" in line]

    run(scenario, tmp_path)


def test_containers_that_come_and_go_wake_nobody(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths, enable_ipv6=True) as it:
            front = await it.network("front")
            with NetlinkSocket(NETLINK_ROUTE, _LINK_GROUPS) as told:
                told.filter(linkfilter.program(f"v{paths.tag}", marks_of(paths.tag)))
                await it.container("one", front)
                await it.container("two", front)
                await it.net.detach("one")
                await it.net._worker.run(lambda: None, late=True)
                assert len([n for _, n in socket.if_nameindex() if paths.tag in n]) == 2
                assert list(told.received()) == []
                take_down(front.bridge)
                assert rtnl.RTM_NEWLINK in {message.kind for message in told.received()}

    run(scenario, tmp_path)
