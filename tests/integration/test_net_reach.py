"""Who reaches whom, on a machine of the test's own with containers and a LAN neighbour."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from stackctl.errors import Conflict, ContainerError
from stackctl.model.container import NetworkAttachment, PortBinding
from stackctl.net import bridge, nft, rtnl
from stackctl.net.netlink import NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkSocket
from stackctl.net.service import Net
from stackctl.state.paths import Paths
from support.netengine import Lab, left_over, title_of
from support.netlab import Box, fetch, neighbour, run, unmark

pytestmark = pytest.mark.needs("root", "netns", "bridge")

LAN = "192.168.77."


def test_containers_reach_each_other_and_the_outside(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths) as it:
            outside = it.boxes["lan"] = neighbour(LAN)
            front = await it.network("front")
            one = await it.container("one", front)
            await it.container("two", front)
            assert await fetch(one, it.address("two"), 80) == f"two {it.address('one')}"
            # Outside, the container's address is not seen.
            assert await fetch(one, f"{LAN}2", 7000) == f"lan {LAN}1"
            # Nobody outside uses a container's address.
            assert await fetch(outside, it.address("two"), 80, timeout=0.3) == "timeout"

    run(scenario, tmp_path)


def test_a_published_port_is_reached_from_everywhere(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths) as it:
            outside = it.boxes["lan"] = neighbour(LAN)
            front, back = await it.network("front"), await it.network("back")
            one = await it.container("one", front)
            two = await it.container("two", front)
            far = await it.container("far", back)
            await it.publish("one", 8080)
            await it.publish("one", 8080, protocol="udp")
            gateway = front.gateway4
            for udp in (False, True):
                for address in ("127.0.0.1", "127.0.0.7", f"{LAN}1", gateway):
                    assert (await fetch(None, address, 8080, udp=udp)).startswith("one ")
                assert await fetch(outside, f"{LAN}1", 8080, udp=udp) == f"one {LAN}2"
                assert await fetch(two, gateway, 8080, udp=udp) == f"one {gateway}"
                assert await fetch(one, gateway, 8080, udp=udp) == f"one {gateway}"
                assert await fetch(one, f"{LAN}1", 8080, udp=udp) == f"one {gateway}"
                # Through the host, networks that do not see each other meet.
                assert await fetch(far, f"{LAN}1", 8080, udp=udp) == f"one {gateway}"

    run(scenario, tmp_path)


def test_networks_are_separate(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths) as it:
            outside = it.boxes["lan"] = neighbour(LAN)
            front, back = await it.network("front"), await it.network("back", internal=True)
            one = await it.container("one", front)
            two = await it.container("two", back)
            proxy = await it.container("proxy", front, back)
            assert await fetch(one, it.address("two"), 80, timeout=0.3) == "timeout"
            assert await fetch(two, it.address("one"), 80, timeout=0.3) != "one"
            assert await fetch(proxy, it.address("one"), 80) == f"one {it.address('proxy')}"
            assert await fetch(proxy, it.address("two"), 80) == f"two {it.address('proxy', 1)}"
            # An internal network leads nowhere, whatever its containers' routes say.
            assert await fetch(two, f"{LAN}2", 7000, timeout=0.3) == "Network is unreachable"
            assert await fetch(outside, it.address("two"), 80, timeout=0.3) == "timeout"

    run(scenario, tmp_path)


def test_a_port_published_on_loopback_is_for_this_machine_only(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths) as it:
            outside = it.boxes["lan"] = neighbour(LAN)
            front = await it.network("front")
            one = await it.container("one", front)
            await it.publish("one", 8080, "127.0.0.1")
            assert (await fetch(None, "127.0.0.1", 8080)).startswith("one ")
            assert await fetch(outside, f"{LAN}1", 8080, timeout=0.3) == "Connection refused"
            # A neighbour that sends 127.0.0.1 to our MAC address, as attackers do.
            for box, dev, via in ((outside, "lo", f"{LAN}1"), (one, "lo", front.gateway4)):
                lead_loopback_out(box, dev, via)
                assert await fetch(box, "127.0.0.1", 8080, timeout=0.3) != "one"

    run(scenario, tmp_path)


def test_a_neighbour_does_not_pass_for_a_container(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths) as it:
            outside = it.boxes["lan"] = neighbour(LAN)
            for name in ("all", "lan0"):  # the kernel's own look at senders is off on many machines
                bridge.write_setting(f"ipv4/conf/{name}/rp_filter", "0")
            front = await it.network("front")
            one = await it.container("one", front)
            await it.container("two", front)
            await it.publish("one", 9090, protocol="udp", inside=90)
            with (
                one.new_socket(socket.SOCK_DGRAM) as ear,
                outside.new_socket(socket.SOCK_DGRAM) as false,
                outside.new_socket(socket.SOCK_DGRAM) as true,
            ):
                ear.bind(("0.0.0.0", 90))
                false.setsockopt(socket.IPPROTO_IP, 19, 1)  # IP_TRANSPARENT: any sender
                false.bind((it.address("two"), 90))
                for mouth in (false, true):
                    mouth.sendto(b"?", (f"{LAN}1", 9090))
                _, sender = await asyncio.to_thread(ear.recvfrom, 10)
                assert sender[0] == f"{LAN}2"

    run(scenario, tmp_path)


def lead_loopback_out(box: Box, loopback: str, gateway: str) -> None:
    """In the box, 127.0.0.0/8 is routed to `gateway` instead of being local."""
    import struct

    from stackctl.net.netlink import NLM_F_CREATE, Request, attr, u32

    with box.inside(), NetlinkSocket(NETLINK_ROUTE) as link:
        bridge.write_setting("ipv4/conf/all/route_localnet", "1")
        address = struct.pack("=BBBBI", socket.AF_INET, 8, 0, 0, socket.if_nametoindex(loopback))
        loop = socket.inet_aton("127.0.0.1")
        gone = Request(21, 0, address + attr(2, loop) + attr(1, loop), "remove 127.0.0.1")
        header = struct.pack("=BBBBBBBBI", socket.AF_INET, 8, 0, 0, 254, 4, 0, 1, 0)
        out = u32(4, socket.if_nametoindex("eth0"))
        route = header + attr(1, socket.inet_aton("127.0.0.0"))
        via = attr(5, socket.inet_aton(gateway)) + out
        link.request([gone, Request(24, NLM_F_CREATE, route + via, "route 127.0.0.0/8")])


def test_two_engines_side_by_side(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        other = Paths(paths.root.with_name("root2"), paths.run.with_name("run2"))
        async with Lab(paths) as first, Lab(other) as second:
            one = await first.container("one", await first.network("front"))
            net2 = await second.network("front")
            two = await second.container("two", net2)
            await first.publish("one", 8080)
            with pytest.raises(Conflict, match=r"8080/tcp is held by .*another engine"):
                await second.publish("two", 8080)
            await second.publish("two", 8081)
            assert (await fetch(None, "127.0.0.1", 8080)).startswith("one ")
            assert (await fetch(None, "127.0.0.1", 8081)).startswith("two ")
            assert await fetch(one, second.address("two"), 80, timeout=0.3) == "timeout"
            first.boxes["lan"] = neighbour(LAN)
            assert (await fetch(one, f"{LAN}1", 8081)).startswith("two ")
            await first.net.stop()
            assert (await fetch(None, "127.0.0.1", 8081)).startswith("two ")
            assert (await fetch(two, net2.gateway4, 8081)).startswith("two ")

    run(scenario, tmp_path)


def test_what_a_container_gets(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths) as it:
            front, back = await it.network("front"), await it.network("back")
            box = await it.container("one", front, back)
            with box.inside(), NetlinkSocket(NETLINK_ROUTE) as link:
                links = {found.name: found for found in rtnl.links(link)}
                defaults = [r for r in rtnl.routes(link) if r.destination == "0.0.0.0/0"]
                v6 = rtnl.addresses(link, socket.AF_INET6)
                v4 = {a.address for a in rtnl.addresses(link)}
            assert {"lo", "eth0", "eth1"} <= set(links)
            assert all(links[name].up for name in ("lo", "eth0", "eth1"))
            assert links["eth0"].mac == it.endpoints["one"][0].mac
            assert v4 >= {e.ipv4 for e in it.endpoints["one"]}
            assert [a.address for a in v6] == ["::1/128"]  # no link-local address
            # "back" comes before "front": the default route leads through it.
            assert [r.gateway for r in defaults] == [back.gateway4]
            with NetlinkSocket(NETLINK_ROUTE) as link:
                ours = [found.index for found in rtnl.links(link) if paths.tag in found.name]
                v6 = [a for a in rtnl.addresses(link, socket.AF_INET6) if a.index in ours]
            assert v6 == []
            await it.net.detach("one")
            await it.net.detach("one")
            # Attached again at once: under the same names.
            await it.net.attach(box.pid, it.endpoints["one"])
            assert await fetch(box, front.gateway4, 1) == "Connection refused"
            await it.net.detach("one")
            await it.net.remove_network(front)
            with box.inside(), NetlinkSocket(NETLINK_ROUTE) as link:
                assert not any(found.name.startswith("eth") for found in rtnl.links(link))

    run(scenario, tmp_path)


def test_attaching_to_a_process_that_ended_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths) as it:
            front = await it.network("front")
            ghost = Box()
            pid = ghost.pid
            ghost.end()
            lease = it.net.lease(front, "ghost", NetworkAttachment(network="front"))
            with pytest.raises(ContainerError, match="ended before"):
                await it.net.attach(pid, [lease])
            it.net.release(lease)
            await it.net.remove_network(front)
            await it.net.remove_network(front)

    run(scenario, tmp_path)


def test_a_restarted_daemon_takes_over_and_removes_strays(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths) as it:
            front, stray = await it.network("front"), await it.network("stray")
            await it.container("one", front)
            await it.container("gone", front)
            await it.publish("one", 8080)
            binding = PortBinding(container_port=80)
            ports = await it.net.publish("one", it.endpoints["one"], [binding])
            await it.net.close()
            # The daemon is dead: everything goes on.
            assert (await fetch(None, "127.0.0.1", 8080)).startswith("one ")
            unmark(front.bridge)  # as an older engine's
            it.net = Net(paths, title_of=title_of)
            await it.net.open([front], it.endpoints["one"], ports)
            with pytest.raises(Conflict, match="held by container one of project shop"):
                it.endpoints["other"] = it.endpoints["one"]
                await it.publish("other", ports[0].host_port)
            assert (await fetch(None, "127.0.0.1", ports[0].host_port)).startswith("one ")
            # What no record knows is gone, and its port is free.
            assert await fetch(None, "127.0.0.1", 8080) == "Connection refused"
            names = [name for _, name in socket.if_nameindex()]
            assert stray.bridge not in names
            assert len([n for n in names if n.startswith(f"v{paths.tag}")]) == 1
            again = it.net.lease(front, "new", NetworkAttachment(network="front"))
            assert again.ipv4 not in (e.ipv4 for e in it.endpoints["one"])

    run(scenario, tmp_path)


def test_with_the_last_network_the_rules_go_and_with_the_next_they_come(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths) as it:
            for _ in range(2):
                front, back = await it.network("front"), await it.network("back")
                await it.net.remove_network(front)
                assert left_over(paths)
                await it.net.remove_network(back)
                assert [name for name in left_over(paths) if not name.startswith("keeper")] == []

    run(scenario, tmp_path)


def test_many_changes_at_once(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths) as it:
            front = await it.network("front")
            names = [f"c{n}" for n in range(12)]
            await asyncio.gather(*(it.container(name, front) for name in names))
            # However many begin at once, the keeper is watched by one connection.
            assert len(_connections(paths.keeper_socket)) <= 2
            ports = await asyncio.gather(
                *(it.publish("c0", 9000 + n) for n in range(100)),
            )
            assert (await fetch(None, "127.0.0.1", ports[-1][0].host_port)).startswith("c0 ")
            with NetlinkSocket(NETLINK_NETFILTER) as link:
                table = nft.Table(nft.FAMILY_IP, paths.nft_table)
                assert len(nft.set_elements(link, table, "any")) == 100
            await asyncio.gather(*(it.net.detach(name) for name in names))

    run(scenario, tmp_path)


def _connections(path: Path) -> list[str]:
    """The keeper's ends of connections to its socket (unix(7))."""
    with open("/proc/thread-self/net/unix") as file:
        lines = [line.split() for line in file]
    return [w[6] for w in lines if len(w) > 7 and w[7] == str(path) and w[5] == "03"]
