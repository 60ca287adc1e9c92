"""One service and one image -> what one container needs.

The image gives defaults, the service wins. Pure: nothing is looked up, names of
anonymous volumes come from the caller.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from stackctl.daemon import image_defaults
from stackctl.model.container import (
    BindMount,
    ContainerConfig,
    HealthCheck,
    Limits,
    Mount,
    NetworkAttachment,
    PortBinding,
    RestartMode,
    RestartPolicy,
    Security,
    TmpfsMount,
    VolumeMount,
)
from stackctl.model.image import Image, ImageConfig
from stackctl.spec import ports, volumes
from stackctl.spec.model import Service, Stack
from stackctl.spec.service import ServicePort, ServiceVolume

T = TypeVar("T")

#: Names a new anonymous volume for a target in the container.
NameVolume = Callable[[str], str]

#: The engine's defaults, for what neither service nor image says.
_UNSAID = ContainerConfig(name="", image="", image_id="", argv=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which container of a stack it is; number 0 with `oneoff`."""

    name: str
    service: str
    number: int
    oneoff: bool
    config_hash: str
    labels: Mapping[str, str]


def container_config(
    stack: Stack, service: Service, image: Image, identity: Identity, name_volume: NameVolume
) -> ContainerConfig:
    """The container of `service` that `identity` names, the image's defaults merged in."""
    defaults = image.config
    entrypoint, command = argv(service, defaults)
    return ContainerConfig(
        name=identity.name,
        image=service.image or image.reference,
        image_id=image.id,
        argv=(*entrypoint, *command),
        entrypoint=entrypoint,
        command=command,
        env=image_defaults.environment(defaults.env, service.environment),
        working_dir=service.working_dir or defaults.working_dir or "/",
        user=service.user if service.user is not None else defaults.user,
        hostname=service.hostname or "",
        labels=image_defaults.labels(defaults.labels, service.labels, identity.labels),
        mounts=mounts(stack, service, defaults, name_volume),
        ports=tuple(port_binding(port) for port in service.ports),
        expose=image_defaults.exposed(defaults.exposed_ports, service.expose),
        networks=_attachments(stack, service, identity),
        network_mode=service.network_mode or "",
        health=health(service, defaults.health),
        restart=restart_policy(service.restart),
        limits=limits(service),
        security=security(service),
        init=bool(service.init),
        tty=bool(service.tty),
        stdin_open=bool(service.stdin_open),
        read_only=bool(service.read_only),
        project=stack.name,
        service=identity.service,
        number=identity.number,
        oneoff=identity.oneoff,
        config_hash=identity.config_hash,
        stop_signal=service.stop_signal or defaults.stop_signal or _UNSAID.stop_signal,
        stop_grace=_first(service.stop_grace_period, _UNSAID.stop_grace),
        shm_size=service.shm_size or _UNSAID.shm_size,
    )


