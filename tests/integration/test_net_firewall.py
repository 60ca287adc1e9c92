"""Our rules among other people's: put back when flushed, let through where others drop."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stackctl.net import nft
from stackctl.net import nftexpr as x
from stackctl.net.marks import marks_of
from stackctl.net.netlink import NETLINK_NETFILTER, NetlinkSocket, Request
from stackctl.net.nft import Table
from stackctl.state.paths import Paths
from support.netengine import Lab
from support.netlab import fetch, run

pytestmark = pytest.mark.needs("root", "netns", "bridge")

FILTER = Table(nft.FAMILY_IP, "filter")


def commit(*requests: Request) -> None:
    """As another program: on a socket of its own."""
    with NetlinkSocket(NETLINK_NETFILTER) as link:
        nft.commit(link, requests)


def table_text(paths: Paths) -> list[tuple[str, bytes]]:
    with NetlinkSocket(NETLINK_NETFILTER) as link:
        table = Table(nft.FAMILY_IP, paths.nft_table)
        found = [(rule.chain, rule.raw) for rule in nft.rules(link, table)]
        for one in nft.sets(link, table):
            found += [(one.name, k + v) for k, v in nft.set_elements(link, table, one.name).items()]
    return sorted(found)


def foreign_rules(table: Table, chain: str) -> list[str]:
    with NetlinkSocket(NETLINK_NETFILTER) as link:
        return [rule.comment for rule in nft.rules(link, table, chain)]


def forward_drop(*, docker: bool = False) -> list[Request]:
    """What dockerd (or ufw) leaves: FORWARD with policy drop, and DOCKER-USER if it is dockerd."""
    made = [FILTER.create()]
    made.append(FILTER.chain("FORWARD", "filter", nft.HOOK_FORWARD, 0, accept=False))
    if docker:
        made.append(FILTER.chain("DOCKER-USER"))
        made.append(FILTER.rule("FORWARD", [x.counter(), x.jump("DOCKER-USER")]))
        made.append(FILTER.rule("DOCKER-USER", [x.counter(), x.leave()]))
    return made


async def until(condition: Callable[[], bool], limit: float = 10) -> float:
    start = time.monotonic()
    while not condition():
        assert time.monotonic() < start + limit, "waited in vain"
        await asyncio.sleep(0.01)
    return time.monotonic() - start


@pytest.mark.parametrize("what", ["table", "rules", "element"])
def test_our_table_is_put_back(what: str, tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths) as it:
            front, back = await it.network("front"), await it.network("back")
            one = await it.container("one", front)
            await it.publish("one", 8080)
            await it.container("two", back)
            before = table_text(paths)
            table = Table(nft.FAMILY_IP, paths.nft_table)
            if what == "table":
                commit(table.delete())
            elif what == "rules":
                commit(table.request(nft.DELRULE, 0, "flush"))
            else:
                elements = list(it.net._kernel.table.forwards.values())
                gone = it.net._kernel.table._forward_requests(elements, delete=True)
                commit(*gone)
            assert table_text(paths) != before
            await until(lambda: table_text(paths) == before)
            assert (await fetch(None, "127.0.0.1", 8080)).startswith("one ")
            assert await fetch(one, it.address("two"), 80, timeout=0.3) == "timeout"

    run(scenario, tmp_path)


@pytest.mark.parametrize("docker", [False, True], ids=["policy", "dockerd"])
@pytest.mark.parametrize("later", [False, True], ids=["before", "after"])
def test_a_forward_policy_of_drop_lets_us_through(
    docker: bool, later: bool, tmp_path: Path
) -> None:
    chain = "DOCKER-USER" if docker else "FORWARD"

    async def scenario(paths: Paths) -> None:
        if not later:
            commit(*forward_drop(docker=docker))
        async with Lab(paths) as it:
            front = await it.network("front")
            await it.container("one", front)
            await it.publish("one", 8080)
            two = await it.container("two", front)
            if later:
                commit(*forward_drop(docker=docker))
            mark = paths.nft_table
            await until(lambda: foreign_rules(FILTER, chain).count(mark) == 2)
            assert (await fetch(two, it.address("one"), 80)).startswith("one ")
            assert (await fetch(two, front.gateway4, 8080)).startswith("one ")
            # Once more does not add more.
            await it.network("back")
            await it.net._worker.run(it.net._kernel.let_through)
            assert foreign_rules(FILTER, chain).count(mark) == 2
            found = await it.net.findings()
            assert any(chain in finding.text for finding in found)
            assert not any(finding.is_problem for finding in found)
        assert paths.nft_table not in foreign_rules(FILTER, chain)

    run(scenario, tmp_path)


@pytest.mark.needs("program:iptables-nft")
def test_iptables_can_still_read_its_chain(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        iptables("-N", "DOCKER-USER")
        iptables("-A", "DOCKER-USER", "-j", "RETURN")
        iptables("-I", "FORWARD", "-j", "DOCKER-USER")
        iptables("-P", "FORWARD", "DROP")
        async with Lab(paths) as it:
            await it.container("one", await it.network("front"))
            rules = iptables("-S", "DOCKER-USER").splitlines()
            prefix = f"sc{paths.tag}+"
            accept = f"-m comment --comment {paths.nft_table} -j ACCEPT"
            assert f"-A DOCKER-USER -o {prefix} {accept}" in rules
            assert f"-A DOCKER-USER -i {prefix} {accept}" in rules
        assert iptables("-S", "DOCKER-USER").split("\n", 1)[1] == "-A DOCKER-USER -j RETURN\n"

    run(scenario, tmp_path)


def iptables(*arguments: str) -> str:
    done = subprocess.run(
        ["/usr/sbin/iptables-nft", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_administrators_own_chain_is_reported_and_not_touched(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        table = Table(nft.FAMILY_INET, "mine")
        chain = table.chain("walls", "filter", nft.HOOK_FORWARD, 0, accept=False)
        commit(table.create(), chain)
        async with Lab(paths) as it:
            await it.container("one", await it.network("front"))
            found = [finding for finding in await it.net.findings() if finding.is_problem]
            assert ["mine walls" in finding.text for finding in found] == [True]
            assert foreign_rules(table, "walls") == []

    run(scenario, tmp_path)


@pytest.mark.needs("nft")
def test_the_nft_tool_reads_our_table_as_we_mean_it(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths) as it:
            front = await it.network("front")
            await it.container("one", front)
            await it.publish("one", 8080)
            text = ""
            for family in ("ip", "bridge"):
                argv = ["nft", "list", "table", family, paths.nft_table]
                text += subprocess.run(argv, capture_output=True, text=True, check=True).stdout
            address, mac = it.address("one"), it.endpoints["one"][0].mac
            marks = marks_of(paths.tag)
            for line in (
                f'elements = {{ "{front.bridge}" . "{front.bridge}" }}',
                f"elements = {{ {front.subnet4} }}",
                f"elements = {{ tcp . 8080 : {address} . 80 }}",
                f"\t\tiifgroup {marks.open} ct direction reply accept\n"
                f"\t\tiifgroup & {marks.mask} == {marks.open} ct direction reply accept\n"
                f"\t\tiifgroup & {marks.mask} == {marks.open} ip daddr != 127.0.0.0/8 accept\n"
                f"\t\tiifgroup & {marks.mask} == {marks.open} drop\n",
                f"iifgroup & {marks.mask} != {marks.open} ip saddr @guarded drop",
                "@usual4 accept",
                f'" . {mac} . {address}',
                "ip daddr @guarded drop",
                "iifname . oifname @local accept",
                "ct state established,related accept",
                f"oifgroup & {marks.mask} == {marks.open} ct status dnat accept",
                "fib daddr type local dnat ip to meta l4proto . th dport map @any",
                f"oifgroup & {marks.mask} != {marks.open} ip saddr @outgoing masquerade",
            ):
                assert line in text, f"{line}\nis not in\n{text}"

    run(scenario, tmp_path)


def test_a_udp_sender_that_never_stops_finds_the_new_container(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths) as it:
            front = await it.network("front", enable_ipv6=True)
            link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            link6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            for each in (link, link6):
                each.settimeout(2)
            for name in ("old", "new"):
                await it.container(name, front)
                ports = await it.publish(name, 8125, protocol="udp")
                for each, address in ((link, "127.0.0.1"), (link6, front.gateway6)):
                    each.sendto(b"?", (address, 8125))
                    reply = await asyncio.to_thread(each.recv, 100)
                    assert reply.decode().startswith(name)
                await it.net.unpublish(ports)

    run(scenario, tmp_path)
