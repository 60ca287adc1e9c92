"""Host ports, held so that nobody else can take them while they are forwarded.

A held port is a bound socket of the host's namespace, listening for TCP: then a
clash is EADDRINUSE for everybody, and tools show who has it. Nothing is served
here: packets are translated before they arrive. Who gets through all the same
(the rules are being repaired) is turned away with a reset.
"""

from __future__ import annotations

import errno
import functools
import socket
import struct
from collections.abc import Iterable
from typing import NamedTuple

from stackctl.net.keeper.loop import READ, Loop

_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM, "sctp": socket.SOCK_SEQPACKET}
_IPPROTO = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": 132}
_NO_LINGER = struct.pack("=ii", 1, 0)


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


class Ports:
    """The held ports, each with its owner (a container id)."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._held: dict[Port, tuple[socket.socket, str]] = {}

    def owners(self) -> dict[Port, str]:
        return {port: owner for port, (_, owner) in self._held.items()}

    def hold(self, wishes: Iterable[Wish], owner: str) -> list[int]:
        """Holds all (the numbers, in order) or none (Busy)."""
        got: list[Port] = []
        numbers = []
        for index, wish in enumerate(wishes):
            try:
                ports = self._hold_one(wish, owner)
            except OSError as error:
                self.release(got)
                of_ours = self._owner_of(wish)
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
        held: list[Port] = []
        for address in (wish.address, wish.twin):
            if not address:
                continue
            try:
                link = _bound(wish.protocol, address, held[0].number if held else number)
            except OSError:
                self.release(held)
                raise
            port = Port(wish.protocol, address, link.getsockname()[1])
            self._held[port] = (link, owner)
            held.append(port)
            if wish.protocol != "udp":
                self._loop.watch(link.fileno(), READ, functools.partial(_turn_away, link))
        return held

    def _owner_of(self, wish: Wish) -> str:
        for port, (_, owner) in self._held.items():
            if port.protocol == wish.protocol and wish.first <= port.number <= wish.last:
                return owner
        return ""

    def release(self, ports: Iterable[Port]) -> None:
        """Unknown ports are no mistake."""
        for port in ports:
            link, _ = self._held.pop(port, (None, ""))
            if link is not None:
                if port.protocol != "udp":
                    self._loop.forget(link.fileno())
                link.close()


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


def _turn_away(link: socket.socket, _: int) -> None:
    try:
        stray, _ = link.accept()
    except OSError:
        return
    stray.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    stray.close()
