"""What a caller wants of a single container -> what one container needs.

The wish has the form of Docker's create request (POST /containers/create: Config at
the top, HostConfig, NetworkingConfig), whoever makes it: `stackctl container run`
turns its flags into it, the Docker API hands it through. Pure; what cannot be done is
a clear error, never ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from stackctl.daemon import image_defaults, single_mounts
from stackctl.daemon import single_rights as rights
from stackctl.daemon import wish as wishes
from stackctl.daemon.single_mounts import NameVolume
from stackctl.daemon.single_rights import Wish
from stackctl.errors import StackctlError, UsageError
from stackctl.model import addressing, hostnames
from stackctl.model.container import (
    ContainerConfig,
    HealthCheck,
    Mount,
    NetworkAttachment,
    PortBinding,
    RestartMode,
    RestartPolicy,
)
from stackctl.model.image import Image
from stackctl.model.network import DEFAULT_NETWORK
from stackctl.runtime.rootfs import MASKED, READ_ONLY
from stackctl.spec import ports as port_forms

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_SECOND = 1_000_000_000

#: HostConfig's values that mean: nothing special.
_PLAIN: Mapping[str, tuple[Any, ...]] = {
    "CgroupParent": ("",),
    "Runtime": ("", "runc", "io.containerd.runc.v2", "stackctl"),
    "Isolation": ("", "default"),
    "Cgroup": ("",),
    "DeviceRequests": ([],),
    "StorageOpt": ({},),
}
#: Why others cannot be had.
_ONLY_PLAIN: Mapping[str, str] = {
    "CgroupParent": "all containers of an engine are below its own control group",
    "Runtime": "stackctl starts containers itself, by no other program",
    "Isolation": "it is for Windows",
    "Cgroup": "a control group of its own is all that a container can have",
    "DeviceRequests": "no driver finds devices by what they can; name them with --device",
    "StorageOpt": "what containers write is bounded by the disk alone",
}


def container_config(
    name: str, wish: Wish, image: Image, name_volume: NameVolume, inherited: tuple[Mount, ...] = ()
) -> ContainerConfig:
    """The configuration, the image's defaults merged in. UsageError, StackctlError.

    `inherited` are the mounts of VolumesFrom: its own mounts win over them.
    """
    wishes.checked(wish)
    host: Wish = wish.get("HostConfig") or {}
    _refuse_unknown(host)
    rights.check(host)
    defaults = image.config
    entrypoint, command = _argv(wish, image)
    network_mode, networks = _networks(wish, host)
    own_ports = wish.get("ExposedPorts") or {}
    for key in own_ports:
        _port(key)
    exposed = image_defaults.exposed(defaults.exposed_ports, own_ports)
    restart = restart_policy(host.get("RestartPolicy") or {})
    auto_remove = bool(host.get("AutoRemove"))
    if auto_remove and restart.mode is not RestartMode.NO:
        raise UsageError("a container that is removed when it ends cannot be restarted")
    if any("\0" in str(text) for text in (*entrypoint, *command, *rights.items(wish.get("Env")))):
        raise UsageError("neither a command nor a variable can have a NUL character")
    return ContainerConfig(
        name=checked_name(name),
        image=str(wish.get("Image") or image.reference),
        image_id=image.id,
        argv=(*entrypoint, *command),
        entrypoint=entrypoint,
        command=command,
        env=_environment(defaults.env, wish.get("Env") or ()),
        working_dir=_directory(str(wish.get("WorkingDir") or defaults.working_dir or "/")),
        user=str(wish.get("User") or defaults.user),
        hostname=str(wish.get("Hostname") or ""),
        domainname=str(wish.get("Domainname") or ""),
        labels=image_defaults.labels(defaults.labels, rights.texts(wish.get("Labels")), {}),
        mounts=single_mounts.mounts(wish, host, image, name_volume, inherited),
        ports=tuple(_ports(host, exposed)),
        expose=exposed,
        networks=networks,
        network_mode=network_mode,
        health=_health(wish.get("Healthcheck") or {}, defaults.health),
        restart=restart,
        limits=rights.limits(host),
        security=rights.security(host, unmasked=_unmasked(host)),
        init=bool(host.get("Init")),
        tty=bool(wish.get("Tty")),
        stdin_open=bool(wish.get("OpenStdin")),
        stdin_once=bool(wish.get("StdinOnce", True)),
        read_only=bool(host.get("ReadonlyRootfs")),
        stop_signal=str(wish.get("StopSignal") or defaults.stop_signal or "SIGTERM"),
        stop_grace=_grace(wish.get("StopTimeout")),
        shm_size=int(host.get("ShmSize") or 0) or 67108864,
        auto_remove=auto_remove,
        dns=tuple(_address(str(entry)) for entry in rights.items(host.get("Dns"))),
        dns_search=_some(host.get("DnsSearch"), hostnames.domain_problem),
        dns_options=_some(host.get("DnsOptions"), hostnames.resolver_option_problem),
        extra_hosts=tuple(
            _extra_host(str(entry)) for entry in rights.items(host.get("ExtraHosts"))
        ),
        links=_links(wish, host),
        ulimits=tuple(rights.ulimit(raw) for raw in rights.items(host.get("Ulimits"))),
        oom_score_adj=int(host.get("OomScoreAdj") or 0) or None,
        group_add=tuple(map(str, rights.items(host.get("GroupAdd")))),
        sysctls=rights.texts(host.get("Sysctls")),
        devices=tuple(rights.device(raw) for raw in rights.items(host.get("Devices"))),
        device_cgroup_rules=tuple(map(str, rights.items(host.get("DeviceCgroupRules")))),
        ipc=str(host.get("IpcMode") or ""),
        pid=str(host.get("PidMode") or ""),
        uts=str(host.get("UTSMode") or ""),
        cgroup=str(host.get("CgroupnsMode") or "private"),
        logging=rights.logging(host.get("LogConfig") or {}),
        annotations=rights.texts(host.get("Annotations")),
        asked=wishes.asked(wish),
    )


def checked_name(name: str) -> str:
    """Without the slash in front that Docker's clients send. UsageError for what is no name."""
    name = name.removeprefix("/")
    if not _NAME.fullmatch(name) or len(name) > 255:
        raise UsageError(
            f'"{name}" is no name for a container',
            hint="use letters, digits, _ . and -, begin with a letter or digit, two at least",
        )
    return name


