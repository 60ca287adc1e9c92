"""What a linked container is told of the other by variables, on the default network alone.

Docker's legacy links: for `--link db:base` to a container at 10.0.0.2 that exposes 5432,
BASE_PORT=tcp://10.0.0.2:5432, BASE_PORT_5432_TCP and its parts, BASE_NAME, and BASE_ENV_X
for each variable X of the other. In networks of one's own names are enough, as in Docker.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from stackctl.daemon.inspected_networks import exposed
from stackctl.daemon.registry import Registry
from stackctl.errors import Conflict, NotFound
from stackctl.model.network import DEFAULT_NETWORK
from stackctl.model.record import ContainerRecord

#: Variables of the other that say nothing about it.
_USUAL = ("HOME", "PATH")


def told(record: ContainerRecord, registry: Registry) -> ContainerRecord:
    """`record` as it is started: its own variables win over those of links."""
    if not record.config.links or not _address(record):
        return record
    found: dict[str, str] = {}
    for alias, target in record.config.links:
        try:
            other = registry.store.find_container(target)
        except (NotFound, Conflict):
            continue
        found.update(variables(record.name, alias, other))
    own = {entry.partition("=")[0] for entry in record.config.env}
    more = tuple(f"{name}={value}" for name, value in found.items() if name not in own)
    return replace(record, config=replace(record.config, env=(*more, *record.config.env)))


def variables(name: str, alias: str, other: ContainerRecord) -> dict[str, str]:
    """Of the container `name` about `other`; none unless that runs in the default network."""
    address = _address(other)
    if not address or not other.status.is_alive:
        return {}
    prefix = alias.upper().replace("-", "_")
    found = {}
    ports = sorted(_ports(other))
    if ports:
        number, protocol = min(ports, key=lambda port: (port[1] != "tcp", port[0]))
        found[f"{prefix}_PORT"] = f"{protocol}://{address}:{number}"
    for number, protocol in ports:
        key = f"{prefix}_PORT_{number}_{protocol.upper()}"
        found[key] = f"{protocol}://{address}:{number}"
        found[f"{key}_ADDR"] = address
        found[f"{key}_PORT"] = str(number)
        found[f"{key}_PROTO"] = protocol
    found[f"{prefix}_NAME"] = f"/{name}/{alias}"
    for entry in other.config.env:
        key, equals, value = entry.partition("=")
        if equals and key not in _USUAL:
            found[f"{prefix}_ENV_{key}"] = value
    return found


def _address(record: ContainerRecord) -> str:
    """In the default network; "" elsewhere."""
    return next(
        (e.ipv4.partition("/")[0] for e in record.endpoints if e.network == DEFAULT_NETWORK), ""
    )


def _ports(record: ContainerRecord) -> Iterator[tuple[int, str]]:
    for text in exposed(record.config):
        number, _, protocol = text.partition("/")
        if number.isdigit():
            yield int(number), protocol or "tcp"
