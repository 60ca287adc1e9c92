"""Which networks a service joins, and with which MAC addresses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stackctl.model.network import DEFAULT_NETWORK
from stackctl.spec import implied
from stackctl.spec.connections import ServiceNetwork
from stackctl.spec.model import Network
from stackctl.spec.service import Service

#: Of a service that names none.
_DEFAULT = {"default": ServiceNetwork.model_validate({})}


def network_mode_of(network: Network, key: str = "") -> str:
    """ "host" or "none" for a network that is no network of ours: docker has two such."""
    name = network.name or key if network.external else network.driver
    return name if name in ("host", "none") else ""


def sole_network(service: Service) -> str:
    """The network that network_mode names; or ""."""
    is_default = service.network_mode in ("bridge", "default")
    return DEFAULT_NETWORK if is_default else implied.named_network(service)


def by_priority(
    joined: Mapping[str, ServiceNetwork], networks: Mapping[str, Network]
) -> list[tuple[str, ServiceNetwork]]:
    """Memberships of networks of ours, by key: highest priority first."""
    return [
        (key, membership)
        for key, membership in sorted(joined.items(), key=lambda item: -(item[1].priority or 0))
        if key not in networks or not network_mode_of(networks[key], key)
    ]


def mac_addresses(
    service: Service, networks: Mapping[str, Network]
) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Each MAC address that the service's containers are to have: the network, as it is told,
    where in the service the address stands, and the address."""
    own = service.mac_address or ""
    if not own and not any(joined.mac_address for joined in service.networks.values()):
        return
    if sole := sole_network(service):
        yield f"network_mode {sole}", ("mac_address",), own
        return
    joined = service.networks or ({} if service.network_mode else _DEFAULT)
    for i, (key, membership) in enumerate(by_priority(joined, networks)):
        if membership.mac_address:
            yield f'network "{key}"', ("networks", key, "mac_address"), membership.mac_address
        elif own and i == 0:
            yield f'network "{key}"', ("mac_address",), own