def _refuse_unknown(host: Wish) -> None:
    for key, plain in _PLAIN.items():
        value = host.get(key)
        if value is not None and value not in plain:
            raise StackctlError(
                f"{key} {json.dumps(value)} is not supported", hint=_ONLY_PLAIN[key]
            )
    _unmasked(host)
    if len(host.get("ConsoleSize") or (0, 0)) != 2:
        raise UsageError("HostConfig.ConsoleSize: a height and a width are expected")


def _unmasked(host: Wish) -> bool:
    """Whether /proc and /sys shall be as the kernel has them: both lists empty, as
    `--security-opt systempaths=unconfined` sends them. Others than the usual are refused."""
    masked, read_only = host.get("MaskedPaths"), host.get("ReadonlyPaths")
    if masked == [] and read_only == []:
        return True
    for name, given, usual in (
        ("MaskedPaths", masked, MASKED),
        ("ReadonlyPaths", read_only, READ_ONLY),
    ):
        if given == []:
            raise StackctlError(f"{name}: MaskedPaths and ReadonlyPaths are lifted together")
        for path in given or ():
            # Lists of other engines name what every processor has, too.
            if path not in usual and not path.startswith("/sys/devices/system/cpu/"):
                raise StackctlError(
                    f"{name}: {path} is not one of the usual paths",
                    hint="the usual ones are always protected, others cannot be added",
                )
    return False


def _argv(wish: Wish, image: Image) -> tuple[tuple[str, ...], tuple[str, ...]]:
    entrypoint, command = _words(wish.get("Entrypoint")), _words(wish.get("Cmd"))
    if entrypoint == ("",):
        # What `--entrypoint ""` becomes: neither the image's entrypoint nor its command.
        entrypoint, found = (), command or ()
    else:
        entrypoint, found = image_defaults.argv(entrypoint, command, image.config)
    if not (*entrypoint, *found):
        raise UsageError(
            f'no command: the image "{image.reference}" has none', hint="add it behind the image"
        )
    return entrypoint, found


def _words(raw: object) -> tuple[str, ...] | None:
    if raw is None:
        return None
    return (raw,) if isinstance(raw, str) else tuple(map(str, rights.items(raw)))


