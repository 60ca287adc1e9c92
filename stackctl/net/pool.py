"""Subnets for networks and addresses for containers. Pure: no socket, no file.

IPv4 subnets are /22 (1,022 addresses; a bridge has at most 1,024 ports), taken
from 172.16.0.0/12, then 10.0.0.0/8, and where a machine routes all of these (as a company's
tunnel may) from 192.168.0.0/16: some 17,000 of them. IPv6 subnets are /64
of a unique local /48 (RFC 4193) that is the engine's own. Addresses go round: the
next one after the last that was leased, so that one that was given back is
reused as late as possible, and not while others may still remember who had it. A
MAC address is derived from its address, so a stale neighbour entry of a reused
address is right again. Everything can be rebuilt from records (`claim`,
`Leases.hold`).
"""

from __future__ import annotations

import hashlib
import ipaddress
import time
from collections.abc import Callable, Collection, Iterable, Iterator

from stackctl.errors import Conflict, MachineError, StackctlError, UsageError
from stackctl.model.addressing import AnyNetwork, address_problem

PREFIX = 22
_PREFIX6 = 64
#: Seconds in which neighbours may still remember an address's former MAC address:
#: an entry is believed for up to 45 s, and some more while it is asked about again.
_REST = 90.0

Network = ipaddress.IPv4Network
Network6 = ipaddress.IPv6Network

_RANGES: tuple[AnyNetwork, ...] = (
    Network("172.16.0.0/12"),
    Network("10.0.0.0/8"),
    Network("192.168.0.0/16"),
)


def mac_of(address: str) -> str:
    """The MAC address (locally administered) of an interface with this address."""
    packed = ipaddress.ip_address(address.partition("/")[0]).packed
    if len(packed) == 4:
        return "0a:5c:" + packed.hex(":")
    return "0a:5e:" + hashlib.sha256(packed).digest()[:4].hex(":")


def link_local_of(mac: str) -> str:
    """The IPv6 link-local address that the kernel makes of a MAC address (RFC 4291, A)."""
    raw = bytes.fromhex(mac.replace(":", ""))
    interface = bytes((raw[0] ^ 2,)) + raw[1:3] + b"\xff\xfe" + raw[3:]
    return str(ipaddress.IPv6Address(b"\xfe\x80" + b"\0" * 6 + interface))


def unique_local(seed: str) -> Network6:
    """A /48 of fd00::/8 that only who has the same seed takes (RFC 4193, 3.2.2)."""
    identifier = hashlib.sha256(seed.encode()).digest()[:5]
    return Network6((int.from_bytes(b"\xfd" + identifier, "big") << 80, 48))


class SubnetPool:
    """Chooses subnets that nobody uses. `seed` spreads the engines of one machine."""

    def __init__(
        self, seed: str, ranges: tuple[AnyNetwork, ...] = _RANGES, prefix: int = PREFIX
    ) -> None:
        self._ranges = ranges
        self._prefix = prefix
        self._seed = int(hashlib.sha256(seed.encode()).hexdigest()[:8], 16)
        self._next = 0
        self._claimed: list[AnyNetwork] = []

    @classmethod
    def ipv6(cls, tag: str, machine: str) -> SubnetPool:
        """The pool of an engine's IPv6 networks; `machine` tells this machine from others."""
        return cls(tag, (unique_local(f"{machine}\0{tag}"),), _PREFIX6)

    def claim(self, subnet: str) -> None:
        """A record says that this subnet is taken."""
        self._claimed.append(ipaddress.ip_network(subnet))

    def give_back(self, subnet: str) -> None:
        network = ipaddress.ip_network(subnet)
        if network in self._claimed:
            self._claimed.remove(network)

    def choose(
        self, in_use: Collection[AnyNetwork], far: Collection[AnyNetwork] = ()
    ) -> AnyNetwork:
        """A free subnet, claimed. MachineError when dry.

        `in_use`: what the machine has or routes. `far`: what it routes as whole ranges;
        where these leave nothing they are not looked at.
        """
        for avoided in ([*in_use, *far], in_use) if far else (in_use,):
            taken = _Spans([*avoided, *self._claimed])
            for candidate in self._candidates():
                if not taken.overlap(candidate):
                    self._claimed.append(candidate)
                    return candidate
        raise MachineError(
            f"no free subnet is left for a network: {len(self._claimed)} are taken by networks",
            hint="remove unused networks, or give this one a subnet of another range "
            "(ipam.config.subnet, --subnet)",
        )

    def request(self, subnet: str, in_use: Iterable[AnyNetwork]) -> AnyNetwork:
        """Exactly this subnet, claimed. Conflict when the machine or a network has it."""
        try:
            wanted = ipaddress.ip_network(subnet)
        except ValueError as error:
            raise StackctlError(f"bad subnet {subnet!r}: {error}") from error
        for other in [*self._claimed, *in_use]:
            if other.version == wanted.version and wanted.overlaps(other):
                raise Conflict(
                    f"subnet {wanted} overlaps with {other}, which is in use",
                    hint="choose another subnet, or leave it out: the engine picks a free one",
                )
        self._claimed.append(wanted)
        return wanted

    def _candidates(self) -> Iterator[AnyNetwork]:
        for order, whole in enumerate(self._ranges):
            prefix = max(self._prefix, whole.prefixlen)
            count = 1 << (prefix - whole.prefixlen)
            base, size = int(whole.network_address), 1 << (whole.max_prefixlen - prefix)
            start = self._seed + self._next if order == 0 else self._seed
            for offset in range(count):
                place = (start + offset) % count
                self._next += order == 0
                yield type(whole)((base + place * size, prefix))


