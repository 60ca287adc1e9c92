"""The names of a container and the files that hold them. Pure, but for the machine's name.

A container answers to its service's name, its aliases, its own name, the short
form of its id and its host name: per network, as Docker's resolver has it. A
one-off (`run`) does not answer to its service's name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Literal

from stackctl.model.container import ContainerConfig, Health
from stackctl.model.network import Endpoint
from stackctl.model.record import ContainerRecord
from stackctl.net.naming import Naming

#: Docker's resolver address; images hard-code it.
RESOLVER = "127.0.0.11"
#: In extra_hosts: the host, as containers reach it.
HOST_GATEWAY = "host-gateway"

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


def title(container_id: str, record: ContainerRecord | None) -> str:
    """How somebody else's error calls it; `record` None: nobody knows it any more."""
    if record is None:
        return f"container {short_id(container_id)}"
    project = record.config.project
    return f"container {record.name}" + (f" of project {project}" if project else "")


def hostname(record: ContainerRecord) -> str:
    """The name inside: as configured, or the short id; the machine's own on its network."""
    if record.config.network_mode == "host" and not record.config.hostname:
        return os.uname().nodename
    return record.config.hostname or short_id(record.id)


def names_on_network(record: ContainerRecord, endpoint: Endpoint) -> tuple[str, ...]:
    """Every name that resolves to this endpoint, without repetition."""
    config = record.config
    # A name that was taken from it is another's by now.
    own = "" if record.is_aside else config.name
    candidates = [own, short_id(record.id), config.hostname, *endpoint.aliases]
    if config.service and not config.oneoff:
        candidates.append(config.service)
    return tuple(dict.fromkeys(name for name in candidates if name))


def names(record: ContainerRecord) -> dict[str, tuple[str, ...]]:
    """Names by network, for the resolver."""
    return {e.network: names_on_network(record, e) for e in record.endpoints}


def naming(record: ContainerRecord, resolver: tuple[int, int] | Literal["keep"] | None) -> Naming:
    """What the network is told of a container's names; `resolver` as Naming has it."""
    return Naming(
        container_id=record.id,
        endpoints=record.endpoints,
        names=names(record),
        resolver=resolver,
        servers=record.config.dns,
        project=record.config.project,
        links=record.config.links,
        weak=record.health is Health.UNHEALTHY,
    )


def hosts_file(record: ContainerRecord, machine: Callable[[], str] = lambda: "") -> str:
    """The text of /etc/hosts: loopback, extra hosts, the container's own name on each network.

    `machine` reads the machine's own, which is meant where its network is.
    """
    is_host = record.config.network_mode == "host"
    start = (machine().rstrip() + "\n" if is_host else "").lstrip() or _LOOPBACK_NAMES
    short, domain = hostname(record), record.config.domainname
    # The first name of a line is the canonical one: `hostname -f` gives it.
    own = f"{short}.{domain} {short}" if domain else short
    lines = [
        f"{address.partition('/')[0]}\t{own}\n"
        for endpoint in record.endpoints
        for address in (endpoint.ipv4, endpoint.ipv6)
        if address
    ]
    if not lines and not is_host:
        lines = [f"127.0.1.1\t{own}\n"]
    gateway = next((e.gateway4 or e.gateway6 for e in record.endpoints if _leads_out(e)), "")
    extra = [
        f"{address}\t{name}\n"
        for name, given in record.config.extra_hosts
        if (address := (gateway or "127.0.0.1") if given == HOST_GATEWAY else given)
    ]
    return start + "".join(extra + lines)


def _leads_out(endpoint: Endpoint) -> bool:
    return bool(endpoint.gateway4 or endpoint.gateway6)


def resolver_file(config: ContainerConfig, host_lines: Sequence[str]) -> str:
    """The text of /etc/resolv.conf.

    `host_lines` are the lines of the host's file: its search domains and options
    hold inside too. With a network of ours the only nameserver is our resolver.
    """
    changed = config.dns or config.dns_search is not None or config.dns_options is not None
    if not config.networks and not changed:
        return "".join(f"{line}\n" for line in host_lines)
    lines = {line: line.split() for line in host_lines}
    servers = [line for line, words in lines.items() if words[0] == "nameserver"]
    if config.networks:
        servers = [f"nameserver {RESOLVER}"]
    elif config.dns:
        servers = [f"nameserver {server}" for server in config.dns]
    if config.dns_search is None:
        search = [line for line, words in lines.items() if words[0] in ("search", "domain")]
    else:
        # "." is no domain: nothing is searched.
        domains = [domain for domain in config.dns_search if domain not in ("", ".")]
        search = ["search " + " ".join(domains)] if domains else []
    if config.dns_options is None:
        options = [w for words in lines.values() if words[0] == "options" for w in words[1:]]
        if config.networks:
            # ndots:0 as Docker sets it: a service name has no dot and is asked for as it stands.
            options = [o for o in options if not o.startswith("ndots:")] + ["ndots:0"]
    else:
        options = [option for option in config.dns_options if option]
        if config.networks and not any(o.startswith("ndots:") for o in options):
            options.append("ndots:0")
    if options:
        options = ["options " + " ".join(options)]
    return "\n".join([*servers, *search, *options]) + "\n"


def attributes(config: ContainerConfig) -> dict[str, str]:
    """What an event says of a container: labels, name, image (as Docker has it)."""
    return {**config.labels, "name": config.name, "image": config.image}
