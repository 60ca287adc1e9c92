"""The steps for what containers stand on: images, volumes, networks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from stackctl.errors import NotFound
from stackctl.model.container import ContainerConfig
from stackctl.model.network import DEFAULT_NETWORK, NetworkConfig, default_network
from stackctl.model.reference import parse
from stackctl.scheduler import differences, losses
from stackctl.scheduler.desired import DesiredService
from stackctl.scheduler.differences import Change
from stackctl.scheduler.draft import Draft
from stackctl.scheduler.ops import (
    BuildImage,
    CreateNetwork,
    CreateVolume,
    Plan,
    PullImage,
    RemoveNetwork,
    RemoveVolume,
    RunProvider,
)
from stackctl.scheduler.survey import Survey, used_networks, used_volumes

#: ("network" or "volume", name) of what is made anew -> the steps that stop what uses it.
Stops = Mapping[tuple[str, str], Collection[int]]


def pull_cause(service: DesiredService, found: Survey, *, creates: bool) -> str:
    """Why the service's image is pulled; "" when it is not.

    `creates`: a container is about to be made from it. A missing image of a
    container that exists already is nobody's need. Raises NotFound when the image
    is needed, missing, and must not be pulled.
    """
    here = service.image in found.observed.images
    if service.build is not None and not _is_pulled_first(service, found):
        return build_cause(service, found, creates=creates)
    if service.image in found.policy.pulled:
        return ""
    asks = service.pull_policy == "always" or (here and _is_old(service, found))
    if asks and not _is_built_in(service.image):
        return f"pull_policy: {service.pull_policy}"
    if service.build is not None:
        return build_cause(service, found, creates=creates)
    if here or not creates:
        return ""
    if service.pull_policy == "never":
        raise NotFound(
            f'image "{service.image}" of service "{service.name}" is not here, '
            "and its pull_policy is never",
            hint="load or build the image first, or allow the pull",
        )
    return "not found"


def _is_built_in(image: str) -> bool:
    return not image.startswith("sha256:") and parse(image).is_host


def _is_pulled_first(service: DesiredService, found: Survey) -> bool:
    """An image that could be built, but has a name of its own and a policy that asks for it."""
    is_ours = service.image == found.desired.separator.join((found.desired.project, service.name))
    asks = service.pull_policy == "always" or _is_old(service, found)
    return asks and not is_ours and not found.policy.build


def _is_old(service: DesiredService, found: Survey) -> bool:
    age = found.observed.image_ages.get(service.image)
    return service.refresh_after is not None and age is not None and age > service.refresh_after


def build_cause(service: DesiredService, found: Survey, *, creates: bool) -> str:
    """Why the service's image is built; "" when it is not."""
    if service.image in found.policy.pulled:
        return ""
    if found.policy.build:
        return "asked for (--build)"
    if service.pull_policy == "build":
        return "pull_policy: build"
    return "not found" if creates and service.image not in found.observed.images else ""


def pulls(
    draft: Draft, services: Sequence[tuple[DesiredService, bool]], found: Survey
) -> dict[str, int]:
    """One PullImage or BuildImage a reference, whoever shares it. Gives reference -> step.

    What any service of the file builds is built, also for who only uses or mounts it.
    """
    steps: dict[str, int] = {}
    builds = {service.image: service.build for service in found.services if service.build}
    for service, creates in services:
        if service.build is None and service.image in builds:
            service = replace(service, build=builds[service.image])
        cause = pull_cause(service, found, creates=creates)
        if cause and service.image not in steps:
            op: PullImage | BuildImage = PullImage(reference=service.image)
            if service.build is not None:
                op = BuildImage(reference=service.image, build=service.build)
                if _is_pulled_first(service, found):
                    op = PullImage(reference=service.image, build=service.build)
            steps[service.image] = draft.add(op, cause, service=service.name)
    here = found.observed.images | found.policy.pulled
    # After all that is built: it may be what another mounts.
    for service, creates in services:
        for image in service.further_images if creates else ():
            if image not in steps and image not in here:
                op = PullImage(reference=image)
                if build := builds.get(image):
                    op = BuildImage(reference=image, build=build)
                steps[image] = draft.add(op, "not found", service=service.name)
    return steps


