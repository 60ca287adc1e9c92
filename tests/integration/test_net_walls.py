"""What a container must not do on its own network, and what it may not have twice."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path

import pytest

from stackctl.errors import Conflict, MachineError, NotFound, StackctlError, UsageError
from stackctl.model.addressing import interface_settings
from stackctl.model.container import NetworkAttachment, PortBinding
from stackctl.model.network import IpamPool
from stackctl.net import bridge, rtnl
from stackctl.net.naming import Naming
from stackctl.net.netlink import NETLINK_ROUTE, NLM_F_CREATE, NetlinkSocket, Request, attr
from stackctl.net.pool import link_local_of
from stackctl.net.service import Net
from stackctl.state.paths import Paths
from support.netengine import LAN, Lab, title_of
from support.netlab import Box, defaults, fetch, neighbour, run, take_down
from support.netwalls import (
    advertised,
    arp_reply,
    icmp6_frame,
    mac_bytes,
    sent_frames,
    udp_frame,
)

pytestmark = pytest.mark.needs("root", "netns", "bridge")

_ICC = "com.docker.network.bridge.enable_icc"
_NAME = "com.docker.network.bridge.name"
_BINDING = "com.docker.network.bridge.host_binding_ipv4"


def test_a_container_speaks_with_its_own_addresses_only(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths) as it:
            front = await it.network("front")
            evil, victim = await it.container("evil", front), await it.container("victim", front)
            await it.container("other", front)
            mine, theirs = it.endpoints["evil"][0], it.endpoints["victim"][0]
            other = it.endpoints["other"][0].ipv4.partition("/")[0]
            own = mine.ipv4.partition("/")[0]
            good = udp_frame(mac_bytes(mine.mac), mac_bytes(theirs.mac), own, it.address("victim"))
            false_ip = udp_frame(
                mac_bytes(mine.mac), mac_bytes(theirs.mac), other, it.address("victim")
            )
            false_mac = udp_frame(b"\x02" * 6, mac_bytes(theirs.mac), own, it.address("victim"))
            false_arp = arp_reply(mac_bytes(mine.mac), other)
            true_arp = arp_reply(mac_bytes(mine.mac), own)
            vlan = good[:12] + struct.pack(">HH", 0x8100, 5) + good[12:]
            frames = [false_ip, false_mac, false_arp, vlan, true_arp, good]
            assert await sent_frames(evil, victim, frames) == [true_arp, good]
            # The bridge knows where everybody is: nobody else hears it.
            assert await sent_frames(evil, it.boxes["other"], [good, true_arp]) == [true_arp]

    run(scenario, tmp_path)


def test_a_container_is_no_ipv6_router_and_answers_for_itself_only(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths, enable_ipv6=True) as it:
            front = await it.network("front")
            evil, victim = await it.container("evil", front), await it.container("victim", front)
            await it.container("other", front)
            mine = mac_bytes(it.endpoints["evil"][0].mac)
            own, other, everybody = it.six("evil"), it.six("other"), "ff02::1"
            local = link_local_of(it.endpoints["evil"][0].mac)
            router = struct.pack(">BBHII", 64, 0, 1800, 0, 0) + b"\1\1" + mine
            padding = b"\1\4" + bytes(4)

            def said(sender: str, kind: int, body: bytes, hops: bytes = b"") -> bytes:
                return icmp6_frame(mine, sender, everybody, kind, body, hops=hops)

            bad = [
                said(local, 134, router),
                said("::", 134, router),
                said(local, 134, router, padding),  # behind a header of options
                said(local, 137, bytes(36)),  # "better go by"
                said(own, 136, advertised(other, mine)),
                said(own, 136, advertised(other, mine), padding),
                said("::", 136, advertised(other, mine)),
                said(own, 136, advertised(front.gateway6, mine)),
                said(other, 135, bytes(4) + socket.inet_pton(socket.AF_INET6, own)),
                said(other, 128, bytes(8)),
                said("fe80::1", 128, bytes(8)),
            ]
            good = [said(own, 136, advertised(own, mine)), said(local, 128, bytes(8))]
            assert await sent_frames(evil, victim, [*bad, *good]) == good

    run(scenario, tmp_path)


def test_with_icc_off_containers_reach_the_world_and_not_each_other(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths) as it:
            apart = await it.network("apart", driver_opts={_ICC: "false"})
            one = await it.container("one", apart)
            await it.container("two", apart)
            assert (
                await fetch(one, it.address("two"), 80, timeout=0.3) != f"two {it.address('one')}"
            )
            # Not by way of the host's routing either.
            lead_by_gateway(one, it.address("two"), apart.gateway4)
            assert await fetch(one, it.address("two"), 80, timeout=0.3) == "timeout"
            # A published port is for everybody.
            await it.publish("two", 8080)
            assert (await fetch(one, apart.gateway4, 8080)).startswith("two ")
            assert (await fetch(None, "127.0.0.1", 8080)).startswith("two ")

    run(scenario, tmp_path)


def lead_by_gateway(box: Box, address: str, gateway: str) -> None:
    from stackctl.net.netlink import NLM_F_CREATE, Request, attr, u32

    with box.inside(), NetlinkSocket(NETLINK_ROUTE) as link:
        header = struct.pack("=BBBBBBBBI", socket.AF_INET, 32, 0, 0, 254, 4, 0, 1, 0)
        body = header + attr(1, socket.inet_aton(address)) + attr(5, socket.inet_aton(gateway))
        body += u32(4, socket.if_nametoindex("eth0"))
        link.request([Request(rtnl.RTM_NEWROUTE, NLM_F_CREATE, body, "route by the gateway")])


def test_a_bridge_is_called_as_the_user_wants_and_not_as_another_one(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths) as it:
            named = await it.network(
                "named", driver_opts={_NAME: "br-front", _BINDING: "127.0.0.1"}
            )
            assert "br-front" in [name for _, name in socket.if_nameindex()]
            one = await it.container("one", named)
            await it.container("two", named)
            assert (await fetch(one, it.address("two"), 80)).startswith("two ")
            ports = await it.net.publish(
                "two", it.endpoints["two"], [PortBinding(container_port=80)]
            )
            assert [p.host_ip for p in ports] == ["127.0.0.1"]
            with pytest.raises(Conflict, match="br-front already"):
                await it.network("again", driver_opts={_NAME: "br-front"})
            assert "br-front" in [name for _, name in socket.if_nameindex()]
            plain = await it.network("plain")
            for taken in (plain.bridge, f"sc{paths.tag}000000", f"v{paths.tag}000000"):
                with pytest.raises(Conflict, match="as this engine gives"):
                    await it.network("again", driver_opts={_NAME: taken})
            await it.net.remove_network(named)
            assert "br-front" not in [name for _, name in socket.if_nameindex()]

    run(scenario, tmp_path)


def test_an_interface_that_has_a_bridges_name_by_now_is_left_alone(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths) as it:
            named = await it.network("named", driver_opts={_NAME: "br-front"})
            with NetlinkSocket(NETLINK_ROUTE) as link:
                bridge.remove_links(link, ["br-front"], 0x77)
                bridge.make_bridge(link, "br-front", ["192.168.88.1/24"], "02:00:00:00:00:01")
            await it.net.close()
            it.net = Net(paths, title_of=title_of)
            await it.net.open([named], (), ())
            await it.net.remove_network(named)
            await it.network("other")  # whatever waited to be removed is gone now
            with NetlinkSocket(NETLINK_ROUTE) as link:
                (theirs,) = [found for found in rtnl.links(link) if found.name == "br-front"]
                own = [a.address for a in rtnl.addresses(link) if a.index == theirs.index]
                assert (theirs.group, own) == (0, ["192.168.88.1/24"])
                bridge.remove_links(link, ["br-front"], 0x77)

    run(scenario, tmp_path)


def test_macvlan_puts_a_container_into_the_lan(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths) as it:
            lan = it.boxes["lan"] = neighbour("192.168.77.")
            pool = IpamPool(subnet="192.168.77.0/24", ip_range="192.168.77.64/26")
            street = await it.network(
                "street", driver="macvlan", driver_opts={"parent": "lan0"}, ipam=(pool,)
            )
            one = await it.container("one", street)
            assert it.address("one") == "192.168.77.65"
            assert await fetch(one, "192.168.77.2", 7000) == "lan 192.168.77.65"
            # The neighbour reaches it without any port being published.
            assert await fetch(lan, "192.168.77.65", 80) == "one 192.168.77.2"
            await it.net.leave("one")
            with pytest.raises(NotFound, match="no interface"):
                await it.network("none", driver="macvlan", driver_opts={"parent": "nope0"})

    run(scenario, tmp_path)


def test_a_driver_that_the_kernel_lacks_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths) as it:
            with NetlinkSocket(NETLINK_ROUTE) as link:
                bridge.make_bridge(link, "lan0", ["192.168.77.1/24"], "02:00:00:00:00:01")
            before = socket.if_nameindex()
            try:
                made = await it.network("l", driver="ipvlan", driver_opts={"parent": "lan0"})
            except MachineError as error:
                assert "ipvlan on lan0" in str(error)
            else:
                await it.net.remove_network(made)
            assert socket.if_nameindex() == before

    run(scenario, tmp_path)


def naming(it: Lab, name: str) -> Naming:
    return Naming(
        container_id=name,
        endpoints=tuple(it.endpoints[name]),
        names={e.network: (name,) for e in it.endpoints[name]},
        resolver="keep",
    )


def test_a_running_container_joins_and_leaves_networks(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths) as it:
            front, back = await it.network("front"), await it.network("back")
            one = await it.container("one", front)
            await it.container("far", back)
            assert defaults(one) == [front.gateway4]
            wanted = NetworkAttachment(network="back", interface_name="lan7", gw_priority=5)
            ports = await it.publish("one", 8080)
            far = it.boxes["lan"] = neighbour(LAN)
            assert await fetch(far, f"{LAN}1", 8080) == f"one {LAN}2"
            for mistake in (
                {"mac_address": "junk"},
                {"mac_address": "02:00:00:00:00:00:00"},
                {"ipv4_address": "junk"},
                {"interface_name": "../../x"},
            ):
                odd = NetworkAttachment(network="back", **mistake)
                with pytest.raises(UsageError):
                    it.net.lease(back, "one", odd)
            lease = it.net.lease(back, "one", wanted)
            it.endpoints["one"].append(lease)
            await it.net.connect(one.pid, lease, it.endpoints["one"], naming(it, "one"))
            # The answer leaves by the new way out: the port must lead there, too.
            assert await fetch(far, f"{LAN}1", 8080, timeout=0.3) == "timeout"
            ports = await it.net.lead(ports, it.endpoints["one"])
            await it.publish("one", 8081)
            for number in (8080, 8081):
                assert await fetch(far, f"{LAN}1", number) == f"one {LAN}2"
            assert await fetch(one, it.address("far"), 80) == f"far {it.address('one', 1)}"
            assert defaults(one) == [back.gateway4]
            it.endpoints["one"].remove(lease)
            await it.net.disconnect(one.pid, lease, it.endpoints["one"], naming(it, "one"))
            with one.inside():
                assert "lan7" not in [name for _, name in socket.if_nameindex()]
            assert defaults(one) == [front.gateway4]
            ports = await it.net.lead(ports, it.endpoints["one"])
            assert await fetch(far, f"{LAN}1", 8080) == f"one {LAN}2"
            assert await fetch(one, it.address("far"), 80, timeout=0.3) == "timeout"
            it.net.release(lease)
            # And again: nothing of the first time stands in the way.
            lease = it.net.lease(back, "one", wanted)
            it.endpoints["one"].append(lease)
            await it.net.connect(one.pid, lease, it.endpoints["one"], naming(it, "one"))
            assert (await fetch(one, it.address("far"), 80)).startswith("far ")
            # It set the other interface down itself: this one goes all the same.
            with one.inside():
                take_down("eth0")
            it.endpoints["one"].remove(lease)
            rest = it.endpoints["one"]
            told = await it.net.disconnect(one.pid, lease, rest, naming(it, "one"))
            (problem,) = told
            assert problem.startswith(f"no default route by {front.gateway4} on eth0: ")
            with one.inside():
                assert "lan7" not in [name for _, name in socket.if_nameindex()]
            it.net.release(lease)
            # Nor is it one against another network.
            lease = it.net.lease(back, "one", NetworkAttachment(network="zone", gw_priority=-1))
            told = await it.net.connect(one.pid, lease, (*rest, lease), naming(it, "one"))
            assert told == [problem]
            assert (await fetch(one, it.address("far"), 80)).startswith("far ")
            # One that has ended has nothing that could not be taken away.
            pid = one.pid
            it.boxes.pop("one").end()
            for _ in range(2):
                assert await it.net.disconnect(pid, lease, rest, naming(it, "one")) == []
            it.net.release(lease)
            # A network that goes is nobody's to join any more.
            for box in ("one", "far"):
                await it.net.detach(box)
            gone = asyncio.create_task(it.net.remove_network(back))
            await asyncio.sleep(0)
            with pytest.raises(NotFound):
                it.net.lease(back, "one", wanted)
            await gone

    run(scenario, tmp_path)


def test_an_interface_has_further_addresses_and_settings_of_its_own(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths, enable_ipv6=True) as it:
            front, old = await it.network("front"), await it.network("old", enable_ipv6=False)
            wish = NetworkAttachment(
                network="front",
                interface_name="lan.7",
                link_local_ips=("169.254.9.9", "fe80::99"),
                settings=interface_settings(
                    "net.ipv4.conf.IFNAME.rp_filter=2,net.ipv6.neigh.IFNAME.gc_stale_time=77"
                ),
            )
            one = await it.container("one", front, wish=wish)
            two = await it.container("two", front)
            with one.inside():
                settings = Path("/proc/sys/net")
                assert (settings / "ipv4/conf/lan.7/rp_filter").read_text() == "2\n"
                assert (settings / "ipv6/neigh/lan.7/gc_stale_time").read_text() == "77\n"
            # They pass the walls, and are nobody else's meanwhile.
            with two.inside(), NetlinkSocket(NETLINK_ROUTE) as link:
                index = socket.if_nametoindex("eth0")
                link.request([bridge.add_address(index, "169.254.1.1/16", "a way there")])
            assert (await fetch(two, "169.254.9.9", 80, timeout=0.3)) == "timeout"
            lease = it.net.lease(front, "three", wish)
            with pytest.raises(Conflict, match=r"169\.254\.9\.9 in network front is used by"):
                await it.net.attach(two.pid, [lease])
            for network, address in ((old, "fe80::5"), (front, "10.0.0.1")):
                bad = NetworkAttachment(network="x", link_local_ips=(address,))
                with pytest.raises(StackctlError, match=r"has no IPv6|not a link-local"):
                    it.net.lease(network, "four", bad)
            # What the kernel does not know is told, and nothing is left half made.
            odd = NetworkAttachment(
                network="front", settings=interface_settings("net.ipv4.conf.IFNAME.nope=1")
            )
            lease = it.net.lease(front, "five", odd)
            box = it.boxes["five"] = Box()
            with pytest.raises(StackctlError, match=r"setting net\.ipv4\.conf\.eth0\.nope=1"):
                await it.net.attach(box.pid, [lease])

    run(scenario, tmp_path)


def test_an_address_goes_from_a_container_to_its_successor(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths) as it:
            front = await it.network("front", ipam=(IpamPool(subnet="10.9.0.0/24"),))
            fixed = NetworkAttachment(network="front", ipv4_address="10.9.0.9")
            client = await it.container("client", front)
            old = await it.container("old", front, wish=fixed)
            assert (await fetch(client, "10.9.0.9", 80)).startswith("old ")
            lease = it.net.lease(front, "new", fixed)
            new = it.boxes["new"] = Box()
            with pytest.raises(Conflict, match="is used by container old of project shop"):
                await it.net.attach(new.pid, [lease])
            await it.net.leave("old")
            old.end()
            await it.net.attach(new.pid, [lease])
            new.serve(80, text="new")
            it.net.release(it.endpoints["old"][0])
            assert (await fetch(client, "10.9.0.9", 80)).startswith("new ")
            with pytest.raises(StackctlError, match="used by container new"):
                it.net._addresses.use([it.endpoints["old"][0]])

    run(scenario, tmp_path)


def test_routes_that_appear_later_are_skipped_by_the_next_network(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        async with Lab(paths) as it:
            first = await it.network("first")
            with NetlinkSocket(NETLINK_ROUTE) as link:
                # A VPN comes up and routes all of the first range.
                bridge.make_bridge(link, "vpn0", ["172.16.0.9/12"], "02:00:00:00:00:01")
            second = await it.network("second")
            assert first.subnet4.startswith("172.")
            assert second.subnet4.startswith("10.")
            # Another one is the way to everybody: two halves of the world, by a gateway.
            half = struct.pack("=BBBBBBBBI", socket.AF_INET, 1, 0, 0, 254, 3, 0, 1, 0)
            with NetlinkSocket(NETLINK_ROUTE) as link:
                by = attr(5, socket.inet_aton("172.16.0.10"))
                for start in ("0.0.0.0", "128.0.0.0"):
                    body = half + attr(1, socket.inet_aton(start)) + by
                    link.request([Request(rtnl.RTM_NEWROUTE, NLM_F_CREATE, body)])
            third = await it.network("third")
            assert third.subnet4.startswith("10.") and third.subnet4 != second.subnet4
            wanted = (IpamPool(subnet="192.168.7.0/24"),)
            assert (await it.network("fourth", ipam=wanted)).subnet4 == "192.168.7.0/24"

    run(scenario, tmp_path)
