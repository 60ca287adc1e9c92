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


def icmp6_frame(
    mac: bytes, sender: str, receiver: str, kind: int, body: bytes, *, hops: bytes = b""
) -> bytes:
    """An ICMPv6 message to a group (checksummed); `hops`: options of a header before it."""
    source, target = (socket.inet_pton(socket.AF_INET6, a) for a in (sender, receiver))
    message = struct.pack(">BBH", kind, 0, 0) + body
    sealed = source + target + struct.pack(">II", len(message), 58) + message
    total = sum(struct.unpack(f">{len(sealed) // 2}H", sealed))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    message = message[:2] + struct.pack(">H", checksum) + message[4:]
    first, payload = (60, bytes((58, 0)) + hops + message) if hops else (58, message)
    header = struct.pack(">IHBB", 0x60000000, len(payload), first, 255) + source + target
    return b"\x33\x33" + target[12:] + mac + struct.pack(">H", 0x86DD) + header + payload


def advertised(address: str, mac: bytes) -> bytes:
    """The body of a neighbour advertisement that overrides what is known (RFC 4861, 4.4)."""
    target = socket.inet_pton(socket.AF_INET6, address)
    return struct.pack(">I", 0x20000000) + target + b"\2\1" + mac


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
