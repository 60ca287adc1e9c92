"""A lab for one engine's walls: containers that may send any frame they like."""

from __future__ import annotations

import asyncio
import socket
import struct

from stackctl.model.container import NetworkAttachment
from stackctl.model.network import Endpoint, NetworkConfig
from stackctl.model.record import NetworkRecord
from stackctl.net.service import Net
from stackctl.state.paths import Paths
from support.netlab import Box


class Lab:
    """One engine and its boxes."""

    def __init__(self, paths: Paths) -> None:
        paths.run.mkdir(parents=True)
        self.net = Net(paths)
        self.boxes: dict[str, Box] = {}
        self.endpoints: dict[str, list[Endpoint]] = {}

    async def __aenter__(self) -> Lab:
        await self.net.open((), (), ())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.net.stop()
        await self.net.close()
        for box in self.boxes.values():
            box.end()

    async def network(self, name: str, **more: object) -> NetworkRecord:
        config = NetworkConfig(name=name, **more)  # type: ignore[arg-type]
        return await self.net.create_network(config, (name.encode().hex() + "0" * 64)[:64])

    async def container(
        self, name: str, *networks: NetworkRecord, wish: NetworkAttachment | None = None
    ) -> Box:
        box = self.boxes[name] = Box()
        self.endpoints[name] = [
            self.net.lease(n, name, wish or NetworkAttachment(network=n.config.name))
            for n in networks
        ]
        await self.net.attach(box.pid, self.endpoints[name])
        box.serve(80, text=name)
        return box

    def address(self, name: str, index: int = 0) -> str:
        return self.endpoints[name][index].ipv4.partition("/")[0]


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def udp_frame(source: bytes, target: bytes, sender: str, receiver: str) -> bytes:
    """An Ethernet frame with a UDP datagram (no checksums: nobody delivers it)."""
    body = struct.pack(">HHHH", 4000, 4001, 8 + 18, 0) + b"x" * 18
    addresses = socket.inet_aton(sender) + socket.inet_aton(receiver)
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, 17, 0) + addresses
    total = sum(struct.unpack(">10H", header))
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    header = header[:10] + struct.pack(">H", checksum) + header[12:]
    return target + source + struct.pack(">H", 0x0800) + header + body


def arp_reply(mac: bytes, address: str) -> bytes:
    """Tells everybody that `address` is at `mac`."""
    packed = socket.inet_aton(address)
    body = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 2) + mac + packed + b"\xff" * 6 + packed
    return b"\xff" * 6 + mac + struct.pack(">H", 0x0806) + body + b"\0" * 18


async def sent_frames(sender: Box, receiver: Box, frames: list[bytes]) -> list[bytes]:
    """Those of the frames that arrive, sent in this order; the last one has to."""
    everything = socket.htons(0x0003)
    with receiver.inside():
        ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, everything)
        ear.bind(("eth0", 0x0003))
    with sender.inside():
        mouth = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, everything)
        mouth.bind(("eth0", 0))
    ear.settimeout(5)
    for frame in frames:
        mouth.send(frame)

    def listen() -> list[bytes]:
        heard: list[bytes] = []
        while frames[-1] not in heard:
            heard.append(ear.recv(2000))
        return [frame for frame in heard if frame in frames]

    try:
        return await asyncio.to_thread(listen)
    finally:
        ear.close()
        mouth.close()
