"""A container's networks and ports in the shape of Docker's answers. Pure; see `inspection`."""

from __future__ import annotations

from typing import Any

from stackctl.daemon import names, wish
from stackctl.model.container import ContainerConfig
from stackctl.model.network import Endpoint, PublishedPort
from stackctl.model.record import ContainerRecord, NetworkRecord
from stackctl.net.options import pool_for

Shape = dict[str, Any]


def pool_shape(record: NetworkRecord, subnet: str, gateway: str) -> dict[str, Any]:
    """One subnet as Docker's API has it."""
    pool: dict[str, Any] = {"Subnet": subnet, "Gateway": gateway}
    wanted = pool_for(record.config, subnet)
    if wanted.ip_range:
        pool["IPRange"] = wanted.ip_range
    if wanted.aux_addresses:
        pool["AuxiliaryAddresses"] = dict(wanted.aux_addresses)
    return pool


def settings(record: ContainerRecord) -> Shape:
    """NetworkSettings."""
    lives = record.status.is_alive
    networks = {e.network: endpoint(record, e) for e in record.endpoints}
    if record.config.network_mode in ("none", "host"):
        networks = {record.config.network_mode: _nothing()}
    # The fields at the top are those of the default network, as old clients read them.
    first = networks.get("bridge") or _nothing()
    return {
        "Bridge": "",
        "SandboxID": record.id if lives else "",
        "SandboxKey": f"/proc/{record.process.pid}/ns/net" if lives and record.process else "",
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "Ports": port_map(record) if lives else {},
        **{
            key: first[key]
            for key in (
                "EndpointID",
                "Gateway",
                "GlobalIPv6Address",
                "GlobalIPv6PrefixLen",
                "IPAddress",
                "IPPrefixLen",
                "IPv6Gateway",
                "MacAddress",
            )
        },
        "Networks": networks,
    }


def _nothing() -> Shape:
    return {
        "IPAMConfig": None,
        "Links": [],
        "Aliases": [],
        "MacAddress": "",
        "DriverOpts": None,
        "GwPriority": 0,
        "NetworkID": "",
        "EndpointID": "",
        "Gateway": "",
        "IPAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DNSNames": [],
    }


def endpoint(record: ContainerRecord, leased: Endpoint) -> Shape:
    """One of NetworkSettings.Networks; addresses only while it lives, as Docker has it."""
    shape = _nothing()
    shape["NetworkID"] = leased.network_id
    shape["GwPriority"] = leased.gw_priority
    aliases = [*leased.aliases, names.short_id(record.id)]
    shape["Aliases"] = list(dict.fromkeys(aliases))
    shape["DNSNames"] = list(names.names_on_network(record, leased))
    for attachment in record.config.networks:
        if attachment.network != leased.network:
            continue
        shape["MacAddress"] = attachment.mac_address
        wished = {
            "IPv4Address": attachment.ipv4_address,
            "IPv6Address": attachment.ipv6_address,
            "LinkLocalIPs": list(attachment.link_local_ips),
        }
        if any(wished.values()):
            shape["IPAMConfig"] = {key: value for key, value in wished.items() if value}
    asked = wish.given_back(record.config.asked).get("Endpoints", {})
    shape.update(asked.get(leased.network) or asked.get("default", {}))
    if not record.status.is_alive:
        return shape
    ipv4, _, prefix4 = leased.ipv4.partition("/")
    ipv6, _, prefix6 = leased.ipv6.partition("/")
    shape.update(
        EndpointID=endpoint_id(record, leased),
        MacAddress=leased.mac,
        Gateway=leased.gateway4,
        IPAddress=ipv4,
        IPPrefixLen=int(prefix4 or 0),
        IPv6Gateway=leased.gateway6,
        GlobalIPv6Address=ipv6,
        GlobalIPv6PrefixLen=int(prefix6 or 0),
    )
    return shape


def endpoint_id(record: ContainerRecord, leased: Endpoint) -> str:
    return f"{leased.network_id[:32]}{record.id[:32]}"


def exposed(config: ContainerConfig) -> list[str]:
    """PORT/PROTOCOL of what it exposes or publishes."""
    bound = (f"{p.container_port}/{p.protocol}" for p in config.ports)
    return list(dict.fromkeys((*config.expose, *bound)))


def port_map(record: ContainerRecord) -> dict[str, list[dict[str, str]] | None]:
    """NetworkSettings.Ports: exposed ports, those that are published with where."""
    found: dict[str, list[dict[str, str]] | None] = dict.fromkeys(exposed(record.config))
    for port in record.ports:
        key = f"{port.container_port}/{port.protocol}"
        where = {"HostIp": port.host_ip, "HostPort": str(port.host_port)}
        found[key] = [*(found.get(key) or ()), where]
    return found


def port_bindings(config: ContainerConfig) -> dict[str, list[dict[str, str]]]:
    """HostConfig.PortBindings: what was asked for."""
    found: dict[str, list[dict[str, str]]] = {}
    for port in config.ports:
        first, last = port.host_port or (0, 0)
        text = "" if not first else str(first) if first == last else f"{first}-{last}"
        where = {"HostIp": port.host_ip, "HostPort": text}
        found.setdefault(f"{port.container_port}/{port.protocol}", []).append(where)
    return found


def listed_ports(record: ContainerRecord) -> list[Shape]:
    """Ports of a list's entry: one a published address, one an exposed port without."""
    if not record.status.is_alive:
        return []
    published: list[Shape] = [_listed_port(port) for port in record.ports]
    taken = {(p.container_port, p.protocol) for p in record.ports}
    for text in exposed(record.config):
        number, _, protocol = text.partition("/")
        if number.isdigit() and (int(number), protocol) not in taken:
            published.append({"PrivatePort": int(number), "Type": protocol})
    return published


def _listed_port(port: PublishedPort) -> Shape:
    return {
        "IP": port.host_ip,
        "PrivatePort": port.container_port,
        "PublicPort": port.host_port,
        "Type": port.protocol,
    }
