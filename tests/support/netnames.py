"""Names in the laboratory: other people's resolvers, and one engine whose boxes ask."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from stackctl.model.container import NetworkAttachment
from stackctl.model.network import NetworkConfig
from stackctl.model.record import NetworkRecord
from stackctl.net.service import Net
from stackctl.state.paths import Paths
from support.netlab import Box

PORT = 41053
#: What a resolver says to a query: a message, several packets, or nothing.
Answer = Callable[[dns.message.Message], dns.message.Message | list[bytes] | None]


class Upstream:
    """A resolver of somebody else, on `address`:53 of the machine; counts what it is asked."""

    def __init__(self, address: str, answer: Answer) -> None:
        self.asked: list[str] = []
        self._answer = answer
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind((address, 53))
        self._tcp = socket.create_server((address, 53))
        for serve in (self._serve_udp, self._serve_tcp):
            threading.Thread(target=serve, daemon=True).start()

    def _replies(self, wire: bytes) -> list[bytes]:
        query = dns.message.from_wire(wire)
        self.asked.append(query.question[0].name.to_text())
        reply = self._answer(query)
        if isinstance(reply, list):
            return reply
        return [reply.to_wire(max_size=65535)] if reply else []

    def _serve_udp(self) -> None:
        while True:
            wire, sender = self._udp.recvfrom(4096)
            for reply in self._replies(wire):
                self._udp.sendto(reply, sender)

    def _serve_tcp(self) -> None:
        while True:
            client, _ = self._tcp.accept()
            wire = client.recv(4096)[2:]
            for reply in self._replies(wire):
                client.sendall(len(reply).to_bytes(2, "big") + reply)
            client.close()


def answering(address: str, *, code: int = 0, truncated: bool = False) -> Answer:
    def answer(query: dns.message.Message) -> dns.message.Message:
        reply = dns.message.make_response(query)
        reply.set_rcode(dns.rcode.Rcode(code))
        if truncated:
            reply.flags |= dns.flags.TC
        elif code == 0:
            name = query.question[0].name
            reply.answer.append(dns.rrset.from_text(name, 60, "IN", "A", address))
        return reply

    return answer


def resolve(
    box: Box,
    name: str,
    kind: str = "A",
    *,
    tcp: bool = False,
    timeout: float = 10,
    payload: int | None = None,
) -> dns.message.Message:
    """What 127.0.0.11:53 says in the box. `payload`: the size that EDNS offers."""
    query = dns.message.make_query(name, kind, payload=payload)
    wire = query.to_wire()
    link = box.new_socket(socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
    with link:
        link.settimeout(timeout)
        link.connect(("127.0.0.11", 53))
        if tcp:
            link.sendall(len(wire).to_bytes(2, "big") + wire)
            data = link.recv(2, socket.MSG_WAITALL)
            data = link.recv(int.from_bytes(data, "big"), socket.MSG_WAITALL)
        else:
            link.send(wire)
            data = link.recv(65535)
    reply = dns.message.from_wire(data)
    assert query.is_response(reply)
    return reply


def texts(message: dns.message.Message) -> list[str]:
    return [item.to_text() for section in message.answer for item in section]


class Lab:
    """One engine with its containers (boxes that resolve names)."""

    def __init__(self, paths: Paths, nameservers: tuple[str, ...] = ()) -> None:
        self.paths = paths
        paths.run.mkdir(parents=True)
        resolv_conf = paths.run / "resolv.conf"
        resolv_conf.write_text("".join(f"nameserver {a}\n" for a in nameservers))
        self.net = Net(paths, resolv_conf=str(resolv_conf))
        self.boxes: list[Box] = []

    async def __aenter__(self) -> Lab:
        await self.net.open((), (), ())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.net.stop()
        await self.net.close()
        for box in self.boxes:
            box.end()
        assert [p.name for p in self.paths.run.iterdir()] == ["resolv.conf"]

    async def network(self, name: str, *, internal: bool = False) -> NetworkRecord:
        number = name.encode().hex() + "0" * 64
        return await self.net.create_network(
            NetworkConfig(name=name, internal=internal), number[:64]
        )

    async def container(self, name: str, names: tuple[str, ...], *networks: NetworkRecord) -> Box:
        box = Box()
        self.boxes.append(box)
        box.load(self.net.netns_blobs(PORT))
        leases = [
            self.net.lease(n, name, NetworkAttachment(network=n.config.name)) for n in networks
        ]
        await self.net.attach(box.pid, leases)
        called = {n.config.name: (name, *names) for n in networks}
        await self.net.set_names(name, leases, called, (box.pid, PORT))
        return box

    def keeper_pid(self) -> int:
        link = socket.socket(socket.AF_UNIX)
        with link:
            link.connect(str(self.paths.keeper_socket))
            raw = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int.from_bytes(raw[:4], "little")
