"""Stack and images -> what the planner compares, and the container of a `run`.

Three models never merge: here the user's (Stack) becomes what containers need
(ContainerConfig). Pure, but for the names of new anonymous volumes, which the
caller may choose.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from stackctl.daemon import companions, replica_checks
from stackctl.daemon.replica import Identity, container_config
from stackctl.errors import NotFound, Place, UsageError
from stackctl.model.container import ContainerConfig
from stackctl.model.image import Image
from stackctl.model.network import IpamPool, NetworkConfig, VolumeConfig
from stackctl.scheduler.desired import Condition, Dependency, Desired, DesiredService
from stackctl.scheduler.recorded import render
from stackctl.spec import (
    implied,
    joining,
    obstacles,
    paths,
    plain,
    ports,
    profiles,
    usual,
    volumes,
    words,
)
from stackctl.spec.hashes import digest_of_text, made_of, text_of
from stackctl.spec.mistakes import did_you_mean
from stackctl.spec.model import DRIVER_OPTIONS, Network, Service, Stack, Volume
from stackctl.spec.service import ServicePort, ServiceVolume

ImageOf = Callable[[str], Image]
#: Container name and target -> the name of a new anonymous volume.
NameVolume = Callable[[str, str], str]


def random_volume_name(container: str, target: str) -> str:
    """As Docker names them. A recreated container inherits the old one's volume by target, so
    that only a first or a renewed one ever bears this name."""
    return secrets.token_hex(32)


def desired(
    stack: Stack,
    image_of: ImageOf,
    *,
    scale: Mapping[str, int] | None = None,
    services: Sequence[str] = (),
    name_volume: NameVolume = random_volume_name,
) -> Desired:
    """All that the stack wants, with one ContainerConfig a replica.

    `scale` overrides replicas by service; naming `services` activates their
    profiles. Raises NotFound (no such service; what `image_of` raises), and
    StackFileError when a needed service is disabled, or several containers
    are to have what only one can have.
    """
    stack = profiles.enable(stack, [*services, *(scale or ())])
    obstacles.check(stack, services)
    counts = {name: service.replicas for name, service in stack.services.items()}
    for name, count in (scale or {}).items():
        if count < 0:
            raise UsageError(f'"{name}" cannot have {count} containers')
        counts[name] = count
    replica_checks.size(stack, counts, scale or {})
    for name, service in stack.services.items():
        replica_checks.sharing(stack, name, service, counts[name])
    wanted = tuple(
        _desired_service(stack, name, service, image_of, counts[name], name_volume)
        for name, service in stack.services.items()
    )
    meant = implied.needed(stack.services, services) if services else stack.services.keys()
    replica_checks.names(stack, (service for service in wanted if service.name in meant))
    return Desired(
        project=stack.name,
        separator=stack.separator,
        services=wanted,
        networks=tuple(
            _network(stack, key, network)
            for key, network in _used_networks(stack).items()
            if not network.external
        ),
        volumes=tuple(
            _volume(stack, key, volume)
            for key, volume in used_volumes(stack).items()
            if not volume.external
        ),
        external_networks=_foreign_networks(stack),
        external_volumes={
            volume.name or key: stack.places("volumes", key, key=True)
            for key, volume in used_volumes(stack).items()
            if volume.external
        },
        disabled=frozenset(stack.disabled),
        all_resources=stack.all_resources,
    )


def completed(
    stack: Stack,
    config: ContainerConfig,
    image: Image,
    name_volume: NameVolume = random_volume_name,
) -> ContainerConfig:
    """The container of a replica, planned before its image was here, with the image's defaults."""
    service = _planned(stack, config)
    found = _desired_service(
        stack, config.service, service, lambda reference: image, config.number, name_volume
    )
    return found.replicas[-1]


def completed_init(stack: Stack, config: ContainerConfig, image_of: ImageOf) -> ContainerConfig:
    """The same for the container of a pre_start hook."""
    service = _planned(stack, config)
    found = _desired_service(stack, config.service, service, image_of, 1, random_volume_name)
    hooks = [hook.config for hook in found.pre_start]
    # With per_replica the replica's number follows.
    hook = next(h for h in hooks if config.name == h.name or config.name.startswith(f"{h.name}-"))
    return replace(hook, name=config.name)


def _planned(stack: Stack, config: ContainerConfig) -> Service:
    """The service whose container was planned."""
    service = stack.service(config.service)
    assert service is not None, config.service
    return service