def providers(draft: Draft, found: Survey) -> dict[str, int]:
    """One RunProvider for each service wanted that a program provides. Gives service -> step.

    At every `up`: only the program knows whether there is something to do.
    """
    steps: dict[str, int] = {}
    for service in found.services:
        if service.provider is None or service.name in found.policy.provided:
            continue
        if service.name in found.wanted and found.policy.start:
            after = [steps[need.service] for need in service.depends_on if need.service in steps]
            steps[service.name] = draft.add(
                RunProvider(provider=service.provider),
                f"provided by {service.provider.type}",
                after=after,
                service=service.name,
            )
    return steps


def provider_plan(found: Survey) -> Plan:
    """Only the providers with which `up` begins.

    What they set in the environment of others is known when they have run: execute this,
    resolve again, then plan the `up` with the services in `UpPolicy.provided`.
    """
    draft = Draft(found.desired.project)
    providers(draft, found)
    return draft.plan()


def pull_plan(found: Survey) -> Plan:
    """The pulls that decide: those for services that have containers already, and of what these
    mount.

    Whether such a container is made anew depends on what its image is, which is known
    when it is here: execute this, resolve again, then plan the `up` with the references in
    `UpPolicy.pulled`. A service without containers needs no decision: the pull of its image
    is a step of the plan of `up`, and only its own containers wait for it.
    """
    existing = found.wanted & found.records.keys()
    mounted = {image for s in found.services if s.name in existing for image in s.mounted}
    makers = {s.name for s in found.services if s.image in mounted}
    return image_plan(found, existing | (makers & found.wanted))


def image_plan(found: Survey, names: Collection[str], *, oneoff: bool = False) -> Plan:
    """The pulls and builds of these services' images alone; `oneoff`: needed in any case."""
    draft = Draft(found.desired.project)
    wanted = [service for service in found.services if service.name in names]
    pulls(draft, [(service, oneoff or bool(service.replicas)) for service in wanted], found)
    return draft.plan()


def volumes(
    draft: Draft, configs: Iterable[ContainerConfig], stops: Stops, found: Survey
) -> dict[str, int]:
    """Missing volumes that the containers mount. Gives name -> CreateVolume's step.

    `stops`: by changed resource, the steps that stop what uses it. An existing volume is made
    anew on request alone, whatever its configuration says: it holds data (see notices).
    """
    used = frozenset[str]().union(*map(used_volumes, configs))
    if found.desired.all_resources:
        used |= {volume.name for volume in found.desired.volumes}
    observed = found.observed
    here = {record.config.name for record in observed.volumes} | observed.other_volumes
    steps: dict[str, int] = {}
    for volume in found.desired.volumes:
        name = volume.name
        if name in found.changed_volumes:
            changes = found.changed_volumes[name]
            cause = differences.cause(changes)
            removal = RemoveVolume(name=name, renews=True)
            after, loses = stops.get(("volume", name), set()), losses.of_volume(name)
            removed = draft.add(removal, cause, after=after, loses=loses)
            creation = CreateVolume(volume=volume)
            steps[name] = draft.add(creation, cause, after=[removed], changes=changes or ())
        elif name in used and name not in here:
            steps[name] = draft.add(CreateVolume(volume=volume), "not found")
    return steps


def networks(
    draft: Draft, configs: Iterable[ContainerConfig], stops: Stops, found: Survey
) -> dict[str, int]:
    """Missing and changed networks of the containers. Gives name -> CreateNetwork's step."""
    used = used_networks(configs)
    if found.desired.all_resources:
        used |= {network.name for network in found.desired.networks}
    steps: dict[str, int] = {}
    if DEFAULT_NETWORK in used - found.observed.other_networks.keys():
        steps[DEFAULT_NETWORK] = draft.add(CreateNetwork(network=default_network()), "not found")
    for network in found.desired.networks:
        if network.name not in used:
            continue
        if network.name in found.changed_networks:
            changes = found.changed_networks[network.name]
            after = stops.get(("network", network.name), set())
            steps[network.name] = _recreate(draft, network, changes, after)
        elif network.name not in found.networks:
            steps[network.name] = draft.add(CreateNetwork(network=network), "not found")
    return steps


def _recreate(
    draft: Draft, network: NetworkConfig, changes: tuple[Change, ...] | None, stops: Iterable[int]
) -> int:
    cause = differences.cause(changes)
    removed = draft.add(RemoveNetwork(name=network.name), cause, after=stops)
    op = CreateNetwork(network=network)
    return draft.add(op, cause, after=[removed], changes=changes or ())
