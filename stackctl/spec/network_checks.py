"""What the pools and options of networks, and who is to have which address, get wrong."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence

from stackctl.model import addressing
from stackctl.spec.mistakes import Mistakes
from stackctl.spec.model import DRIVER_OPTIONS, Network, Service
from stackctl.spec.written import Written

#: The service, the attribute, and the address that it asks for.
Fixed = tuple[str, str, str]


def fixed_addresses(services: Mapping[str, Service]) -> dict[str, list[Fixed]]:
    """By network, the addresses that containers of these services are to have in it."""
    found: dict[str, list[Fixed]] = {}
    for name, service in services.items():
        for key, membership in service.networks.items():
            for field in ("ipv4_address", "ipv6_address"):
                address = getattr(membership, field)
                if address and service.replicas:
                    found.setdefault(key, []).append((name, field, address))
    return found


class NetworkChecks:
    """All checks of one network of a file; `services` are those that may join it, `fixed` what
    they ask for."""

    def __init__(
        self,
        key: str,
        network: Network,
        services: Mapping[str, Service],
        fixed: Sequence[Fixed],
        written: Written,
        mistakes: Mistakes,
    ) -> None:
        self._key = key
        self._network = network
        self._services = services
        self._fixed = fixed
        self._written = written
        self._mistakes = mistakes

    def run(self) -> None:
        self._pools()
        self._driver_options()
        self._addresses()

    def _pools(self) -> None:
        """What a pool names must lie in its subnet; no two pools have addresses in common."""
        pools = (self._network.ipam and self._network.ipam.config) or ()
        seen: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for i, pool in enumerate(pools):
            if pool.subnet is None:
                continue
            where = self._written.at("networks", self._key, "ipam", "config", i, "subnet")
            subnet = ipaddress.ip_network(pool.subnet, strict=False)
            if problem := addressing.subnet_problem(subnet):
                self._mistakes.add(f"the subnet {subnet} {problem}", where)
            for other in seen:
                if subnet.version == other.version and subnet.overlaps(other):
                    self._mistakes.add(
                        f"the subnets {other} and {subnet} of one network overlap", where
                    )
            seen.append(subnet)
        for i, pool in enumerate(pools):
            named = [("gateway", pool.gateway), ("ip_range", pool.ip_range)]
            named += [("aux_addresses", address) for address in (pool.aux_addresses or {}).values()]
            for field, value in named:
                if value:
                    self._in_pool(i, pool.subnet, field, value)

    def _in_pool(self, number: int, text: str | None, field: str, value: str) -> None:
        where = self._written.at("networks", self._key, "ipam", "config", number, field)
        if text is None:
            self._mistakes.add(f"{field} needs a subnet", where)
            return
        subnet = ipaddress.ip_network(text, strict=False)
        part = ipaddress.ip_network(value)
        if part.network_address not in subnet or part.broadcast_address not in subnet:
            self._mistakes.add(f"{field} {value} is not in the subnet {subnet}", where)
        elif field == "gateway" and (problem := addressing.address_problem(value, subnet)):
            self._mistakes.add(f"{field} {value} {problem}", where)

    def _driver_options(self) -> None:
        for option, value in self._network.driver_opts.items():
            where = ("networks", self._key, "driver_opts", option)
            if option not in DRIVER_OPTIONS:
                self._mistakes.warn(
                    f'driver option "{option}" of network "{self._key}" has no effect',
                    self._written.at(*where, key=True),
                )
            elif problem := addressing.option_problem(option, value):
                self._mistakes.add(f'{option} "{value}" {problem}', self._written.at(*where))

    def _addresses(self) -> None:
        """A fixed address is for one container, and not the network's own."""
        own = self._own_addresses() if self._fixed else {}
        holders: dict[str, str] = {}
        for name, field, address in self._fixed:
            where = self._written.at("services", name, "networks", self._key, field)
            told = _plain(address)
            other = holders.setdefault(told, name)
            if told in own:
                self._mistakes.add(
                    f"{field} {told} is {own[told]}",
                    where,
                    hint="choose another address",
                )
            elif other != name:
                self._mistakes.add(
                    f'services "{other}" and "{name}" both have the address {told}'
                    f' in network "{self._key}"',
                    where,
                )
            elif self._services[name].replicas > 1:
                self._mistakes.add(
                    f'service "{name}" has {self._services[name].replicas} replicas,'
                    f" which cannot all have the address {told}",
                    where,
                )

    def _own_addresses(self) -> dict[str, str]:
        """Addresses of the pools that no container can have -> what they are.

        An internal network has gateways, too: they are its bridge's addresses.
        """
        network = self._network
        found: dict[str, str] = {}
        if network.external or network.driver in ("host", "none"):
            return found
        for pool in (network.ipam and network.ipam.config) or ():
            if pool.subnet is None:
                continue
            others = pool.aux_addresses or {}
            for name, address in others.items():
                found[_plain(address)] = f'the auxiliary address "{name}" of network "{self._key}"'
            if pool.gateway:
                found[_plain(pool.gateway)] = f'the gateway of network "{self._key}"'
            elif usual := addressing.usual_gateway(
                ipaddress.ip_network(pool.subnet, strict=False), others.values()
            ):
                found[usual] = f'the gateway of network "{self._key}", which names no other one'
        return found


def _plain(address: str) -> str:
    return str(ipaddress.ip_address(address))