def _environment(defaults: tuple[str, ...], own: object) -> tuple[str, ...]:
    """A name without "=" takes the image's variable away, as in Docker."""
    pairs = [str(entry).partition("=") for entry in rights.items(own)]
    for name, equals, value in pairs:
        if not name:
            raise UsageError(f"invalid environment variable: {equals}{value}")
    own_values = {name: value if equals else None for name, equals, value in pairs}
    return image_defaults.environment(defaults, own_values)


def _directory(path: str) -> str:
    if not path.startswith("/"):
        raise UsageError(f'the working directory "{path}" is not an absolute path')
    return path


def _grace(raw: object) -> float:
    return 10.0 if not isinstance(raw, int | float) else float(raw) if raw >= 0 else 1e9


def _some(raw: object, problem_of: Callable[[str], str]) -> tuple[str, ...] | None:
    return tuple(_fine(str(entry), problem_of) for entry in rights.items(raw)) or None


def _fine(text: str, problem_of: Callable[[str], str] = hostnames.name_problem) -> str:
    """The text. UsageError when it has a problem."""
    if problem := problem_of(text):
        raise UsageError(f'"{text[:60]}" {problem}')
    return text


# -- networks and ports


def _extra_host(text: str) -> tuple[str, str]:
    """NAME:ADDRESS or NAME=ADDRESS; an IPv6 address may stand in brackets."""
    separator = "=" if "=" in text else ":"
    name, found, address = text.partition(separator)
    if not name or not found or not address:
        raise UsageError(f'"{text}" is not NAME:ADDRESS', hint="--add-host db:10.0.0.5")
    return _fine(name), address.removeprefix("[").removesuffix("]")


def _links(wish: Wish, host: Wish) -> tuple[tuple[str, str], ...]:
    """Of the container, and of its endpoints; every network's resolver knows both."""
    endpoints = wishes.endpoints(wish).values()
    return tuple(dict.fromkeys(each for where in (host, *endpoints) for each in links(where)))


def links(where: Wish) -> tuple[tuple[str, str], ...]:
    """(alias, container) of what HostConfig or EndpointSettings say."""
    return tuple(_link(str(entry)) for entry in rights.items(where.get("Links")))


def _link(text: str) -> tuple[str, str]:
    """CONTAINER[:ALIAS] -> (alias, container)."""
    container, _, alias = text.partition(":")
    container = container.removeprefix("/")
    return _fine(alias.rpartition("/")[2] or container), container


def _check_shared(wish: Wish, host: Wish) -> None:
    """What only the container that the network is of could have. In Docker's words."""
    network = "the container type network mode"
    for value, conflict in (
        (host.get("PortBindings"), f"port publishing and {network}"),
        (host.get("PublishAllPorts"), f"port publishing and {network}"),
        (wish.get("ExposedPorts"), f"port exposing and {network}"),
        (wish.get("Hostname"), "hostname and the network mode"),
        (host.get("Dns"), "dns and the network mode"),
        (host.get("ExtraHosts"), "custom host-to-IP mapping and the network mode"),
        (wish.get("MacAddress"), "mac-address and the network mode"),
    ):
        if value:
            raise UsageError(f"conflicting options: {conflict}")


def _networks(wish: Wish, host: Wish) -> tuple[str, tuple[NetworkAttachment, ...]]:
    """The network mode of the model, and the memberships; the default network is one of them."""
    mode = str(host.get("NetworkMode") or "default")
    endpoints: dict[str, Any] = dict(
        (wish.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}
    )
    if wish.get("NetworkDisabled"):
        mode = "none"
    if mode.startswith("container:"):
        _check_shared(wish, host)
    if mode in ("none", "host") or mode.startswith("container:"):
        return mode, ()
    first = DEFAULT_NETWORK if mode in ("default", "bridge") else mode
    names = [first, *(n for n in endpoints if n not in (first, "default", mode))]
    own = {first: endpoints.get(first) or endpoints.get(mode) or {}}
    return "", tuple(
        attachment(n, own.get(n) or endpoints.get(n) or {}, str(wish.get("MacAddress") or ""))
        for n in names
    )


def _address(text: str) -> str:
    try:
        return port_forms.host_address(text)
    except ValueError as error:
        raise UsageError(f"a resolver's address: {error}") from None


