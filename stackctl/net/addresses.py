"""Whose subnets and addresses are whose. No socket, no file: records and wishes in, leases out.

An address that somebody asked for by name may be leased to several containers: to
one and its successor, or to two that swap theirs. `use` sees to it that only one
of them runs with it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from stackctl.errors import Conflict, NotFound, StackctlError, UsageError
from stackctl.model.addressing import (
    AnyNetwork,
    interface_problem,
    link_local,
    mac_problem,
    usual_gateway,
)
from stackctl.model.container import NetworkAttachment
from stackctl.model.network import Endpoint, IpamPool, NetworkConfig
from stackctl.model.record import NetworkRecord
from stackctl.net.options import is_bridge, pool_for, pools_of
from stackctl.net.pool import Leases, SubnetPool, mac_of


class Addresses:
    """The networks of one engine, their leases, and who uses them now."""

    def __init__(self, tag: str, machine_id: str, title_of: Callable[[str], str]) -> None:
        """`machine_id` makes the IPv6 prefix this machine's own; `title_of` names a container."""
        self._title_of = title_of
        self._subnets = {4: SubnetPool(tag), 6: SubnetPool.ipv6(tag, machine_id)}
        self._networks: dict[str, NetworkRecord] = {}
        #: network id -> the leases of each of its subnets
        self._leases: dict[str, list[Leases]] = {}
        #: container id -> network id -> endpoint
        self._endpoints: dict[str, dict[str, Endpoint]] = {}
        #: (network id, address) -> the container that uses it now
        self._in_use: dict[tuple[str, str], str] = {}

    # --- networks -----------------------------------------------------------------

    def choose(
        self,
        config: NetworkConfig,
        in_use: Callable[[int], tuple[Collection[AnyNetwork], Collection[AnyNetwork]]],
    ) -> list[tuple[str, str]]:
        """(subnet, gateway) of each subnet for a new network, claimed: all or none.

        `in_use(IP version)` is what the machine has, and what it routes as whole ranges.
        Conflict, MachineError.
        """
        found: list[tuple[str, str]] = []
        try:
            for version, pool in _wanted_pools(config):
                subnets = self._subnets[version]
                # The interfaces of a trunk are in the LAN's own subnet: the machine routes it, too.
                shares = bool(pool.subnet) and not is_bridge(config)
                taken, far = ((), ()) if shares else in_use(version)
                subnet = subnets.request(pool.subnet, taken) if pool.subnet else None
                subnet = subnet or subnets.choose(taken, far)
                gateway = pool.gateway or usual_gateway(subnet, pool.aux_addresses.values())
                found.append((str(subnet), gateway))
        except StackctlError:
            self.give_back(found)
            raise
        return found

    def give_back(self, subnets: Iterable[tuple[str, str]]) -> None:
        for subnet, _ in subnets:
            self._subnets[_version(subnet)].give_back(subnet)

    def remember(self, record: NetworkRecord, *, is_claimed: bool = False) -> None:
        """A network that there is. `is_claimed`: its subnets come from `choose`."""
        self._networks[record.id] = record
        leases = self._leases[record.id] = []
        for subnet, gateway in record.subnets:
            if not is_claimed:
                self._subnets[_version(subnet)].claim(subnet)
            pool = pool_for(record.config, subnet)
            reserved = [gateway, *pool.aux_addresses.values()]
            leases.append(Leases(subnet, pool.ip_range, reserved))

    def forget(self, record: NetworkRecord) -> None:
        """Idempotent, but for the claims: see `give_back`."""
        self._networks.pop(record.id, None)
        self._leases.pop(record.id, None)

    def network(self, network_id: str) -> NetworkRecord | None:
        return self._networks.get(network_id)

    @property
    def networks(self) -> Collection[NetworkRecord]:
        return self._networks.values()

    # --- leases -------------------------------------------------------------------

    def lease(
        self,
        record: NetworkRecord,
        container_id: str,
        attachment: NetworkAttachment,
        wished: Collection[str] = (),
    ) -> Endpoint:
        """Addresses and an interface name for a container. StackctlError, Conflict, NotFound."""
        if record.id not in self._leases:
            raise NotFound(
                f'network "{record.config.name}" does not exist', hint="it was removed just now"
            )
        self._check_interface(record, container_id, attachment)
        further = self._link_local(record, attachment)
        got: dict[int, tuple[Leases, str]] = {}
        try:
            for version, wish in ((4, attachment.ipv4_address), (6, attachment.ipv6_address)):
                leases = [x for x in self._leases[record.id] if x.network.version == version]
                if leases:
                    got[version] = _take(leases, wish, container_id)
                elif wish:
                    raise StackctlError(
                        f'network "{record.config.name}" has no IPv{version}, '
                        f"so {wish} cannot be had there",
                        hint="set enable_ipv6: true for the network" if version == 6 else "",
                    )
        except StackctlError:
            for pool, address in got.values():
                pool.release(address, container_id)
            raise
        mine = self._endpoints.setdefault(container_id, {})
        gateways = {v: _gateway(record, pool) for v, (pool, _) in got.items()}
        addresses = {v: address for v, (_, address) in got.items()}
        first = addresses.get(4) or addresses.get(6) or ""
        endpoint = Endpoint(
            network=record.config.name,
            network_id=record.id,
            container_id=container_id,
            interface=attachment.interface_name or _free_interface(mine.values(), wished),
            mac=attachment.mac_address or (mac_of(first) if first else ""),
            ipv4=addresses.get(4, ""),
            ipv6=addresses.get(6, ""),
            gateway4=gateways.get(4, ""),
            gateway6=gateways.get(6, ""),
            aliases=attachment.aliases,
            gw_priority=attachment.gw_priority,
            link_local=further,
            settings=attachment.settings,
        )
        mine[record.id] = endpoint
        return endpoint

    def _link_local(self, record: NetworkRecord, attachment: NetworkAttachment) -> tuple[str, ...]:
        try:
            found = tuple(map(link_local, attachment.link_local_ips))
        except ValueError as error:
            raise UsageError(str(error)) from error
        if any(":" in address for address in found) and not record.config.enable_ipv6:
            raise StackctlError(
                f'network "{record.config.name}" has no IPv6, so {found[0]} cannot be had there',
                hint="set enable_ipv6: true for the network",
            )
        return found

    def _check_interface(
        self, record: NetworkRecord, container_id: str, attachment: NetworkAttachment
    ) -> None:
        name, mac = attachment.interface_name, attachment.mac_address
        if name and (problem := interface_problem(name)):
            raise UsageError(f'"{name}" {problem}')
        if mac and (problem := mac_problem(mac)):
            raise UsageError(f'"{mac}" {problem}')
        if mac and record.bridge and mac.lower() == mac_of(record.subnets[0][1]):
            raise Conflict(
                f"{mac} is the MAC address of the gateway of network {record.config.name}",
                hint="choose another mac_address, or leave it out",
            )
        for other in self.endpoints_of(container_id):
            if name and other.interface == name:
                raise Conflict(
                    f'the container\'s interface in network {other.network} is called "{name}"',
                    hint="give this one another interface_name",
                )

    def hold(self, endpoint: Endpoint) -> None:
        """A record says that this endpoint is leased."""
        self._endpoints.setdefault(endpoint.container_id, {})[endpoint.network_id] = endpoint
        for leases, address in self._held(endpoint):
            leases.hold(address, endpoint.container_id)

    def release(self, endpoint: Endpoint) -> None:
        """Gives the addresses back. Idempotent."""
        mine = self._endpoints.get(endpoint.container_id, {})
        known = mine.pop(endpoint.network_id, None)
        if not mine:
            self._endpoints.pop(endpoint.container_id, None)
        if known is None:
            return
        self.stop_using([known])
        for leases, address in self._held(known):
            leases.release(address, endpoint.container_id)

    def _held(self, endpoint: Endpoint) -> Iterator[tuple[Leases, str]]:
        for leases in self._leases.get(endpoint.network_id, ()):
            for address in addresses_of(endpoint):
                if ipaddress.ip_address(address) in leases.network:
                    yield leases, address

    def endpoints_of(self, container_id: str) -> tuple[Endpoint, ...]:
        return tuple(self._endpoints.get(container_id, {}).values())

    @property
    def endpoints(self) -> Iterator[Endpoint]:
        """All that are leased in a network that there is."""
        for mine in self._endpoints.values():
            yield from (e for e in mine.values() if e.network_id in self._networks)

    # --- use ----------------------------------------------------------------------

    def use(self, endpoints: Sequence[Endpoint]) -> None:
        """Conflict when another container runs with one of the addresses."""
        for endpoint in endpoints:
            for address in addresses_of(endpoint):
                user = self._in_use.get((endpoint.network_id, address), endpoint.container_id)
                if user != endpoint.container_id:
                    raise Conflict(
                        f"address {address} in network {endpoint.network} is used by"
                        f" {self._title_of(user)}",
                        hint="stop that container, or give this one another address",
                    )
        for endpoint in endpoints:
            for address in addresses_of(endpoint):
                self._in_use[endpoint.network_id, address] = endpoint.container_id

    def stop_using(self, endpoints: Iterable[Endpoint]) -> None:
        for endpoint in endpoints:
            for address in addresses_of(endpoint):
                key = (endpoint.network_id, address)
                if self._in_use.get(key) == endpoint.container_id:
                    del self._in_use[key]


