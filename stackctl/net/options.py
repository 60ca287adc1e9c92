"""What of a network's configuration this engine carries out, and what it refuses."""

from __future__ import annotations

import ipaddress

from stackctl.errors import StackctlError
from stackctl.model import addressing
from stackctl.model.addressing import AnyNetwork
from stackctl.model.network import IpamPool, NetworkConfig
from stackctl.model.record import NetworkRecord
from stackctl.net.rules import NetworkWalls
from stackctl.values import dataclass

_PARENT, _MACVLAN_MODE, _IPVLAN_MODE = "parent", "macvlan_mode", "ipvlan_mode"

#: Driver -> the options that it knows.
OPTIONS = {
    "bridge": (
        *(addressing.MTU, addressing.MASQUERADE, addressing.ICC),
        *(addressing.BRIDGE_NAME, addressing.BINDING, *addressing.GATEWAY_MODES),
    ),
    "macvlan": (addressing.MTU, _PARENT, _MACVLAN_MODE),
    "ipvlan": (addressing.MTU, _PARENT, _IPVLAN_MODE),
    "host": (),
    "none": (),
}
#: include/uapi/linux/if_link.h: MACVLAN_MODE_..., IPVLAN_MODE_...
MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
IPVLAN_MODES = {"l2": 0, "l3": 1, "l3s": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trunk:
    """What macvlan and ipvlan interfaces are made on. `mode` as the kernel numbers it."""

    kind: str
    parent: str
    mode: int


def check_config(config: NetworkConfig) -> None:
    """StackctlError when a network cannot be made as it is wanted."""
    if not config.name.strip() or not config.name.isprintable():
        shown = ascii(config.name)[:60]
        raise StackctlError(f"a network cannot be called {shown}: it does not print")
    name = f'network "{config.name}"'
    known = OPTIONS.get(config.driver or "bridge")
    if known is None:
        raise StackctlError(
            f'{name}: driver "{config.driver}" is not supported',
            hint=f"supported: {', '.join(OPTIONS)}",
        )
    if not config.enable_ipv4 and not config.enable_ipv6:
        raise StackctlError(
            f"{name}: neither IPv4 nor IPv6 is enabled",
            hint="for a container without any network: `network_mode: none`",
        )
    for option in config.driver_opts:
        if option not in known and not is_foreign(option, config):
            supported = ", ".join(known) or "none"
            raise StackctlError(
                f"{name}: driver option {option} is not supported", hint=f"supported: {supported}"
            )
    _check_values(name, config)
    for pool in config.ipam:
        _check_pool(name, pool)
    _check_families(name, config)


def is_foreign(option: str, config: NetworkConfig) -> bool:
    """Whether an option says nothing to any bridge, Docker's neither: it is only kept."""
    return (config.driver or "bridge") == "bridge" and not option.startswith("com.docker.network.")


def _check_values(name: str, config: NetworkConfig) -> None:
    for option, value in config.driver_opts.items():
        if problem := addressing.option_problem(option, value):
            raise StackctlError(f'{name}: {option} "{value}" {problem}')
    if config.enable_ipv6 and 0 < mtu_of(config) < addressing.LEAST_MTU6:
        raise StackctlError(
            f"{name}: IPv6 needs an MTU of {addressing.LEAST_MTU6} at least",
            hint=f"raise {addressing.MTU}, or leave enable_ipv6 out",
        )
    trunk_of(config)


def _check_families(name: str, config: NetworkConfig) -> None:
    versions: list[int] = [ipaddress.ip_network(p.subnet).version for p in config.ipam if p.subnet]
    for version, enabled in ((4, config.enable_ipv4), (6, config.enable_ipv6)):
        if version in versions and not enabled:
            hint = "set enable_ipv6: true" if version == 6 else "leave enable_ipv4 out"
            raise StackctlError(
                f"{name}: it has an IPv{version} subnet but no IPv{version}", hint=hint
            )


def _check_pool(name: str, pool: IpamPool) -> None:
    if not pool.subnet:
        if pool.gateway or pool.ip_range or pool.aux_addresses:
            raise StackctlError(
                f"{name}: a gateway, ip_range or aux_addresses needs a subnet",
                hint="add ipam.config.subnet",
            )
        return
    try:
        subnet = ipaddress.ip_network(pool.subnet)
        inside = [pool.gateway, *pool.aux_addresses.values()]
        addresses = [ipaddress.ip_address(a) for a in inside if a]
        part = ipaddress.ip_network(pool.ip_range) if pool.ip_range else subnet
    except ValueError as error:
        raise StackctlError(f"{name}: {error}") from error
    largest = 30 if subnet.version == 4 else 126
    if subnet.prefixlen > largest:
        raise StackctlError(
            f"{name}: subnet {subnet} is too small", hint=f"use /{largest} or larger"
        )
    if problem := addressing.subnet_problem(subnet):
        raise StackctlError(f"{name}: subnet {subnet} {problem}")
    for address in addresses:
        if address not in subnet:
            raise StackctlError(f"{name}: address {address} is not in subnet {subnet}")
    if pool.gateway and (problem := addressing.address_problem(pool.gateway, subnet)):
        raise StackctlError(f"{name}: gateway {pool.gateway} {problem}")
    if not pool.gateway and not addressing.usual_gateway(subnet, pool.aux_addresses.values()):
        raise StackctlError(
            f"{name}: aux_addresses leave no address of subnet {subnet} for the gateway"
        )
    if not _is_part(part, subnet):
        raise StackctlError(f"{name}: ip_range {part} is not in subnet {subnet}")


def _is_part(part: AnyNetwork, whole: AnyNetwork) -> bool:
    return (
        part.version == whole.version
        and part.network_address in whole
        and part.broadcast_address in whole
    )


def pools_of(config: NetworkConfig, version: int) -> list[IpamPool]:
    """The pools of one IP version in the user's order; none when the engine chooses."""
    return [
        pool
        for pool in config.ipam
        if pool.subnet and ipaddress.ip_network(pool.subnet).version == version
    ]


def pool_for(config: NetworkConfig, subnet: str) -> IpamPool:
    """What the user wrote about a subnet; an empty pool when the engine chose it."""
    network = ipaddress.ip_network(subnet)
    pools = pools_of(config, network.version)
    return next((p for p in pools if ipaddress.ip_network(p.subnet) == network), IpamPool())


def mtu_of(config: NetworkConfig) -> int:
    """The wanted MTU; 0 is the kernel's default."""
    return int(config.driver_opts.get(addressing.MTU, "0"))


def bridge_name_of(config: NetworkConfig) -> str:
    """The bridge's name if the user chose it."""
    return config.driver_opts.get(addressing.BRIDGE_NAME, "")


def binding_of(config: NetworkConfig) -> str:
    """The address that ports of the network's containers are published on by default, or ""."""
    return config.driver_opts.get(addressing.BINDING, "")


def is_bridge(config: NetworkConfig) -> bool:
    return config.driver in ("", "bridge")


def trunk_of(config: NetworkConfig) -> Trunk | None:
    """For macvlan and ipvlan. StackctlError for a mode that there is not, or no parent."""
    if config.driver not in ("macvlan", "ipvlan"):
        return None
    name = f'network "{config.name}"'
    modes = MACVLAN_MODES if config.driver == "macvlan" else IPVLAN_MODES
    option, usual = (
        (_MACVLAN_MODE, "bridge") if config.driver == "macvlan" else (_IPVLAN_MODE, "l2")
    )
    mode = config.driver_opts.get(option, usual)
    if mode not in modes:
        raise StackctlError(f"{name}: {option} {mode!r} is none of {', '.join(modes)}")
    parent = config.driver_opts.get(_PARENT, "")
    if not parent:
        raise StackctlError(
            f"{name}: driver {config.driver} needs the option parent",
            hint="driver_opts: {parent: eth0}, an interface of this machine",
        )
    return Trunk(kind=config.driver, parent=parent, mode=modes[mode])


def has_icc(config: NetworkConfig) -> bool:
    return _is_on(config, addressing.ICC)


def walls_of(record: NetworkRecord) -> NetworkWalls:
    return NetworkWalls(
        bridge=record.bridge,
        subnets=tuple(subnet for subnet, _ in record.subnets),
        internal=record.config.internal,
        masquerade=_is_on(record.config, addressing.MASQUERADE),
        icc=has_icc(record.config),
    )


def _is_on(config: NetworkConfig, option: str) -> bool:
    return config.driver_opts.get(option, "true").lower() not in ("false", "0")
