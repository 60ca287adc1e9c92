"""One service and one image -> what one container needs.

The image gives defaults, the service wins. Pure: nothing is looked up, names of
anonymous volumes come from the caller.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from typing import TypeVar

from stackctl.daemon import image_defaults, service_files
from stackctl.daemon import service_rights as rights
from stackctl.errors import StackctlError
from stackctl.model import addressing
from stackctl.model.container import (
    BindMount,
    ContainerConfig,
    HealthCheck,
    Hook,
    ImageMount,
    Mount,
    NetworkAttachment,
    PortBinding,
    RestartMode,
    RestartPolicy,
    TmpfsMount,
    VolumeMount,
)
from stackctl.model.image import Image, ImageConfig
from stackctl.spec import joining, ports, volumes
from stackctl.spec.model import Service, Stack
from stackctl.spec.process import Hook as ServiceHook
from stackctl.spec.service import ServicePort, ServiceVolume
from stackctl.values import dataclass

T = TypeVar("T")

#: Names a new anonymous volume for a target in the container.
NameVolume = Callable[[str], str]

#: The engine's defaults, for what neither service nor image says.
_UNSAID = ContainerConfig(name="", image="", image_id="", argv=())


#: deploy.restart_policy's words.
_CONDITIONS = {
    "none": RestartMode.NO,
    "on-failure": RestartMode.ON_FAILURE,
    "any": RestartMode.ALWAYS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which container of a stack it is; number 0 with `oneoff`."""

    name: str
    service: str
    number: int
    oneoff: bool
    config_hash: str
    made_of: str
    labels: Mapping[str, str]
    #: A one-off that answers to the service's names, too (`run --use-aliases`).
    answers: bool = False


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
        ports=tuple(map(port_binding, service.ports)),
        expose=image_defaults.exposed(defaults.exposed_ports, service.expose),
        networks=_attachments(stack, service, identity),
        network_mode=_network_mode(stack, service),
        health=health(service, defaults.health),
        restart=restart_policy(service),
        limits=rights.limits(service),
        security=rights.security(service),
        init=bool(service.init),
        tty=bool(service.tty),
        stdin_open=bool(service.stdin_open),
        # Of `run` the caller's input is all; a service waits for the next who attaches.
        stdin_once=identity.oneoff,
        read_only=bool(service.read_only),
        project=stack.name,
        service=identity.service,
        number=identity.number,
        oneoff=identity.oneoff,
        config_hash=identity.config_hash,
        made_of=identity.made_of,
        stop_signal=service.stop_signal or defaults.stop_signal or _UNSAID.stop_signal,
        stop_grace=(
            _UNSAID.stop_grace if service.stop_grace_period is None else service.stop_grace_period
        ),
        shm_size=service.shm_size or _UNSAID.shm_size,
        dns=tuple(service.dns),
        dns_search=tuple(service.dns_search) or None,
        dns_options=tuple(service.dns_opt) or None,
        extra_hosts=tuple(map(_host_line, service.extra_hosts)),
        links=tuple(map(_link, (*service.links, *service.external_links))),
        ulimits=rights.ulimits(service),
        oom_score_adj=service.oom_score_adj,
        group_add=tuple(service.group_add),
        sysctls=dict(service.sysctls),
        devices=rights.devices(service),
        device_cgroup_rules=tuple(service.device_cgroup_rules),
        ipc=service.ipc or "",
        pid=service.pid or "",
        uts=service.uts or "",
        cgroup=service.cgroup or "private",
        logging=rights.logging(service),
        files=service_files.generated(stack, service),
        post_start=tuple(map(_hook, service.post_start)),
        pre_stop=tuple(map(_hook, service.pre_stop)),
        init_hooks=len(service.pre_start),
        domainname=service.domainname or "",
        api_socket=bool(service.use_api_socket),
        volumes_from=_volumes_from(stack, service),
        attach=service.attach is not False,
        annotations=dict(service.annotations),
    )


