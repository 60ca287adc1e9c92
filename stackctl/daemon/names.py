"""The names of a container and the files that hold them. Pure.

A container answers to its service's name, its aliases, its own name, the short
form of its id and its host name: per network, as Docker's resolver has it. A
one-off (`run`) does not answer to its service's name.
"""

from __future__ import annotations

from collections.abc import Sequence

from stackctl.model.container import ContainerConfig
from stackctl.model.network import Endpoint
from stackctl.model.record import ContainerRecord

#: Docker's resolver address; images hard-code it.
RESOLVER = "127.0.0.11"

_LOOPBACK_NAMES = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


def short_id(container_id: str) -> str:
    return container_id[:12]


def hostname(record: ContainerRecord) -> str:
    """The name inside the container: as configured, or the short id."""
    return record.config.hostname or short_id(record.id)


def names_on_network(record: ContainerRecord, endpoint: Endpoint) -> tuple[str, ...]:
    """Every name that resolves to this endpoint, without repetition."""
    config = record.config
    candidates = [config.name, short_id(record.id), config.hostname, *endpoint.aliases]
    if config.service and not config.oneoff:
        candidates.append(config.service)
    return tuple(dict.fromkeys(name for name in candidates if name))


def names(record: ContainerRecord) -> dict[str, tuple[str, ...]]:
    """Names by network, for the resolver."""
    return {e.network: names_on_network(record, e) for e in record.endpoints}


def hosts_file(record: ContainerRecord) -> str:
    """The text of /etc/hosts: loopback, and the container's own name on each network."""
    own = hostname(record)
    lines = [
        f"{address.partition('/')[0]}\t{own}\n"
        for endpoint in record.endpoints
        for address in (endpoint.ipv4, endpoint.ipv6)
        if address
    ]
    if not lines and record.config.network_mode != "host":
        lines = [f"127.0.1.1\t{own}\n"]
    return _LOOPBACK_NAMES + "".join(lines)


def resolver_file(config: ContainerConfig, host_lines: Sequence[str]) -> str:
    """The text of /etc/resolv.conf.

    `host_lines` are the lines of the host's file: its search domains and options
    hold inside too. With a network of ours the only nameserver is our resolver.
    """
    if not config.networks:
        return "".join(f"{line}\n" for line in host_lines)
    kept = [line for line in host_lines if line.split()[:1] in (["search"], ["domain"])]
    options = [
        word for line in host_lines if line.startswith("options") for word in line.split()[1:]
    ]
    # ndots:0 as Docker sets it: a service name has no dot and is asked for as it stands.
    options = [o for o in options if not o.startswith("ndots:")] + ["ndots:0"]
    return "\n".join([f"nameserver {RESOLVER}", *kept, "options " + " ".join(options)]) + "\n"


def attributes(config: ContainerConfig) -> dict[str, str]:
    """What an event says of a container: labels, name, image (as Docker has it)."""
    return {**config.labels, "name": config.name, "image": config.image}
