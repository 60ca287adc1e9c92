"""Names in the laboratory: other people's resolvers, and one engine whose boxes ask."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import nullcontext

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from stackctl.model.record import NetworkRecord
from stackctl.net.naming import Naming
from stackctl.state.paths import Paths
from support.netengine import Lab
from support.netlab import Box

PORT = 41053
#: What a resolver says to a query: a message, several packets, or nothing.
Answer = Callable[[dns.message.Message], dns.message.Message | list[bytes] | None]


class Upstream:
    """A resolver of somebody else, on `address`:53 of the machine; counts what it is asked."""

    def __init__(self, address: str, answer: Answer, box: Box | None = None) -> None:
        """`box`: it is there, not on the machine."""
        self.asked: list[str] = []
        self._answer = answer
        with box.inside() if box else nullcontext():
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


class NamesLab(Lab):
    """One engine whose containers resolve names, at `nameservers` what is not its own."""

    def __init__(self, paths: Paths, nameservers: tuple[str, ...] = ()) -> None:
        paths.run.mkdir(parents=True)
        resolv_conf = paths.run / "resolv.conf"
        resolv_conf.write_text("".join(f"nameserver {a}\n" for a in nameservers))
        super().__init__(paths, str(resolv_conf))

    async def named(
        self,
        name: str,
        names: tuple[str, ...],
        *networks: NetworkRecord,
        is_mute: bool = False,
        servers: tuple[str, ...] = (),
    ) -> Box:
        """A container that is called `name` and `names` in each of its networks."""
        box = await self.container(name, *networks, is_mute=is_mute)
        box.load(self.net.netns_blobs(PORT))
        called = {n.config.name: (name, *names) for n in networks}
        mine = tuple(self.endpoints[name])
        await self.net.name(
            Naming(
                container_id=name,
                endpoints=mine,
                names=called,
                resolver=(box.pid, PORT),
                servers=servers,
            )
        )
        return box

    def keeper_pid(self) -> int:
        return keeper_pid(self.paths)


def keeper_pid(paths: Paths) -> int:
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(str(paths.keeper_socket))
        raw = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(raw[:4], "little")