def argv(service: Service, defaults: ImageConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Entrypoint and command."""
    return image_defaults.argv(service.entrypoint, service.command, defaults)


def mounts(
    stack: Stack, service: Service, defaults: ImageConfig, name_volume: NameVolume
) -> tuple[Mount, ...]:
    """Mounts by target, the service's over those that the image declares as volumes."""
    found: dict[str, Mount] = {}
    for target in map(_target, defaults.volumes):
        found[target] = VolumeMount(volume=name_volume(target), target=target, anonymous=True)
    for spec in service.tmpfs:
        memory = volumes.parse_tmpfs(spec)
        found[_target(memory.target)] = memory
    for bind in service_files.bound(stack, service):
        found[_target(bind.target)] = bind
    for mount in service.volumes:
        found[mount.target] = _mount(stack, mount, name_volume)
    return tuple(found.values())


def _target(path: str) -> str:
    return posixpath.normpath(path)


def _mount(stack: Stack, mount: ServiceVolume, name_volume: NameVolume) -> Mount:
    read_only = bool(mount.read_only)
    match mount.type:
        case "bind":
            create = mount.bind.create_host_path if mount.bind else True
            propagation = mount.bind.propagation if mount.bind else None
            recursive = mount.bind.recursive != "disabled" if mount.bind else True
            selinux = mount.bind.selinux if mount.bind else None
            return BindMount(
                source=mount.source or "/",
                target=mount.target,
                read_only=read_only,
                create_host_path=create,
                propagation=propagation or "rprivate",
                recursive=recursive,
                selinux=selinux or "",
            )
        case "tmpfs":
            options = mount.tmpfs
            return TmpfsMount(
                target=mount.target,
                size=options.size if options else None,
                mode=options.mode if options else None,
                read_only=read_only,
            )
        case "image":
            image = mount.source or ""
            return ImageMount(
                image=stack.pins.get(image, image),
                target=mount.target,
                subpath=(mount.image.subpath if mount.image else None) or "",
            )
        case _:  # "volume": what no engine of one machine has is not wanted by anybody
            declared = stack.volumes.get(mount.source) if mount.source else None
            if declared is not None and declared.driver_opts:
                return volumes.by_options(declared.driver_opts, mount.target, read_only=read_only)
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
    first, last = ports.port_range(port.published, lowest=0) if port.published else (0, 0)
    return PortBinding(
        container_port=port.target,
        protocol=port.protocol,
        host_ip=port.host_ip or "",
        host_port=(first, last) if first else None,
    )


def _network_mode(stack: Stack, service: Service) -> str:
    """Raises StackctlError for "host" or "none" beside other networks."""
    modes = [
        mode for key in service.networks if (mode := joining.network_mode_of(stack.networks[key]))
    ]
    if modes and len(service.networks) > 1:
        raise StackctlError(
            f'a network of driver "{modes[0]}" cannot be joined beside others',
            hint="leave the other networks out",
        )
    if joining.sole_network(service):
        return ""
    return service.network_mode or (modes[0] if modes else "")


def _attachments(
    stack: Stack, service: Service, identity: Identity
) -> tuple[NetworkAttachment, ...]:
    """Memberships, highest priority first. One-offs do not answer to the service's name."""
    own_mac = service.mac_address or ""
    if sole := joining.sole_network(service):
        return (NetworkAttachment(network=sole, mac_address=own_mac),)
    silent = identity.oneoff and not identity.answers
    found: list[NetworkAttachment] = []
    for key, membership in joining.by_priority(service.networks, stack.networks):
        aliases = () if silent else (identity.service, *(membership.aliases or ()))
        network = stack.networks.get(key)
        options = membership.driver_opts or {}
        found.append(
            NetworkAttachment(
                network=(network.name if network else None) or f"{stack.name}_{key}",
                aliases=tuple(dict.fromkeys(aliases)),
                ipv4_address=membership.ipv4_address or "",
                ipv6_address=membership.ipv6_address or "",
                mac_address=membership.mac_address or ("" if found else own_mac),
                interface_name=membership.interface,
                gw_priority=membership.gw_priority or 0,
                link_local_ips=tuple(membership.link_local_ips or ()),
                settings=addressing.interface_settings(
                    options.get(addressing.ENDPOINT_SETTINGS, "")
                ),
            )
        )
    return tuple(found)


def _host_line(text: str) -> tuple[str, str]:
    name, _, address = text.partition("=")
    return name, address


def _hook(hook: ServiceHook) -> Hook:
    return Hook(
        argv=tuple(hook.command),
        user=hook.user or "",
        working_dir=hook.working_dir or "",
        env=tuple(f"{k}={v}" for k, v in hook.environment.items() if v is not None),
        privileged=bool(hook.privileged),
    )


def _volumes_from(stack: Stack, service: Service) -> tuple[str, ...]:
    """`service[:mode]` and `container:name[:mode]` -> the container's name, ":ro" behind it."""
    found = []
    for text in service.volumes_from:
        is_container = text.startswith("container:")
        name, _, mode = text.removeprefix("container:").partition(":")
        other = stack.service(name)
        if not is_container and other is not None:
            name = other.container_name or stack.named(name, 1)
        found.append(f"{name}:ro" if mode == "ro" else name)
    return tuple(found)


def _link(text: str) -> tuple[str, str]:
    """SERVICE[:ALIAS], CONTAINER[:ALIAS] -> the alias, and what it stands for."""
    other, _, alias = text.partition(":")
    return alias or other, other


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


def restart_policy(service: Service) -> RestartPolicy:
    """`deploy.restart_policy` is stronger than `restart`, as in compose."""
    deployed = service.deploy.restart_policy if service.deploy else None
    if deployed is not None:
        mode = _CONDITIONS[deployed.condition or "any"]
        limited = mode is RestartMode.ON_FAILURE
        return RestartPolicy(mode=mode, max_retries=(deployed.max_attempts or 0) if limited else 0)
    name, _, attempts = (service.restart or "no").partition(":")
    return RestartPolicy(mode=RestartMode(name), max_retries=int(attempts or 0))