def attachment(network: str, settings: Wish, mac: str = "") -> NetworkAttachment:
    """`settings` is Docker's EndpointSettings."""
    wishes.checked(settings, wishes.ENDPOINT, f"EndpointConfig of {network}")
    ipam, options = settings.get("IPAMConfig") or {}, settings.get("DriverOpts") or {}
    try:
        wanted = addressing.interface_settings(str(options.get(addressing.ENDPOINT_SETTINGS) or ""))
    except ValueError as error:
        raise UsageError(f"{addressing.ENDPOINT_SETTINGS}: {error}") from error
    return NetworkAttachment(
        network=network,
        interface_name=str(options.get(addressing.ENDPOINT_NAME) or ""),
        aliases=tuple(dict.fromkeys(_fine(str(a)) for a in settings.get("Aliases") or ())),
        ipv4_address=str(ipam.get("IPv4Address") or ""),
        ipv6_address=str(ipam.get("IPv6Address") or ""),
        mac_address=str(settings.get("MacAddress") or mac).lower().replace("-", ":"),
        gw_priority=int(settings.get("GwPriority") or 0),
        link_local_ips=tuple(map(str, ipam.get("LinkLocalIPs") or ())),
        settings=wanted,
    )


def _ports(host: Wish, exposed: tuple[str, ...]) -> Iterator[PortBinding]:
    bound: dict[str, Any] = dict(host.get("PortBindings") or {})
    for key, bindings in bound.items():
        number, protocol = _port(key)
        for binding in bindings or [{}]:
            yield PortBinding(
                container_port=number,
                protocol=protocol,
                host_ip=str(binding.get("HostIp") or ""),
                host_port=_host_port(str(binding.get("HostPort") or "0")),
            )
    for key in exposed if host.get("PublishAllPorts") else ():
        number, protocol = _port(key)
        if not any(_port(b) == (number, protocol) for b in bound):
            yield PortBinding(container_port=number, protocol=protocol)


def _port(key: str) -> tuple[int, str]:
    number, _, protocol = key.partition("/")
    if protocol not in ("", *port_forms.PROTOCOLS):
        raise UsageError(f'invalid port specification: "{key}": no protocol is called {protocol}')
    try:
        return port_forms.port_range(number)[0], protocol or "tcp"
    except ValueError as error:
        raise UsageError(f'invalid port specification: "{key}": {error}') from None


def _host_port(text: str) -> tuple[int, int] | None:
    try:
        first, last = port_forms.port_range(text, lowest=0)
    except ValueError as error:
        raise UsageError(f'invalid port specification: "{text}": {error}') from None
    return (first, last) if first else None


# -- life


def _health(raw: Wish, default: HealthCheck | None) -> HealthCheck | None:
    test = rights.items(raw.get("Test"))
    if wishes.is_odd_probe(raw):
        return None  # as in Docker; whoever asks for it is told

    def seconds(key: str) -> float | None:
        value = int(raw.get(key) or 0)
        if 0 < value < 1_000_000 or value < 0:
            raise UsageError(f"{key} in Healthcheck cannot be less than 1ms")
        return value / _SECOND or None

    if int(raw.get("Retries") or 0) < 0:
        raise UsageError("Retries in Healthcheck cannot be negative")
    return image_defaults.health(
        [str(word) for word in test] if test else None,
        default,
        interval=seconds("Interval"),
        timeout=seconds("Timeout"),
        retries=int(raw.get("Retries") or 0),
        start_period=seconds("StartPeriod"),
        start_interval=seconds("StartInterval"),
    )


def restart_policy(raw: Wish) -> RestartPolicy:
    name, retries = str(raw.get("Name") or "no"), int(raw.get("MaximumRetryCount") or 0)
    try:
        mode = RestartMode(name)
    except ValueError:
        raise UsageError(
            f"invalid restart policy: unknown policy '{name}'",
            hint=f"use one of {', '.join(RestartMode)}",
        ) from None
    if retries and mode is not RestartMode.ON_FAILURE:
        raise UsageError(
            "invalid restart policy: maximum retry count cannot be used with restart policy "
            f"'{mode}': only on-failure takes one"
        )
    if retries < 0:
        raise UsageError("invalid restart policy: maximum retry count cannot be negative")
    return RestartPolicy(mode=mode, max_retries=retries)
