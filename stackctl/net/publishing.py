"""What a published port means: where it is held and where it leads. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from stackctl.errors import StackctlError
from stackctl.model.container import PortBinding
from stackctl.model.network import Endpoint, PublishedPort
from stackctl.net.rules import PROTOCOLS, Forward

ANY_ADDRESS, ANY_ADDRESS6 = "0.0.0.0", "::"

#: (protocol, address, first, last, twin address): a port for the keeper to hold.
Wish = tuple[str, str, int, int, str]


def freedom(binding: PortBinding) -> int:
    """How many ports would do: what can go anywhere must not take what another wants exactly."""
    match binding.host_port:
        case None:
            return 1 << 16
        case (first, last):
            return last - first


def wish_of(binding: PortBinding, default_ip: str, endpoint: Endpoint) -> Wish:
    """What to hold. StackctlError when the container could not be reached that way.

    Without an address of its own a port is published on all, of both IP versions
    when the container has both. An IPv4 address needs one inside; what arrives at an
    IPv6 address the keeper hands on to a container that has IPv4 only.
    """
    if binding.protocol not in PROTOCOLS:
        raise StackctlError(f"unknown protocol {binding.protocol!r} of a published port")
    address, twin = binding.host_ip or default_ip or ANY_ADDRESS, ""
    if not binding.host_ip and address in (ANY_ADDRESS, ANY_ADDRESS6):
        both = [ANY_ADDRESS] * bool(endpoint.ipv4) + [ANY_ADDRESS6] * bool(endpoint.ipv6)
        address, twin = both[0] if both else ANY_ADDRESS, both[1] if len(both) > 1 else ""
    if ":" not in address and not endpoint.ipv4:
        raise StackctlError(
            f"publishing on {address}: the container has no IPv4 address"
            f" in network {endpoint.network}",
            hint="publish on [::]",
        )
    first, last = binding.host_port or (0, 0)
    return binding.protocol, address, first, last, twin


def ways_of(wish: Wish, number: int, endpoint: Endpoint, port: int) -> Iterator[Forward]:
    """Where a held port leads: one way for each of the wish's addresses."""
    protocol, first, _, _, twin = wish
    for host_ip in (first, twin):
        if host_ip:
            yield Forward(
                protocol=protocol,
                host_ip=host_ip,
                host_port=number,
                address=_inside(host_ip, endpoint),
                port=port,
            )


def _inside(host_ip: str, endpoint: Endpoint) -> str:
    """The container's address for what arrives at an address of the machine."""
    six = endpoint.ipv6 if ":" in host_ip else ""
    return (six or endpoint.ipv4).partition("/")[0]


def led_to(endpoint: Endpoint, ports: Iterable[PublishedPort]) -> list[PublishedPort]:
    """The same host ports at another endpoint of the container, where it has an address."""
    moved = [replace(p, address=_inside(p.host_ip or ANY_ADDRESS, endpoint)) for p in ports]
    return [p for p in moved if p.address]


def relayed(forwards: Iterable[Forward]) -> list[list[Any]]:
    """Ports that the keeper hands on, all or their part at ::1, as it has them ("ways")."""
    return [
        [f.protocol, f.host_ip, f.host_port, f.address, f.port]
        for f in forwards
        if f.is_relayed or f.host_ip in (ANY_ADDRESS, ANY_ADDRESS6)
    ]


def published(forward: Forward, container_id: str) -> PublishedPort:
    return PublishedPort(
        host_ip=forward.host_ip,
        host_port=forward.host_port,
        container_port=forward.port,
        protocol=forward.protocol,
        container_id=container_id,
        address=forward.address,
    )


def key_of(port: PublishedPort) -> tuple[str, str, int]:
    """(protocol, host address, host port)."""
    return port.protocol, port.host_ip or ANY_ADDRESS, port.host_port