def one_off(
    stack: Stack,
    service: str,
    image: Image,
    *,
    name: str,
    options: Mapping[str, Any],
    name_volume: NameVolume = random_volume_name,
) -> ContainerConfig:
    """The container of `run SERVICE`: the service with the caller's changes.

    `options` are those of the `run` request: command (list), entrypoint, env
    (list of K=V), volumes, ports (short forms), service_ports, user, workdir,
    tty, stdin, labels (list of K=V). Without service_ports the service's own
    ports are not published. Raises NotFound, UsageError.
    """
    written = stack.service(service)
    if written is None:
        raise NotFound(
            f'no service is called "{service}"', hint=did_you_mean(service, stack.services)
        )
    changed = written.model_copy(update=_changes(stack, written, options))
    parts = made_of(stack, changed)
    digest = digest_of_text(parts)
    identity = Identity(
        name=name,
        service=service,
        number=0,
        oneoff=True,
        config_hash=digest,
        made_of=parts,
        labels={
            **_labels(stack, service, dependencies(changed), digest, oneoff=True),
            "com.docker.compose.slug": name.removeprefix(stack.named(service, "run", "")),
        },
        answers=bool(options.get("use_aliases")),
    )
    return container_config(
        stack, changed, image, identity, lambda target: name_volume(name, target)
    )


def _desired_service(
    stack: Stack,
    name: str,
    service: Service,
    image_of: ImageOf,
    count: int,
    name_volume: NameVolume,
) -> DesiredService:
    needs = dependencies(service)
    provider = companions.provider(stack, name, service)
    if provider is not None:
        return DesiredService(name=name, image="", depends_on=needs, provider=provider)
    reference = stack.reference(service)
    image = image_of(reference)
    parts = made_of(stack, service)
    digest = digest_of_text(parts)
    labels = _labels(stack, name, needs, digest, oneoff=False)
    replicas = []
    for number in range(1, count + 1):
        full_name = service.container_name or stack.named(name, number)
        identity = Identity(
            name=full_name,
            service=name,
            number=number,
            oneoff=False,
            config_hash=digest,
            made_of=parts,
            labels={**labels, "com.docker.compose.container-number": str(number)},
        )

        def volume_of(target: str, container: str = full_name) -> str:
            return name_volume(container, target)

        replicas.append(container_config(stack, service, image, identity, volume_of))
    return DesiredService(
        name=name,
        image=reference,
        pull_policy=service.pull_policy or "missing",
        refresh_after=service.refresh_after,
        replicas=tuple(replicas),
        depends_on=needs,
        external_links=tuple(text.partition(":")[0] for text in service.external_links),
        has_healthcheck=bool(replicas and replicas[0].health),
        pre_start=companions.init_hooks(stack, name, service, replicas[0], image_of)
        if replicas
        else (),
        rollout=companions.rollout(service),
    )


def dependencies(service: Service) -> tuple[Dependency, ...]:
    """What it waits for. Whose namespaces it shares takes it along whatever `depends_on` says:
    a container that stays behind has no network, and no way to notice."""
    shared = implied.namespaces_of(service)
    return tuple(
        Dependency(
            service=name,
            condition=Condition(needed.condition),
            required=needed.required,
            restart=bool(needed.restart) or name in shared,
        )
        for name, needed in service.depends_on.items()
    )


def _labels(
    stack: Stack, name: str, needs: Sequence[Dependency], digest: str, *, oneoff: bool
) -> dict[str, str]:
    """The labels by which compose's users and tools find a project's containers."""
    prefix = "com.docker.compose"
    # Programs that call again have to say what was said.
    env_files = ",".join(stack.env_files)
    return {
        f"{prefix}.project": stack.name,
        f"{prefix}.service": name,
        f"{prefix}.oneoff": "True" if oneoff else "False",
        f"{prefix}.config-hash": digest,
        f"{prefix}.depends_on": render(needs),
        f"{prefix}.project.working_dir": stack.project_dir,
        f"{prefix}.project.config_files": ",".join(stack.files),
        **({f"{prefix}.project.environment_file": env_files} if env_files else {}),
    }


def _used_networks(stack: Stack) -> dict[str, Network]:
    """Networks that an enabled service joins; others are made on request (as compose does)."""
    used = (
        set(stack.networks)
        if stack.all_resources
        else {
            key
            for service in stack.services.values()
            for key in service.networks
            if service.provider is None
        }
    )
    return {
        key: network
        for key, network in stack.networks.items()
        if key in used and not joining.network_mode_of(network)
    }


def _foreign_networks(stack: Stack) -> dict[str, Place | None]:
    """Networks that must be there, because nobody says how they are made, and where they are
    wanted."""
    found = {
        network.name or key: stack.places("networks", key, key=True)
        for key, network in _used_networks(stack).items()
        if network.external
    }
    for name, service in stack.services.items():
        network = implied.named_network(service)
        if network and network not in found:
            found[network] = stack.places("services", name, "network_mode")
    return found


def used_volumes(stack: Stack) -> dict[str, Volume]:
    """Volumes that an enabled service mounts; others are made on request."""
    used = (
        set(stack.volumes)
        if stack.all_resources
        else {
            mount.source
            for service in stack.services.values()
            for mount in service.volumes
            if mount.type == "volume"
        }
    )
    return {key: volume for key, volume in stack.volumes.items() if key in used}