def addresses_of(endpoint: Endpoint) -> list[str]:
    """Its addresses without prefix length."""
    every = (endpoint.ipv4, endpoint.ipv6, *endpoint.link_local)
    return [a.partition("/")[0] for a in every if a]


def ways_out(endpoints: Sequence[Endpoint]) -> dict[str, Endpoint]:
    """The gateway of each IP version's default route, with the endpoint it is reached by.

    The highest gw_priority wins, then the first name, as Docker has it.
    """
    found = {}
    order = sorted(endpoints, key=lambda e: (-e.gw_priority, e.network))
    for attribute in ("gateway4", "gateway6"):
        for endpoint in order:
            gateway = getattr(endpoint, attribute)
            if gateway:
                found[gateway] = endpoint
                break
    return found


def front_of(endpoints: Sequence[Endpoint]) -> Endpoint | None:
    """Where published ports lead: the addresses that the default routes leave by.

    Answers to who is far away leave there, and no container may send as another address.
    Without any way out the first endpoint; None when there is none.
    """
    ways = ways_out(endpoints)
    four = next((e for gateway, e in ways.items() if ":" not in gateway), None)
    six = next((e for gateway, e in ways.items() if ":" in gateway), None)
    front = four or six or next(iter(endpoints), None)
    if front is None or six is None:
        return front
    return replace(front, ipv6=six.ipv6)


