"""The short form of a published port -> its long forms, one a container port.

    [[HOST_IP:][HOST_PORT[-END]]:]CONTAINER_PORT[-END][/PROTOCOL]

An IPv6 host address may stand in brackets. Ranges must be equally long, but many
host ports for one container port mean "any free one of these".
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from stackctl.errors import UsageError

PROTOCOLS = ("tcp", "udp", "sctp")
_RANGE = re.compile("([0-9]{1,5})(?:-([0-9]{1,5}))?")
_USUAL = "STACKCTL_PUBLISH_ADDR"


class Port(NamedTuple):
    """`published` is "", a port, or a range as text, as the long form has it."""

    target: int
    published: str = ""
    host_ip: str = ""
    protocol: str = "tcp"


def parse(spec: str, spend: Callable[[int], None] = lambda count: None) -> list[Port]:
    """All ports that `spec` names; `spend` is told how many before they are. Raises ValueError."""
    text, slash, protocol = spec.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if protocol not in PROTOCOLS:
        raise ValueError(f'"{protocol}" is not a protocol: use one of {", ".join(PROTOCOLS)}')
    host_ip, published, target = _split(text)
    if not target:
        raise ValueError(f'"{spec}" names no container port')
    first, last = port_range(target)
    count = last - first + 1
    spend(count)
    if not published:
        return [Port(first + i, "", host_ip, protocol) for i in range(count)]
    host_first, host_last = port_range(published, lowest=0)
    if host_last - host_first + 1 == count:
        return [Port(first + i, str(host_first + i), host_ip, protocol) for i in range(count)]
    if count == 1:
        return [Port(first, f"{host_first}-{host_last}", host_ip, protocol)]
    raise ValueError(f'the ranges "{published}" and "{target}" are not equally long')


def _split(text: str) -> tuple[str, str, str]:
    if text.startswith("["):
        address, bracket, rest = text[1:].partition("]")
        if not bracket or not rest.startswith(":") or rest.count(":") > 2:
            raise ValueError(f'"{text}" is not [ADDRESS]:HOST_PORT:CONTAINER_PORT')
        published, _, target = rest[1:].rpartition(":")
        return host_address(address), published, target
    parts = text.rsplit(":", 2)
    match parts:
        case [target]:
            return "", "", target
        case [published, target]:
            return "", published, target
        case [address, published, target]:
            return (host_address(address) if address else ""), published, target
        case _:
            raise ValueError(f'"{text}" is not a port')


def host_address(text: str) -> str:
    """`text` when it is an IP address. Raises ValueError."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f'"{text}" is not an IP address') from None
    return text


def usual_address(environment: Mapping[str, str]) -> str:
    """Where the caller wants ports that name no address; "" is everywhere. UsageError."""
    try:
        return host_address(environment[_USUAL]) if environment.get(_USUAL) else ""
    except ValueError as error:
        raise UsageError(f"{_USUAL}: {error}", hint=f"{_USUAL}=127.0.0.1, for example") from None


def port_range(text: str, *, lowest: int = 1) -> tuple[int, int]:
    """ "80" or "80-90" -> first and last. Raises ValueError."""
    found = _RANGE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f'"{text}" is not a port or a range of ports')
    low = int(found[1])
    high = int(found[2] or low)
    if not lowest <= low <= high <= 65535:
        what = "a port" if low == high else "a range of ports"
        raise ValueError(f'"{text}" is not {what} from {lowest} to 65535')
    return low, high
