"""A laboratory for networks: machines that are network namespaces of the test's own.

`run(scenario)` forks; the child is a machine by itself (network namespace, lo
up) in which the scenario plays. In it, a `Box` is another machine: a container,
a neighbour on the LAN. Sockets are made inside a box and used from outside.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from pathlib import Path

from stackctl.linux import ns
from stackctl.net import bridge, endpoint, rtnl
from stackctl.net.bridge import family_of
from stackctl.net.netlink import NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkSocket, Request, text, u32
from stackctl.state.paths import Paths

#: Seconds after which a scenario that hangs is killed.
LIMIT = 60


class Box:
    """A process that does nothing in a network namespace of its own."""

    def __init__(self) -> None:
        self.home = ns.open_netns()
        ready, done = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(ready)
                ns.unshare(ns.CLONE_NEWNET)
                os.write(done, b"x")
                signal.pause()
            finally:
                os._exit(0)
        os.close(done)
        assert os.read(ready, 1) == b"x"
        os.close(ready)
        self.netns = ns.open_netns(self.pid)

    @contextmanager
    def inside(self):
        with ns.in_netns(self.netns, self.home):
            yield

    def new_socket(
        self, kind: int = socket.SOCK_STREAM, family: int = socket.AF_INET
    ) -> socket.socket:
        with self.inside():
            made = socket.socket(family, kind)
        made.settimeout(10)
        return made

    def load(self, blobs: tuple[bytes, ...]) -> None:
        """Sends netlink blobs as a container's child does; no answer may be an error."""
        with self.inside(), NetlinkSocket(NETLINK_NETFILTER) as link:
            for blob in blobs:
                link.send(blob)
                for message in link.received():
                    assert struct.unpack_from("=i", message.body)[0] == 0

    def serve(
        self,
        port: int,
        kind: int = socket.SOCK_STREAM,
        text: str = "hello",
        family: int = socket.AF_INET,
    ) -> None:
        """A server that answers "text peer-address" to everybody, in a thread.

        That of AF_INET6 serves IPv4, too.
        """
        link = self.new_socket(kind, family)
        link.settimeout(None)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        link.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
        if kind == socket.SOCK_STREAM:
            link.listen(16)
        threading.Thread(target=_serve, args=(link, kind, text), daemon=True).start()

    def end(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self.netns)
            os.close(self.home)
            self.pid = 0


def _serve(link: socket.socket, kind: int, text: str) -> None:
    def said_to(peer: str) -> bytes:
        return f"{text} {peer.removeprefix('::ffff:')}".encode()

    while True:
        if kind == socket.SOCK_STREAM:
            client, peer = link.accept()
            client.sendall(said_to(peer[0]))
            client.close()
        else:
            _, peer = link.recvfrom(100)
            link.sendto(said_to(peer[0]), peer)


def ask(link: socket.socket, address: str, port: int, timeout: float = 5.0) -> str:
    """What a server answers: its text, or the name of the error ("timeout", "ECONNREFUSED")."""
    link.settimeout(timeout)
    try:
        link.connect((address, port))
        if link.type == socket.SOCK_DGRAM:
            link.send(b"?")
        return link.recv(1000).decode()
    except TimeoutError:
        return "timeout"
    except OSError as error:
        return os.strerror(error.errno or 0)
    finally:
        link.close()


async def fetch(box: Box | None, address: str, port: int, *, udp: bool = False, timeout: float = 5):
    """`ask` from a box (None: from the machine itself) without stopping the loop."""
    kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
    family = family_of(address)
    link = box.new_socket(kind, family) if box else socket.socket(family, kind)
    return await asyncio.to_thread(ask, link, address, port, timeout)


def unmark(name: str) -> None:
    """`ip link set NAME group default`."""
    body = bridge.link_header(socket.if_nametoindex(name)) + u32(bridge.IFLA_GROUP, 0)
    with NetlinkSocket(NETLINK_ROUTE) as link:
        link.request([Request(rtnl.RTM_SETLINK, 0, body)])


def take_down(name: str) -> None:
    """`ip link set NAME down`, as another program."""
    with NetlinkSocket(NETLINK_ROUTE) as link:
        body = bridge.link_header(0, 0, 1) + text(bridge.IFLA_IFNAME, name)
        link.request([Request(rtnl.RTM_NEWLINK, 0, body)])


def neighbour(lan: str) -> Box:
    """A machine on a LAN ("192.168.77.", "fd77::") with this one (1), which is also its router."""
    box = Box()
    length = 64 if ":" in lan else 24
    with NetlinkSocket(NETLINK_ROUTE) as link:
        bridge.make_bridge(link, "lan0", [f"{lan}1/{length}"], "02:00:00:00:00:01")
        wire = endpoint.Wire(
            bridge="lan0",
            host_name="lan1",
            name="eth0",
            mac="02:00:00:00:00:02",
            addresses=(f"{lan}2/{length}",),
            gateways=(f"{lan}1",),
        )
        endpoint.attach(link, box.pid, [wire], box.home)
    box.serve(7000, text="lan", family=family_of(lan))
    return box


def defaults(box: Box) -> list[str]:
    """The gateways of its IPv4 default routes."""
    with box.inside(), NetlinkSocket(NETLINK_ROUTE) as link:
        return [r.gateway for r in rtnl.routes(link) if r.destination == "0.0.0.0/0"]


def bring_lo_up() -> None:
    with NetlinkSocket(NETLINK_ROUTE) as link:
        link.request([bridge.link_up("", 1)])


def run(scenario: Callable[[Paths], Awaitable[None]], directory: Path) -> None:
    """Plays a scenario on a machine of its own; its failure is this test's."""
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ready)
        try:
            signal.alarm(LIMIT)
            ns.unshare(ns.CLONE_NEWNET)
            bring_lo_up()
            asyncio.run(scenario(Paths(directory / "root", directory / "run")))
        except BaseException:
            os.write(done, traceback.format_exc()[-8000:].encode())
            sys.stdout.flush()
            os._exit(1)
        os._exit(0)
    os.close(done)
    text = b""
    while part := os.read(ready, 65536):
        text += part
    os.close(ready)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code == 0, f"the scenario ended with {code}\n{text.decode(errors='replace')}"
