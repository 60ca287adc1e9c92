"""What a plan of `up` relies on and does not bring: external networks and volumes, containers
outside the project, containers of services that others share with and that it is not for.

All of it is asked for before the first step, so that everything that is missing is told at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stackctl.errors import Conflict, NotFound, Place, StackctlError, Unmet
from stackctl.model import lending
from stackctl.model.container import ContainerConfig
from stackctl.model.network import DEFAULT_NETWORK
from stackctl.scheduler.survey import Survey, used_networks, used_volumes


def check(found: Survey, configs: Iterable[ContainerConfig]) -> None:
    """`configs`: of all containers that there will be of the services meant.

    Raises NotFound for what is missing, Conflict for a network of somebody else's, Unmet for
    several of these.
    """
    configs = tuple(configs)
    errors = [
        *_volumes(found, configs),
        *_networks(found, used_networks(configs)),
        *_links(found),
        *_sharing(found),
    ]
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise Unmet(tuple(errors))


def _volumes(found: Survey, configs: Iterable[ContainerConfig]) -> Iterator[StackctlError]:
    external = found.desired.external_volumes
    used = frozenset[str]().union(*map(used_volumes, configs))
    if found.desired.all_resources:
        used |= {*external}
    here = {r.config.name for r in found.observed.volumes} | found.observed.other_volumes
    for name, place in external.items():
        if name in used and name not in here:
            yield _missing("volume", name, place)


def _networks(found: Survey, used: frozenset[str]) -> Iterator[StackctlError]:
    desired, others = found.desired, found.observed.other_networks
    external = desired.external_networks
    if desired.all_resources:
        used |= {network.name for network in desired.networks} | {*external}
    for name, place in external.items():
        if name == DEFAULT_NETWORK:
            continue  # made by whoever joins it first
        if name in used and name not in found.networks and name not in others:
            yield _missing("network", name, place)
    for network in desired.networks:
        name = network.name
        if name in used and name in others and name not in found.networks:
            yield Conflict(
                f'network "{name}" exists and does not belong to project "{desired.project}"',
                hint="use it with external: true, or give this one another name:",
            )


def _links(found: Survey) -> Iterator[StackctlError]:
    """An error for each container that is linked to and is nobody's."""
    own = {config.name for service in found.desired.services for config in service.replicas}
    own |= {record.name for record in found.observed.containers}
    for service in found.services:
        for name in service.external_links if service.name in found.wanted else ():
            if name not in own and name not in found.observed.other_containers:
                yield NotFound(
                    f'service "{service.name}" links to container "{name}", which does not exist',
                    hint="external_links are containers outside the stack: make it first; "
                    "those of the stack are `links`",
                )


def _sharing(found: Survey) -> Iterator[StackctlError]:
    """An error for each service that shares with one that has no container and gets none."""
    without = {
        service.name
        for service in found.services
        if not found.records.get(service.name)
        and not (service.name in found.wanted and service.replicas)
    }
    if not without:
        return
    service_of = {c.name: s.name for s in found.services for c in s.replicas}
    for service in found.services:
        if service.name not in found.wanted or not service.replicas:
            continue
        config = service.replicas[0]
        lenders = {service_of.get(name, "") for name, _ in lending.lenders(config)}
        for what, names in (("namespaces", config.shares_with), ("volumes", lenders)):
            for name in sorted(names & without):
                yield NotFound(
                    f'service "{service.name}" shares the {what} of "{name}", '
                    "which has no container",
                    hint=f"bring it up as well: stackctl up {name}",
                )


def _missing(kind: str, name: str, place: Place | None) -> NotFound:
    return NotFound(
        f'{kind} "{name}" is not made by the stack, and does not exist',
        place=place,
        hint="is the name right? Create it first, or declare it without external: true",
    )