def argv(service: Service, defaults: ImageConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Entrypoint and command."""
    return image_defaults.argv(service.entrypoint, service.command, defaults)


def mounts(
    stack: Stack, service: Service, defaults: ImageConfig, name_volume: NameVolume
) -> tuple[Mount, ...]:
    """Mounts by target, the service's over those that the image declares as volumes."""
    found: dict[str, Mount] = {}
    for target in defaults.volumes:
        found[_target(target)] = VolumeMount(
            volume=name_volume(target), target=target, anonymous=True
        )
    for spec in service.tmpfs:
        tmpfs = volumes.parse_tmpfs(spec)
        found[_target(tmpfs.target)] = TmpfsMount(
            target=tmpfs.target, size=tmpfs.size, mode=tmpfs.mode, read_only=tmpfs.read_only
        )
    for mount in service.volumes:
        found[_target(mount.target)] = _mount(stack, mount, name_volume)
    return tuple(found.values())


def _target(path: str) -> str:
    return posixpath.normpath(path)


def _mount(stack: Stack, mount: ServiceVolume, name_volume: NameVolume) -> Mount:
    read_only = bool(mount.read_only)
    match mount.type:
        case "bind":
            create = mount.bind.create_host_path if mount.bind else True
            propagation = mount.bind.propagation if mount.bind else None
            return BindMount(
                source=mount.source or "/",
                target=mount.target,
                read_only=read_only,
                create_host_path=create,
                propagation=propagation or "rprivate",
            )
        case "tmpfs":
            options = mount.tmpfs
            return TmpfsMount(
                target=mount.target,
                size=options.size if options else None,
                mode=options.mode if options else None,
                read_only=read_only,
            )
        case "volume":
            declared = stack.volumes.get(mount.source) if mount.source else None
            name = (declared.name if declared else None) or mount.source
            return VolumeMount(
                volume=name or name_volume(mount.target),
                target=mount.target,
                read_only=read_only,
                nocopy=bool(mount.volume and mount.volume.nocopy),
                anonymous=not name,
                subpath=(mount.volume.subpath if mount.volume else None) or "",
            )


def port_binding(port: ServicePort) -> PortBinding:
    first, last = ports.port_range(port.published or "0", lowest=0)
    return PortBinding(
        container_port=port.target,
        protocol=port.protocol,
        host_ip=port.host_ip or "",
        host_port=(first, last) if first else None,
    )


def _attachments(
    stack: Stack, service: Service, identity: Identity
) -> tuple[NetworkAttachment, ...]:
    """Memberships, highest priority first. One-offs do not answer to the service's name."""
    by_priority = sorted(service.networks.items(), key=lambda item: -(item[1].priority or 0))
    found = []
    for key, membership in by_priority:
        aliases = () if identity.oneoff else (identity.service, *(membership.aliases or ()))
        network = stack.networks.get(key)
        found.append(
            NetworkAttachment(
                network=(network.name if network else None) or f"{stack.name}_{key}",
                aliases=tuple(dict.fromkeys(aliases)),
                ipv4_address=membership.ipv4_address or "",
                ipv6_address=membership.ipv6_address or "",
                mac_address=membership.mac_address or "",
                interface_name=membership.interface_name or "",
                gw_priority=membership.gw_priority or 0,
            )
        )
    return tuple(found)


def health(service: Service, default: HealthCheck | None) -> HealthCheck | None:
    """The service's check over the image's; None when there is none or it is switched off."""
    own = service.healthcheck
    if own is None:
        return default if default is not None and default.test else None
    if own.disable:
        return None
    return image_defaults.health(
        own.test,
        default,
        interval=own.interval,
        timeout=own.timeout,
        retries=own.retries,
        start_period=own.start_period,
        start_interval=own.start_interval,
    )


def restart_policy(text: str | None) -> RestartPolicy:
    mode, _, attempts = (text or "no").partition(":")
    return RestartPolicy(mode=RestartMode(mode), max_retries=int(attempts or 0))


def limits(service: Service) -> Limits:
    """A service's limits; deploy.resources says the same in other words."""
    resources = service.deploy.resources if service.deploy else None
    upper = resources.limits if resources else None
    lower = resources.reservations if resources else None
    pids = _first(service.pids_limit, upper.pids if upper else None)
    return Limits(
        memory=_first(service.mem_limit, upper.memory if upper else None) or None,
        memory_reservation=_first(service.mem_reservation, lower.memory if lower else None) or None,
        memory_swap=service.memswap_limit or None,
        memory_swappiness=service.mem_swappiness if service.mem_swappiness != -1 else None,
        cpus=_first(service.cpus, upper.cpus if upper else None) or None,
        cpu_shares=service.cpu_shares or None,
        cpuset_cpus=service.cpuset or "",
        # Compose takes 0 for unlimited.
        pids=-1 if pids == 0 else pids,
    )


def _first(one: T | None, other: T) -> T:
    return other if one is None else one


def security(service: Service) -> Security:
    options = [option.replace("=", ":", 1) for option in service.security_opt]
    return Security(
        privileged=bool(service.privileged),
        cap_add=tuple(service.cap_add),
        cap_drop=tuple(service.cap_drop),
        seccomp="unconfined" if "seccomp:unconfined" in options else "default",
        no_new_privileges=any(
            option in ("no-new-privileges", "no-new-privileges:true") for option in options
        ),
        userns=service.userns_mode or "private",
    )
