"""Services that must come first though no `depends_on` says so: what a service shares with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from stackctl.spec.service import Service, ServiceDependency

OF_SERVICE = "service:"
OF_CONTAINER = "container:"
#: Attributes that may name somebody whose namespace is shared.
NAMESPACES = ("network_mode", "ipc", "pid", "uts")

_FIRST = ServiceDependency.model_validate({})
#: What it shares goes away when the other one is made anew.
_TOGETHER = ServiceDependency.model_validate({"restart": True})

_MODES = ("none", "host", "bridge", "default")


def named_network(service: Service) -> str:
    """The network of the engine's, not of the stack's, that network_mode names; or ""."""
    mode = service.network_mode or ""
    return "" if mode in _MODES or mode.startswith((OF_SERVICE, OF_CONTAINER)) else mode


def uses(service: Service) -> Iterator[tuple[str, int | None, str]]:
    """Every other service that is named: the attribute, the index in its list, the name."""
    for i, link in enumerate(service.links):
        yield "links", i, link.split(":")[0]
    for i, other in enumerate(service.volumes_from):
        if not other.startswith(OF_CONTAINER):
            yield "volumes_from", i, other.split(":")[0]
    for field in NAMESPACES:
        mode = getattr(service, field)
        if mode and mode.startswith(OF_SERVICE):
            yield field, None, mode.removeprefix(OF_SERVICE)


def namespaces_of(service: Service) -> set[str]:
    """The services whose namespaces it shares: they end with the container that they are of."""
    return {name for field, _, name in uses(service) if field not in ("links", "volumes_from")}


def build_bases(service: Service) -> list[tuple[str, str]]:
    """(name of the context, service whose build it is) of additional_contexts."""
    contexts = service.build.additional_contexts if service.build else {}
    return [
        (key, value.removeprefix(OF_SERVICE))
        for key, value in contexts.items()
        if value.startswith(OF_SERVICE)
    ]


def all_build_bases(services: Mapping[str, Service], name: str) -> set[str]:
    """`name`, and all services that its build is based on, however far away."""
    found: set[str] = set()
    ahead = [name]
    while ahead:
        each = ahead.pop()
        if each not in found and each in services:
            found.add(each)
            ahead += [other for _, other in build_bases(services[each])]
    return found


def implied_dependencies(service: Service) -> dict[str, ServiceDependency]:
    """As compose adds them: volumes that are shared stay, namespaces and links do not."""
    implied: dict[str, ServiceDependency] = {}
    for field, _, name in uses(service):
        if field == "volumes_from":
            implied.setdefault(name, _FIRST)
        else:
            implied[name] = _TOGETHER
    return implied


def needed(services: Mapping[str, Service], named: Iterable[str]) -> frozenset[str]:
    """The named ones with all that they need, directly or not."""
    edges = graph(services)
    found: set[str] = set()
    ahead = [name for name in named if name in services]
    while ahead:
        each = ahead.pop()
        if each not in found:
            found.add(each)
            ahead += edges[each]
    return frozenset(found)


def graph(services: Mapping[str, Service]) -> dict[str, list[str]]:
    """Which of the services each of them needs."""
    return {
        name: [
            other
            for other in {**service.depends_on, **implied_dependencies(service)}
            if other in services
        ]
        for name, service in services.items()
    }