def _version(subnet: str) -> int:
    return ipaddress.ip_network(subnet).version


def _wanted_pools(config: NetworkConfig) -> Iterator[tuple[int, IpamPool]]:
    """(IP version, pool): all that the user wrote, or one of the engine's choice."""
    if config.driver in ("host", "none"):
        return
    for version, enabled in ((4, config.enable_ipv4), (6, config.enable_ipv6)):
        if enabled:
            for pool in pools_of(config, version) or (IpamPool(),):
                yield version, pool


def _take(leases: Sequence[Leases], wish: str, container_id: str) -> tuple[Leases, str]:
    """An address of the first subnet that holds the wish, or that has one left."""
    fitting = [x for x in leases if wish and x.holds(wish)] or leases
    for pool in fitting[:-1]:
        try:
            return pool, pool.take(wish, container_id)
        except Conflict:
            continue  # full: the next subnet
    return fitting[-1], fitting[-1].take(wish, container_id)


def _gateway(record: NetworkRecord, pool: Leases) -> str:
    """The way out of a subnet; "" where nothing leads out."""
    if record.config.internal:
        return ""
    return next(g for s, g in record.subnets if ipaddress.ip_network(s) == pool.network)


def _free_interface(mine: Iterable[Endpoint], wished: Iterable[str]) -> str:
    taken = {*wished, *(e.interface for e in mine)}
    return next(n for n in (f"eth{i}" for i in range(len(taken) + 1)) if n not in taken)
