"""What a plan of `up` relies on and does not bring: external networks and volumes, containers
outside the project, and those that others share namespaces or volumes with.

All of it is asked for before the first step, so that everything that is missing is told at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from stackctl.errors import Conflict, NotFound, Place, StackctlError, Unmet
from stackctl.model import lending
from stackctl.model.container import ContainerConfig
from stackctl.model.network import DEFAULT_NETWORK
from stackctl.scheduler.desired import DesiredService
from stackctl.scheduler.survey import Survey, used_networks, used_volumes

#: Letters of an id by which Docker shows it.
_SHORT_ID = 12


def check(
    found: Survey,
    configs: Sequence[ContainerConfig],
    made: Sequence[ContainerConfig],
    leaving: Collection[str],
) -> None:
    """`configs`: of all containers that there will be of the services meant; `made`: of those
    that are made; `leaving`: ids of those that are stopped or removed.

    Raises NotFound for what is missing, Conflict for a network of somebody else's, Unmet for
    several of these.
    """
    errors = [
        *_volumes(found, configs),
        *_networks(found, used_networks(configs)),
        *_links(found, {config.service for config in made}),
        *_sharing(found, leaving),
        *_names(found, made, leaving),
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


def _links(found: Survey, made: Collection[str]) -> Iterator[StackctlError]:
    """An error for each container that a new one links to and that is nobody's."""
    own = {config.name for service in found.desired.services for config in service.replicas}
    own |= {record.name for record in found.observed.containers}
    for service in found.services:
        for name in service.external_links if service.name in made else ():
            if name not in own and not _is_in(found.observed.other_containers, name):
                yield NotFound(
                    f'service "{service.name}" links to container "{name}", which does not exist',
                    hint="external_links are containers outside the stack: make it first; "
                    "those of the stack are `links`",
                )


def _names(
    found: Survey, made: Iterable[ContainerConfig], leaving: Collection[str]
) -> Iterator[StackctlError]:
    """An error for each new container whose name somebody has who stays."""
    staying = {
        record.name: record.config.place
        for record in found.observed.containers
        if record.id not in leaving
    }
    for config in made:
        place = staying.get(config.name)
        others = place is None and config.name in found.observed.other_containers
        if others or place not in (None, config.place):
            yield Conflict(
                f'service "{config.service}": the container name "{config.name}" is in use',
                hint="remove or rename that container, or choose another name",
            )


def _sharing(found: Survey, leaving: Collection[str]) -> Iterator[StackctlError]:
    """An error for each service that shares with one that will have no container, or with a
    container that there is not."""
    staying = {
        service.name: service.replicas if service.name in found.wanted else _configs(found, service)
        for service in found.services
    }
    there = {config.name for configs in staying.values() for config in configs}
    there |= {
        record.name
        for record in found.observed.containers
        if record.config.oneoff or record.config.service not in staying
        if record.id not in leaving
    }
    there |= found.observed.other_containers
    service_of = {c.name: s.name for s in found.services for c in s.replicas}
    for service in found.services:
        if service.name not in found.wanted or not service.replicas:
            continue
        config = service.replicas[0]
        for name in sorted(config.shares_with):
            if name in staying and not staying[name]:
                yield _nobody(service.name, "namespaces", f'"{name}"', name)
        for name in sorted(config.shares_with_containers):
            if not _is_in(there, name):
                yield _nobody(service.name, "namespaces", f'container "{name}"', "")
        for name, _ in lending.lenders(config):
            if not _is_in(there, name):
                lender = service_of.get(name, "")
                who = f'"{lender}"' if lender else f'container "{name}"'
                yield _nobody(service.name, "volumes", who, lender)


def _configs(found: Survey, service: DesiredService) -> tuple[ContainerConfig, ...]:
    return tuple(record.config for record in found.records.get(service.name, ()))


def _is_in(there: Collection[str], name: str) -> bool:
    """By name, or by its id, of which the beginning is known."""
    return name in there or (len(name) > _SHORT_ID and name[:_SHORT_ID] in there)


def _nobody(service: str, what: str, whose: str, lender: str) -> NotFound:
    if lender:
        brief, hint = "which has no container", f"bring it up as well: stackctl up {lender}"
    else:
        brief, hint = "which does not exist", "make that one first"
    return NotFound(f'service "{service}" shares the {what} of {whose}, {brief}', hint=hint)


def _missing(kind: str, name: str, place: Place | None) -> NotFound:
    return NotFound(
        f'{kind} "{name}" is not made by the stack, and does not exist',
        place=place,
        hint="is the name right? Create it first, or declare it without external: true",
    )
