"""Host ports, held so that nobody else can take them while they are forwarded.

A held port is a bound socket of the host's namespace, listening for TCP: then a
clash is EADDRINUSE for everybody, and tools show who has it. Nothing is served
here but what the kernel has no way for (see relay.py): packets are translated
before they arrive. Who gets through all the same (the rules are being repaired)
is turned away with a reset.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterable
from typing import NamedTuple

from stackctl.net.keeper.loop import READ, Loop
from stackctl.net.keeper.relay import LOOPBACK6, Datagrams, Stream, Way, reset, serves, socket_to

_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM, "sctp": socket.SOCK_SEQPACKET}
_IPPROTO = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": 132}
#: Every IPv4 address.
ANY = "0.0.0.0"
_MOST_STREAMS = 1024
#: Bytes of datagrams that may wait, where some are expected.
_DATAGRAMS = 1 << 18


class Port(NamedTuple):
    """A held port; `address` is a literal IPv4 or IPv6 address of the host."""

    protocol: str
    address: str
    number: int


class Wish(NamedTuple):
    """A port to hold: any free one of first..last; 0..0 lets the kernel choose.

    `twin` is another address where the same number is held too.
    """

    protocol: str
    address: str
    first: int
    last: int
    twin: str = ""


class Busy(Exception):
    """A wish that cannot be granted: its place among the wishes, the errno, who of ours has it."""

    def __init__(self, index: int, number: int, owner: str) -> None:
        super().__init__(index, number, owner)
        self.index, self.errno, self.owner = index, number, owner


class _Held:
    """A held port: its socket, its owner, and where what the keeper serves is handed on to."""

    def __init__(self, link: socket.socket, owner: str) -> None:
        self.link, self.owner = link, owner
        self.way: Way | None = None
        self.datagrams: Datagrams | None = None


class Ports:
    """The held ports, each with its owner (a container id)."""

    def __init__(self, loop: Loop, most: int, most_streams: int = _MOST_STREAMS) -> None:
        """At most so many sockets hold ports, and so many connections are handed on."""
        self._loop = loop
        self._most, self._most_streams = most, most_streams
        self._held: dict[Port, _Held] = {}
        #: Ports of ::1 beside those of 0.0.0.0, for who looks "localhost" up.
        self._companions: dict[Port, _Held] = {}
        self._streams: set[Stream] = set()
        self._is_full_told = False

    def owners(self) -> dict[Port, str]:
        return {port: held.owner for port, held in self._held.items()}

    def ways(self) -> dict[Port, Way]:
        return {port: held.way for port, held in self._held.items() if held.way}

    def hold(self, wishes: Iterable[Wish], owner: str) -> list[int]:
        """Holds all (the numbers, in order) or none (Busy)."""
        got: list[Port] = []
        numbers = []
        for index, wish in enumerate(wishes):
            try:
                ports = self._hold_one(wish, owner)
            except OSError as error:
                of_ours = self._owner_of(wish)  # maybe the asker itself
                self.release(got)
                raise Busy(index, error.errno or errno.EADDRINUSE, of_ours) from None
            got += ports
            numbers.append(ports[0].number)
        return numbers

    def _hold_one(self, wish: Wish, owner: str) -> list[Port]:
        last: OSError | None = None
        # What the kernel chooses here may be somebody's at the twin: a few tries.
        tries = range(wish.first, wish.last + 1) if wish.last else (0,) * (8 if wish.twin else 1)
        for number in tries:
            try:
                return self._hold_number(wish, number, owner)
            except OSError as error:
                last = error
                if error.errno != errno.EADDRINUSE:
                    break
        raise last or OSError(errno.EINVAL, "an empty range")

    def _hold_number(self, wish: Wish, number: int, owner: str) -> list[Port]:
        ports: list[Port] = []
        for address in (wish.address, wish.twin):
            if not address:
                continue
            wanted = ports[0].number if ports else number
            try:
                if self._is_full:
                    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
                if ":" in address:
                    self._dismiss(Port(wish.protocol, ANY, wanted))
                link = _bound(wish.protocol, address, wanted)
            except OSError:
                self.release(ports)
                raise
            port = Port(wish.protocol, address, link.getsockname()[1])
            self._held[port] = self._listen(port, link, owner)
            ports.append(port)
        return ports

    @property
    def _is_full(self) -> bool:
        """Further sockets would take the descriptors that names need."""
        return len(self._held) + len(self._companions) >= self._most

    def _listen(self, port: Port, link: socket.socket, owner: str) -> _Held:
        held = _Held(link, owner)
        if port.protocol != "udp":
            self._loop.watch(link.fileno(), READ, lambda _: self._accept(held))
        return held

    def _owner_of(self, wish: Wish) -> str:
        """The container that has a port which the wish cannot have; "" when none has."""
        for port, held in self._held.items():
            same = port.protocol == wish.protocol and wish.first <= port.number <= wish.last
            if same and any(_meet(port.address, a) for a in (wish.address, wish.twin) if a):
                return held.owner
        return ""

    def release(self, ports: Iterable[Port]) -> None:
        """Unknown ports are no mistake. Connections that are being handed on go on."""
        for port in ports:
            self._dismiss(port)
            self._close(port, self._held.pop(port, None))

    def _close(self, port: Port, held: _Held | None) -> None:
        if held is None:
            return
        if held.datagrams is not None:
            held.datagrams.close()
        if port.protocol != "udp":
            self._loop.forget(held.link.fileno())
        held.link.close()

    # --- handing on ---------------------------------------------------------------

    def lead(self, port: Port, way: Way) -> None:
        """What arrives at ::1, on this port, is handed on to `way`. Unknown ports: nothing.

        On a port of IPv6 with a way of IPv4 that is all that arrives. A port of 0.0.0.0
        gets a companion of the same number at ::1, unless somebody else has that: who
        holds it there wants it more.
        """
        held = self._held.get(port)
        if held is None or port.protocol not in ("tcp", "udp"):
            return
        if port.address == ANY:
            held.way = way
            self._dismiss(port)
            if self._is_full:
                return
            try:
                link = _bound(port.protocol, LOOPBACK6, port.number)
            except OSError:
                return
            held = self._companions[port] = self._listen(port, link, held.owner)
        elif ":" not in port.address:
            return
        held.way = way
        if port.protocol == "udp":
            if held.datagrams is not None:
                held.datagrams.close()
            held.link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _DATAGRAMS)
            held.datagrams = Datagrams(self._loop, held.link, way)

    def _dismiss(self, port: Port) -> None:
        self._close(port, self._companions.pop(port, None))

    def _accept(self, held: _Held) -> None:
        try:
            client, _ = held.link.accept()
        except OSError:
            return
        client.setblocking(False)
        if held.way is None or not serves(held.way, client.getsockname()[0]):
            reset(client)
            client.close()
            return
        try:
            if len(self._streams) >= self._most_streams:
                raise self._full()
            server = socket_to(held.way, socket.SOCK_STREAM)
        except OSError:
            reset(client)
            client.close()
            return
        stream = Stream(self._loop, client, server, lambda: self._streams.discard(stream))
        self._streams.add(stream)
        if len(self._streams) <= self._most_streams // 2:
            self._is_full_told = False

    def _full(self) -> OSError:
        """Why one more connection is not handed on: said once until half of them have ended."""
        text = f"{self._most_streams} connections are being handed on: further ones are reset"
        error = OSError(errno.EMFILE, f"{time.strftime('%F %T')} {text}")
        if not self._is_full_told:
            self._loop.tell(error)
            self._is_full_told = True
        return error


def _meet(one: str, other: str) -> bool:
    """Whether nobody can have a port at both addresses."""
    if (":" in one) != (":" in other):
        return False
    return one == other or not {one, other}.isdisjoint((ANY, "::"))


def _bound(protocol: str, address: str, number: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    link = socket.socket(
        family,
        _KINDS[protocol] | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
        _IPPROTO[protocol],
    )
    try:
        if family == socket.AF_INET6:
            # The IPv4 half of the port is held (or not) on its own.
            link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if protocol == "udp":
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            link.bind((address, number))
        else:
            # Connections of an earlier owner that wait for their end are no clash;
            # somebody else's listening socket still is.
            link.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            link.bind((address, number))
            link.listen(16)
    except OSError:
        link.close()
        raise
    return link
