"""What a container is called, and how it asks for others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from stackctl.model.network import Endpoint
from stackctl.model.record import NetworkRecord
from stackctl.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """One container's names and its resolver.

    `names` is by network name or id; the first of a network is what reverse
    look-ups give. `resolver` is (pid of a process in the container, port); "keep":
    as it is; None: it asks nothing. `servers` replaces the machine's resolvers.
    `links`: names that only this container knows -> names of others. `weak`: it is
    unhealthy, others with its names are preferred.
    """

    container_id: str
    endpoints: tuple[Endpoint, ...]
    names: Mapping[str, tuple[str, ...]]
    resolver: tuple[int, int] | Literal["keep"] | None
    servers: tuple[str, ...] = ()
    project: str = ""
    links: tuple[tuple[str, str], ...] = ()
    weak: bool = False


def raw_names(naming: Naming, network: Callable[[str], NetworkRecord | None]) -> dict[str, Any]:
    """As the keeper has it (CONTAINER in its protocol). `network(id)` gives the record."""
    networks = {}
    members = []
    for endpoint in naming.endpoints:
        record = network(endpoint.network_id)
        internal = record is not None and record.config.internal
        networks[endpoint.network_id] = [endpoint.network, internal]
        names = naming.names
        called = names.get(endpoint.network) or names.get(endpoint.network_id) or ()
        v4, v6 = endpoint.ipv4.partition("/")[0], endpoint.ipv6.partition("/")[0]
        members.append([endpoint.network_id, v4, v6, list(called)])
    resolver = naming.resolver
    return {
        "id": naming.container_id,
        "networks": networks,
        "members": members,
        "resolver": [resolver[0], 0, resolver[1]] if isinstance(resolver, tuple) else resolver,
        "servers": list(naming.servers),
        "project": naming.project,
        "links": dict(naming.links),
        "weak": naming.weak,
    }
