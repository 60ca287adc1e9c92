"""What of a network's configuration this engine carries out, and what it refuses."""

from __future__ import annotations

import ipaddress

from stackctl.errors import StackctlError
from stackctl.model.network import IpamPool, NetworkConfig
from stackctl.model.record import NetworkRecord
from stackctl.net.rules import NetworkWalls

_MTU = "com.docker.network.driver.mtu"
_MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
_KNOWN = (_MTU, _MASQUERADE)


def check_config(config: NetworkConfig) -> None:
    """StackctlError when a network cannot be made as it is wanted."""
    name = f'network "{config.name}"'
    if config.driver not in ("bridge", ""):
        raise StackctlError(
            f'{name}: driver "{config.driver}" is not supported', hint='use the driver "bridge"'
        )
    if config.enable_ipv6:
        raise StackctlError(f"{name}: IPv6 is not supported yet", hint="leave enable_ipv6 out")
    if not config.enable_ipv4:
        raise StackctlError(f"{name}: a network without IPv4 is not supported yet")
    for option in config.driver_opts:
        if option not in _KNOWN:
            known = ", ".join(_KNOWN)
            raise StackctlError(
                f"{name}: driver option {option} is not supported", hint=f"supported: {known}"
            )
    if len(config.ipam) > 1:
        raise StackctlError(f"{name}: more than one address pool is not supported yet")
    for pool in config.ipam:
        _check_pool(name, pool)


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
    if subnet.version != 4:
        raise StackctlError(f"{name}: IPv6 subnets are not supported yet")
    if subnet.prefixlen > 30:
        raise StackctlError(f"{name}: subnet {subnet} is too small", hint="use /30 or larger")
    for address in addresses:
        if address not in subnet:
            raise StackctlError(f"{name}: address {address} is not in subnet {subnet}")
    if part.version != 4 or not part.subnet_of(subnet):
        raise StackctlError(f"{name}: ip_range {part} is not in subnet {subnet}")


def mtu_of(config: NetworkConfig) -> int:
    """The wanted MTU; 0 is the kernel's default. StackctlError when it is no number."""
    text = config.driver_opts.get(_MTU, "0")
    if not text.isdecimal():
        raise StackctlError(f'network "{config.name}": bad MTU {text!r}')
    return int(text)


def walls_of(record: NetworkRecord) -> NetworkWalls:
    masquerade = record.config.driver_opts.get(_MASQUERADE, "true").lower()
    return NetworkWalls(
        bridge=record.bridge,
        subnet=record.subnet4,
        internal=record.config.internal,
        masquerade=masquerade not in ("false", "0"),
    )
