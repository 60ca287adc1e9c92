"""IPv6 networks: addresses, ports, the way out, walls, and none where none is wanted."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

import pytest

from stackctl.errors import Conflict, StackctlError
from stackctl.model.container import NetworkAttachment, PortBinding
from stackctl.model.network import IpamPool
from stackctl.net import rtnl
from stackctl.net.netlink import NETLINK_ROUTE, NetlinkSocket
from stackctl.net.service import Net
from stackctl.state.paths import Paths
from support.netengine import Lab
from support.netlab import Box, fetch, neighbour, run

pytestmark = pytest.mark.needs("root", "netns", "bridge")

LAN = "fd77::"


def test_containers_speak_ipv6_with_each_other_and_with_the_outside(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths, enable_ipv6=True) as it:
            outside = it.boxes["lan"] = neighbour(LAN)
            front, back = await it.network("front"), await it.network("back")
            one, two = await it.container("one", front), await it.container("two", front)
            await it.container("far", back)
            assert ipaddress.ip_network(front.subnet6).subnet_of(ipaddress.ip_network("fd00::/8"))
            assert await fetch(two, it.six("one"), 80) == f"one {it.six('two')}"
            # Outside its own address is not seen (NAT66), and nobody uses it from there.
            assert await fetch(one, f"{LAN}2", 7000) == f"lan {LAN}1"
            assert await fetch(outside, it.six("one"), 80, timeout=0.3) == "timeout"
            assert await fetch(one, it.six("far"), 80, timeout=0.3) == "timeout"

    run(scenario, tmp_path)


def test_a_port_is_published_on_both_ip_versions_at_one_number(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths, enable_ipv6=True) as it:
            outside = it.boxes["lan"] = neighbour(LAN)
            front = await it.network("front")
            one, two = await it.container("one", front), await it.container("two", front)
            for udp in (False, True):
                binding = PortBinding(container_port=80, protocol="udp" if udp else "tcp")
                ports = await it.net.publish("one", it.endpoints["one"], [binding])
                assert [p.host_ip for p in ports] == ["0.0.0.0", "::"]
                number = ports[0].host_port
                assert ports[1].host_port == number
                assert await fetch(outside, f"{LAN}1", number, udp=udp) == f"one {LAN}2"
                for box, address in ((None, f"{LAN}1"), (two, front.gateway6)):
                    answer = await fetch(box, address, number, udp=udp, timeout=2)
                    assert answer.startswith("one "), (address, udp, answer)
                assert (await fetch(one, f"{LAN}1", number, udp=udp)).startswith("one ")
                await it.net.unpublish(ports)
            binding = PortBinding(container_port=80, host_port=(8080, 8080))
            ports = await it.net.publish("one", it.endpoints["one"], [binding])
            assert (await fetch(None, "::1", 8080)).startswith("one ")
            with pytest.raises(Conflict, match="8080/tcp is held by"):
                await it.net.publish("two", it.endpoints["two"], [binding])
            # Somebody else's port of IPv6 alone is a clash, too, and nothing is left held.
            await it.net.unpublish(ports)
            taken = socket.create_server(("::", 8080), family=socket.AF_INET6)
            with pytest.raises(Conflict, match="8080/tcp is held by"):
                await it.net.publish("two", it.endpoints["two"], [binding])
            taken.close()
            await it.net.publish("two", it.endpoints["two"], [binding])

    run(scenario, tmp_path)


def test_pools_ranges_and_gateways_are_the_users(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths, enable_ipv6=True) as it:
            pools = (
                IpamPool(subnet="10.7.0.0/24", ip_range="10.7.0.128/25", gateway="10.7.0.254"),
                IpamPool(
                    subnet="fd12::/64",
                    ip_range="fd12::ff00/120",
                    gateway="fd12::9",
                    aux_addresses={"router": "fd12::ff01"},
                ),
            )
            front = await it.network("front", ipam=pools)
            box = await it.container("one", front)
            mine = it.endpoints["one"][0]
            assert (mine.ipv4, mine.ipv6) == ("10.7.0.129/24", "fd12::ff02/64")
            with box.inside(), NetlinkSocket(NETLINK_ROUTE) as link:
                ways = [
                    route.gateway
                    for family in (socket.AF_INET, socket.AF_INET6)
                    for route in rtnl.routes(link, family)
                    if route.destination.endswith("/0")
                ]
            assert ways == ["10.7.0.254", "fd12::9"]
            wanted = NetworkAttachment(network="front", ipv6_address="fd12::77")
            assert it.net.lease(front, "two", wanted).ipv6 == "fd12::77/64"
            with pytest.raises(Conflict, match="overlaps"):
                await it.network("again", ipam=(IpamPool(subnet="fd12::/48"),))

    run(scenario, tmp_path)


def test_a_network_of_several_subnets_is_one_network(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths, enable_ipv6=True) as it:
            outside = it.boxes["lan"] = neighbour(LAN)
            pools = (
                IpamPool(subnet="10.7.0.0/30", aux_addresses={"router": "10.7.0.1"}),
                IpamPool(subnet="fd12::/64"),
                IpamPool(subnet="10.8.0.0/24", gateway="10.8.0.254"),
                IpamPool(subnet="fd13::/64"),
            )
            front = await it.network("front", ipam=pools)
            # The first address is spoken for: the gateway is the next one.
            assert front.subnets == (
                ("10.7.0.0/30", "10.7.0.2"),
                ("fd12::/64", "fd12::1"),
                ("10.8.0.0/24", "10.8.0.254"),
                ("fd13::/64", "fd13::1"),
            )
            # The first subnet is full with that: the next one's turn.
            one = await it.container("one", front)
            mine = it.endpoints["one"][0]
            assert (mine.ipv4, mine.gateway4, mine.gateway6) == (
                "10.8.0.1/24",
                "10.8.0.254",
                "fd12::1",
            )
            wish = NetworkAttachment(
                network="front", ipv4_address="10.8.0.77", ipv6_address="fd13::7"
            )
            two = it.boxes["two"] = Box()
            other = it.net.lease(front, "two", wish)
            assert (other.gateway4, other.gateway6) == ("10.8.0.254", "fd13::1")
            await it.net.attach(two.pid, [other])
            two.serve(80, text="two", family=socket.AF_INET6)
            # From subnet to subnet by way of the bridge, and out of both.
            assert (await fetch(one, "fd13::7", 80)).startswith("two ")
            assert (await fetch(two, it.six("one"), 80)).startswith("one ")
            for box in (one, two):
                assert await fetch(box, f"{LAN}2", 7000) == f"lan {LAN}1"
            for address in (it.six("one"), "fd13::7"):
                assert await fetch(outside, address, 80, timeout=0.3) == "timeout"
            # The next daemon finds the same, and all of it is given back.
            endpoints = [mine, other]
            await it.net.close()
            it.net = Net(paths)
            await it.net.open([front], endpoints, (), ("one", "two"))
            assert (await fetch(one, "fd13::7", 80)).startswith("two ")
            with pytest.raises(Conflict, match="overlaps"):
                await it.network("again", ipam=(IpamPool(subnet="10.8.0.0/16"),))
            await it.net.remove_network(front)
            again = await it.network("again", ipam=(IpamPool(subnet="10.8.0.0/16"),))
            assert again.gateway4 == "10.8.0.1"

    run(scenario, tmp_path)


def test_one_interface_with_ipv6_does_not_give_it_to_another(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths, enable_ipv6=True) as it:
            six = await it.network("six")
            four = await it.network("four", enable_ipv6=False)
            box = await it.container("one", six, four)
            with box.inside(), NetlinkSocket(NETLINK_ROUTE) as link:
                index = socket.if_nametoindex("eth1")
                every = rtnl.addresses(link, socket.AF_INET6)
            assert [a.address for a in every if a.index == index] == []
            assert any(a.address == it.endpoints["one"][0].ipv6 for a in every)
            fixed = NetworkAttachment(network="four", ipv6_address="fd00::5")
            with pytest.raises(StackctlError, match="has no IPv6"):
                it.net.lease(four, "two", fixed)

    run(scenario, tmp_path)


def test_the_tables_of_both_versions_go_with_the_last_network(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        from stackctl.net import nft
        from stackctl.net.netlink import NETLINK_NETFILTER

        def families() -> set[int]:
            with NetlinkSocket(NETLINK_NETFILTER) as link:
                return {family for family, name in nft.tables(link) if name == paths.nft_table}

        async with Lab(paths, enable_ipv6=True) as it:
            front = await it.network("front")
            assert families() == {nft.FAMILY_IP, nft.FAMILY_IP6, nft.FAMILY_BRIDGE}
            await it.net.close()
            it.net = Net(paths)
            await it.net.open([front], (), ())
            assert families() == {nft.FAMILY_IP, nft.FAMILY_IP6, nft.FAMILY_BRIDGE}
            await it.net.remove_network(front)
            assert families() == set()

    run(scenario, tmp_path)
