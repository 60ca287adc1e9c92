"""Subnets for networks and addresses for containers. Pure: no socket, no file.

Subnets are /22 (1,022 addresses; a bridge has at most 1,024 ports), taken from
172.16.0.0/12 and then 10.0.0.0/8: some 17,000 of them. Addresses go round: the
next one after the last that was leased, so that one that was given back is
reused as late as possible. A MAC address is derived from its address, so a
stale neighbour entry of a reused address is right again. Everything can be
rebuilt from records (`claim`, `Leases.hold`).
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator

from stackctl.errors import Conflict, MachineError, StackctlError

PREFIX = 22
_RANGES = (ipaddress.IPv4Network("172.16.0.0/12"), ipaddress.IPv4Network("10.0.0.0/8"))

Network = ipaddress.IPv4Network


def mac_of(address: str) -> str:
    """The MAC address (locally administered) of an interface with this IPv4 address."""
    packed = ipaddress.IPv4Address(address.partition("/")[0]).packed
    return "0a:5c:" + packed.hex(":")


class SubnetPool:
    """Chooses subnets that nobody uses. `seed` spreads the engines of one machine."""

    def __init__(self, seed: str, ranges: tuple[Network, ...] = _RANGES) -> None:
        self._ranges = ranges
        self._seed = int(hashlib.sha256(seed.encode()).hexdigest()[:8], 16)
        self._next = 0
        self._claimed: list[Network] = []

    def claim(self, subnet: str) -> None:
        """A record says that this subnet is taken."""
        self._claimed.append(Network(subnet))

    def give_back(self, subnet: str) -> None:
        network = Network(subnet)
        if network in self._claimed:
            self._claimed.remove(network)

    def choose(self, in_use: Iterable[Network]) -> Network:
        """A free subnet, claimed. `in_use`: what the machine routes. MachineError when dry."""
        taken = _Spans([*in_use, *self._claimed])
        for candidate in self._candidates():
            if not taken.overlap(candidate):
                self._claimed.append(candidate)
                return candidate
        raise MachineError(
            "no free subnet is left for a network",
            hint="remove unused networks, or give this one a subnet (ipam.config.subnet)",
        )

    def request(self, subnet: str, in_use: Iterable[Network]) -> Network:
        """Exactly this subnet, claimed. Conflict when the machine or a network has it."""
        try:
            wanted = Network(subnet)
        except ValueError as error:
            raise StackctlError(f"bad subnet {subnet!r}: {error}") from error
        for other in [*self._claimed, *in_use]:
            if wanted.overlaps(other):
                raise Conflict(
                    f"subnet {wanted} overlaps with {other}, which is in use",
                    hint="choose another subnet, or leave it out: the engine picks a free one",
                )
        self._claimed.append(wanted)
        return wanted

    def _candidates(self) -> Iterator[Network]:
        for order, whole in enumerate(self._ranges):
            count = 1 << max(0, PREFIX - whole.prefixlen)
            base, size = int(whole.network_address), 1 << (32 - max(PREFIX, whole.prefixlen))
            start = self._seed + self._next if order == 0 else self._seed
            for offset in range(count):
                place = (start + offset) % count
                self._next += order == 0
                yield Network((base + place * size, max(PREFIX, whole.prefixlen)))


class _Spans:
    """Address ranges, sorted: does a network overlap with one of them?"""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._spans = [(int(n.network_address), int(n.broadcast_address)) for n in networks]

    def overlap(self, network: Network) -> bool:
        first, last = int(network.network_address), int(network.broadcast_address)
        return any(a <= last and first <= b for a, b in self._spans)


class Leases:
    """The addresses of one network. `reserved` (gateway, aux addresses) are never leased."""

    def __init__(self, subnet: str, ip_range: str = "", reserved: Iterable[str] = ()) -> None:
        self.network = Network(subnet)
        self._range = Network(ip_range) if ip_range else self.network
        self._held: set[int] = {int(ipaddress.IPv4Address(a)) for a in reserved}
        self._last = int(self._range.network_address)

    def hold(self, address: str) -> None:
        """A record says that this address is taken."""
        number = int(ipaddress.IPv4Address(address.partition("/")[0]))
        self._held.add(number)
        if number in _span(self._range):
            self._last = max(self._last, number)

    def take(self, wanted: str = "") -> str:
        """A free address (or exactly `wanted`) with prefix length: "10.4.0.2/22"."""
        number = self._wanted(wanted) if wanted else self._free()
        self._held.add(number)
        return f"{ipaddress.IPv4Address(number)}/{self.network.prefixlen}"

    def release(self, address: str) -> None:
        self._held.discard(int(ipaddress.IPv4Address(address.partition("/")[0])))

    def _wanted(self, text: str) -> int:
        try:
            address = ipaddress.IPv4Address(text)
        except ValueError as error:
            raise StackctlError(f"bad address {text!r}: {error}") from error
        if address not in self.network:
            raise Conflict(
                f"address {text} is not in the network's subnet {self.network}",
                hint="give the network a subnet that holds it (ipam.config.subnet)",
            )
        if int(address) in self._held:
            raise Conflict(f"address {text} is taken", hint="choose another address")
        return int(address)

    def _free(self) -> int:
        span = _span(self._range)
        start = self._last + 1
        edges = (int(self.network.network_address), int(self.network.broadcast_address))
        for offset in range(len(span)):
            number = span.start + (start - span.start + offset) % len(span)
            if number not in self._held and number not in edges:
                self._last = number
                return number
        raise Conflict(
            f"no free address is left in {self._range}",
            hint="remove containers, or give the network a larger subnet",
        )


def _span(network: Network) -> range:
    return range(int(network.network_address), int(network.broadcast_address) + 1)