def _network(stack: Stack, key: str, network: Network) -> NetworkConfig:
    pools = (network.ipam.config or ()) if network.ipam else ()
    options = {k: v for k, v in network.driver_opts.items() if k in DRIVER_OPTIONS}
    written = {**plain.said(network), "driver_opts": options}
    parts = text_of(usual.resource(written))
    return NetworkConfig(
        name=network.name or key,
        driver=network.driver or "bridge",
        driver_opts=options,
        internal=bool(network.internal),
        attachable=bool(network.attachable),
        enable_ipv4=network.enable_ipv4 is not False,
        enable_ipv6=bool(network.enable_ipv6),
        ipam=tuple(
            IpamPool(
                subnet=pool.subnet or "",
                ip_range=pool.ip_range or "",
                gateway=pool.gateway or "",
                aux_addresses=dict(pool.aux_addresses or {}),
            )
            for pool in pools
        ),
        labels={**network.labels, **_resource_labels(stack, "network", key)},
        project=stack.name,
        key=key,
        config_hash=digest_of_text(parts),
        made_of=parts,
    )


def _volume(stack: Stack, key: str, volume: Volume) -> VolumeConfig:
    parts = text_of(usual.resource(plain.said(volume)))
    return VolumeConfig(
        name=volume.name or key,
        driver=volume.driver or "local",
        labels={**volume.labels, **_resource_labels(stack, "volume", key)},
        project=stack.name,
        key=key,
        config_hash=digest_of_text(parts),
        made_of=parts,
    )


def _resource_labels(stack: Stack, kind: str, key: str) -> dict[str, str]:
    return {f"com.docker.compose.{kind}": key, "com.docker.compose.project": stack.name}


def _changes(stack: Stack, service: Service, options: Mapping[str, Any]) -> dict[str, Any]:
    """What the flags of `run` change in the service."""
    changes: dict[str, Any] = {
        "container_name": None,
        "restart": None,
        "ports": [*(service.ports if options.get("service_ports") else ())],
        "tty": bool(options.get("tty")),
        "stdin_open": bool(options.get("stdin")),
        "environment": {**service.environment, **_pairs("--env", options.get("env"))},
        "labels": {**service.labels, **_pairs("--label", options.get("labels"))},
    }
    if options.get("command") is not None:
        changes["command"] = list(options["command"])
    if options.get("entrypoint") is not None:
        changes["entrypoint"] = _words(options["entrypoint"])
        # The service's command was meant for its own entrypoint.
        changes.setdefault("command", [])
    for field in ("cap_add", "cap_drop"):
        if options.get(field):
            names = [str(name).upper().removeprefix("CAP_") for name in options[field]]
            changes[field] = [*getattr(service, field), *names]
    if options.get("user"):
        changes["user"] = str(options["user"])
    if options.get("workdir"):
        changes["working_dir"] = str(options["workdir"])
    usual = str(options.get("publish_address") or "")
    for text in options.get("ports") or ():
        changes["ports"].extend(_ports(str(text), usual))
    if options.get("volumes"):
        changes["volumes"] = _with_mounts(stack, service, options["volumes"])
    return changes


def _pairs(flag: str, items: Sequence[str] | None) -> dict[str, str]:
    pairs = {}
    for item in items or ():
        key, _, value = str(item).partition("=")
        if not key:
            raise UsageError(f'{flag} "{item}" has no name', hint="write KEY=VALUE")
        pairs[key] = value
    return pairs


def _words(entrypoint: Any) -> list[str]:
    if isinstance(entrypoint, str):
        try:
            return words.split(entrypoint)[0]
        except ValueError as error:
            raise UsageError(f"--entrypoint cannot be split: {error}") from None
    return [str(word) for word in entrypoint]


def _ports(text: str, usual: str) -> list[ServicePort]:
    """`usual`: the address of those that name none."""
    try:
        found = ports.parse(text)
    except ValueError as error:
        raise UsageError(f"--publish: {error}") from None
    return [
        ServicePort.model_validate(
            {
                "target": port.target,
                "published": port.published or None,
                "host_ip": port.host_ip or usual or None,
                "protocol": port.protocol,
            }
        )
        for port in found
    ]


def _with_mounts(stack: Stack, service: Service, specs: Sequence[str]) -> list[ServiceVolume]:
    """The service's mounts with the caller's over them, by target."""
    found = {mount.target.rstrip("/"): mount for mount in service.volumes}
    for spec in specs:
        try:
            mount = ServiceVolume.model_validate(volumes.parse(str(spec)))
        except ValueError as error:
            raise UsageError(f'--volume "{spec}": {error}') from None
        if mount.type == "bind" and mount.source:
            source = paths.absolute(mount.source, stack.project_dir, {})
            mount = mount.model_copy(update={"source": source})
        found[mount.target.rstrip("/")] = mount
    return list(found.values())
