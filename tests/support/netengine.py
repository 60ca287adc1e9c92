"""One engine in the laboratory, and the boxes that are its containers."""

from __future__ import annotations

import socket
from typing import Self

from stackctl.model.container import NetworkAttachment, PortBinding
from stackctl.model.network import Endpoint, NetworkConfig, PublishedPort
from stackctl.model.record import NetworkRecord
from stackctl.net import nft, rtnl
from stackctl.net.netlink import NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkSocket
from stackctl.net.service import Net
from stackctl.state.paths import Paths
from support.netlab import Box, fetch, neighbour

#: Where a `crossing` has its neighbour.
LAN = "192.168.77."


def title_of(name: str) -> str:
    """The laboratory's containers have names for ids."""
    return f"container {name} of project shop"


class Lab:
    """A running engine; at the end it is stopped and nothing of it may be left.

    Each container says its name on port 80, by TCP and UDP, by all it has of IP.
    `more` is said of each network unless it says otherwise (enable_ipv6=True).
    """

    def __init__(self, paths: Paths, resolv_conf: str = "/etc/resolv.conf", **more: object) -> None:
        self.paths = paths
        paths.run.mkdir(parents=True, exist_ok=True)
        self.net = Net(paths, resolv_conf=resolv_conf, title_of=title_of)
        self.boxes: dict[str, Box] = {}
        self.endpoints: dict[str, list[Endpoint]] = {}
        self._more = more

    async def __aenter__(self) -> Self:
        await self.net.open((), (), ())
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        await self.net.stop()
        await self.net.close()
        for box in self.boxes.values():
            box.end()
        if kind is None:
            assert left_over(self.paths) == []

    async def network(self, name: str, **more: object) -> NetworkRecord:
        config = NetworkConfig(name=name, **{**self._more, **more})  # type: ignore[arg-type]
        number = (name + self.paths.tag).encode().hex() + "0" * 64
        return await self.net.create_network(config, number[:64])

    async def container(
        self,
        name: str,
        *networks: NetworkRecord,
        wish: NetworkAttachment | None = None,
        is_mute: bool = False,
    ) -> Box:
        """`is_mute`: it says nothing, so that no socket of ours is in its namespace."""
        box = self.boxes[name] = Box()
        leases = self.endpoints[name] = [
            self.net.lease(n, name, wish or NetworkAttachment(network=n.config.name))
            for n in networks
        ]
        await self.net.attach(box.pid, leases)
        family = socket.AF_INET6 if any(e.ipv6 for e in leases) else socket.AF_INET
        for kind in () if is_mute else (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            box.serve(80, kind, name, family)
        return box

    def address(self, name: str, index: int = 0) -> str:
        return self.endpoints[name][index].ipv4.partition("/")[0]

    def six(self, name: str, index: int = 0) -> str:
        return self.endpoints[name][index].ipv6.partition("/")[0]

    async def publish(
        self, name: str, port: int, host_ip: str = "", protocol: str = "tcp", inside: int = 80
    ) -> tuple[PublishedPort, ...]:
        """Of the container, at exactly this port."""
        binding = PortBinding(
            container_port=inside, protocol=protocol, host_ip=host_ip, host_port=(port, port)
        )
        return await self.net.publish(name, self.endpoints[name], [binding])


async def crossing(it: Lab) -> None:
    """A neighbour, two containers of one network, and a published port of the first one."""
    it.boxes["lan"] = neighbour(LAN)
    front = await it.network("front")
    await it.container("one", front)
    await it.container("two", front)
    await it.publish("one", 8080)


async def passes(it: Lab) -> None:
    """What has to pass in a `crossing` passes, and nothing else, whatever firewall is here."""
    outside, one = it.boxes["lan"], it.boxes["one"]
    assert await fetch(outside, f"{LAN}1", 8080) == f"one {LAN}2"
    assert await fetch(one, f"{LAN}2", 7000) == f"lan {LAN}1"
    assert (await fetch(one, it.address("two"), 80)).startswith("two ")
    assert (await fetch(None, "127.0.0.1", 8080)).startswith("one ")
    assert await fetch(outside, it.address("two"), 80, timeout=0.3) == "timeout"


def left_over(paths: Paths) -> list[str]:
    """Interfaces, tables and the keeper's files of an engine."""
    with NetlinkSocket(NETLINK_ROUTE) as link:
        links = [found.name for found in rtnl.links(link) if paths.tag in found.name]
    with NetlinkSocket(NETLINK_NETFILTER) as link:
        tables = [name for _, name in nft.tables(link) if paths.tag in name]
    files = [p.name for p in paths.run.iterdir() if p.name.startswith("keeper")]
    return links + tables + files
