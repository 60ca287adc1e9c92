"""Frames that a container must not send, and which of them arrive."""

from __future__ import annotations

import asyncio
import socket
import struct

from support.netlab import Box


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
