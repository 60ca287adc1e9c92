"""Networks and volumes as wanted, and endpoints as leased."""

from __future__ import annotations

from dataclasses import field

from stackctl.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class IpamPool:
    """One address pool, as ipam.config has it; "" means the engine chooses."""

    subnet: str = ""
    ip_range: str = ""
    gateway: str = ""
    aux_addresses: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """A network as wanted. `name` is unique on the engine (project_key or `name:`)."""

    name: str
    driver: str = "bridge"
    driver_opts: dict[str, str] = field(default_factory=dict)
    internal: bool = False
    attachable: bool = False
    enable_ipv4: bool = True
    enable_ipv6: bool = False
    ipam: tuple[IpamPool, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    project: str = ""
    #: The key in the stack file ("default", "back").
    key: str = ""
    config_hash: str = ""
    #: JSON: what config_hash is the digest of, so that a plan can say what has changed.
    made_of: str = ""


#: The network that a container joins when it names none (Docker's name for its own).
DEFAULT_NETWORK = "bridge"


def default_network() -> NetworkConfig:
    """The engine's own network: made when the first container joins it, nobody's project."""
    return NetworkConfig(
        name=DEFAULT_NETWORK, attachable=True, labels={"stackctl.network.default": "true"}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeConfig:
    name: str
    driver: str = "local"
    driver_opts: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    project: str = ""
    key: str = ""
    anonymous: bool = False
    config_hash: str = ""
    #: As a network's.
    made_of: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One interface of one container, leased before it starts.

    `ipv4` and `ipv6` are addresses with prefix length ("10.4.0.2/24"), gateways
    without. `interface` is the name inside the container.
    """

    network: str
    network_id: str
    container_id: str
    interface: str
    mac: str
    ipv4: str = ""
    ipv6: str = ""
    gateway4: str = ""
    gateway6: str = ""
    aliases: tuple[str, ...] = ()
    #: The default route leads through the endpoint with the highest one.
    gw_priority: int = 0
    #: Further addresses, with prefix length.
    link_local: tuple[str, ...] = ()
    #: As NetworkAttachment has them.
    settings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPort:
    """A host port that is reserved and forwarded to a container."""

    host_ip: str
    host_port: int
    container_port: int
    protocol: str
    container_id: str
    #: The container's address that it is forwarded to, without prefix length.
    address: str = ""