class _Spans:
    """Address ranges of one family: does a network overlap with one of them?"""

    def __init__(self, networks: Iterable[AnyNetwork]) -> None:
        self._spans = [
            (n.version, int(n.network_address), int(n.broadcast_address)) for n in networks
        ]

    def overlap(self, network: AnyNetwork) -> bool:
        first, last = int(network.network_address), int(network.broadcast_address)
        return any(v == network.version and a <= last and first <= b for v, a, b in self._spans)


class Leases:
    """The addresses of one subnet. `reserved` (gateway, aux addresses) are never leased.

    An address that is asked for by name may have several holders: a container and
    its successor, or two that swap theirs. Only one of them may run (`Net.attach`
    sees to that). One that is chosen here has no other holder.
    """

    def __init__(
        self,
        subnet: str,
        ip_range: str = "",
        reserved: Iterable[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.network: AnyNetwork = ipaddress.ip_network(subnet)
        self._range: AnyNetwork = ipaddress.ip_network(ip_range) if ip_range else self.network
        self._reserved = {_number(a) for a in reserved if a}
        self._holders: dict[int, set[str]] = {}
        self._resting: dict[int, float] = {}
        self._clock = clock
        self._last = int(self._range.network_address)

    def hold(self, address: str, holder: str = "") -> None:
        """A record says that this address is taken."""
        number = _number(address)
        self._holders.setdefault(number, set()).add(holder)
        if number in _Span(self._range):
            self._last = max(self._last, number)

    def holds(self, address: str) -> bool:
        """Whether an address, as a user wrote it, is one of the subnet's."""
        try:
            return ipaddress.ip_address(address) in self.network
        except ValueError:
            return False

    def take(self, wanted: str = "", holder: str = "") -> str:
        """A free address (or exactly `wanted`) with prefix length: "10.4.0.2/22"."""
        number = self._wanted(wanted) if wanted else self._free()
        self._holders.setdefault(number, set()).add(holder)
        return f"{self._text(number)}/{self.network.prefixlen}"

    def release(self, address: str, holder: str = "") -> None:
        """Idempotent."""
        number = _number(address)
        holders = self._holders.get(number)
        if holders is None:
            return
        holders.discard(holder)
        if not holders:
            del self._holders[number]
            self._resting[number] = self._clock() + _REST

    def _text(self, number: int) -> str:
        made = ipaddress.IPv4Address if self.network.version == 4 else ipaddress.IPv6Address
        return str(made(number))

    def _wanted(self, text: str) -> int:
        try:
            address = ipaddress.ip_address(text)
        except ValueError as error:
            raise UsageError(f'"{text}" is not an IP address') from error
        if address not in self.network:
            raise Conflict(
                f"address {text} is not in the network's subnet {self.network}",
                hint="give the network a subnet that holds it (ipam.config.subnet)",
            )
        if problem := address_problem(text, self.network):
            raise Conflict(f"address {text} {problem}", hint="choose another address")
        if int(address) in self._reserved:
            raise Conflict(
                f"address {text} is taken: it is the network's gateway or an auxiliary address",
                hint="choose another address",
            )
        return int(address)

    def _free(self) -> int:
        now = self._clock()
        self._resting = {n: until for n, until in self._resting.items() if until > now}
        free = self._next_free(self._resting.keys())
        if free is None:
            free = self._next_free(())
        if free is None:
            raise Conflict(
                f"no free address is left in {self._range}",
                hint="remove containers, or give the network a larger subnet",
            )
        self._last = free
        return free

    def _next_free(self, avoided: Iterable[int]) -> int | None:
        span = _Span(self._range)
        edges = {int(self.network.network_address)}
        if self.network.version == 4:
            edges.add(int(self.network.broadcast_address))
        taken = self._holders.keys() | self._reserved | edges | set(avoided)
        start = self._last + 1 - span.first
        # Among one more than the taken ones there is a free one, if there is any.
        for offset in range(min(span.size, len(taken) + 1)):
            number = span.first + (start + offset) % span.size
            if number not in taken:
                return number
        return None


def _number(address: str) -> int:
    return int(ipaddress.ip_address(address.partition("/")[0]))


class _Span:
    """The addresses of a network; `range` cannot count those of a /64."""

    def __init__(self, network: AnyNetwork) -> None:
        self.first = int(network.network_address)
        self.size = network.num_addresses

    def __contains__(self, number: int) -> bool:
        return self.first <= number < self.first + self.size
