"""A service as the user wrote it, in canonical form. Every field is a stack file attribute.

To support an attribute: add its field here (type, form, description). Merging,
validation, `config`, the reference page and the error "not supported yet"
follow from it; stackctl.daemon.desired carries it out.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from stackctl.spec import forms, volumes
from stackctl.spec.scalars import (
    Address,
    Capability,
    ContainerPath,
    Count,
    Duration,
    Flag,
    Integer,
    IPv4,
    IPv6,
    Limit,
    MacAddress,
    Number,
    PortNumber,
    Protocol,
    Published,
    PullPolicy,
    Signal,
    Size,
    SizeOrUnlimited,
)


class Attributes(BaseModel):
    """Base of all models: immutable; only `x-` keys are kept besides the fields."""

    model_config = ConfigDict(frozen=True, extra="allow")


#: NAME to value; None: the value comes from the caller's environment, or nothing is set.
Environment = Annotated[dict[str, str | None], forms.KEYED]


def _labels(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: "" if text is None else text for key, text in value.items()}
    return value


Labels = Annotated[dict[str, str], forms.KEYED, BeforeValidator(_labels)]
Texts = Annotated[list[str], forms.TEXTS]
Command = Annotated[list[str], forms.COMMAND]


def _nothing_is_empty(value: Any) -> Any:
    return {} if value is None else value


class HealthCheck(Attributes):
    """How the engine finds out whether a container does its work."""

    test: Annotated[list[str] | None, forms.HEALTH_TEST] = Field(
        None,
        description="The probe: `[CMD, program, argument...]`, `[CMD-SHELL, text]`, a text (run by "
        "the image's /bin/sh), or `[NONE]`: not even the image's probe. Exit code 0 is healthy.",
    )
    interval: Duration | None = Field(
        None, description="Time between two probes (30s when absent). The first one runs at once."
    )
    timeout: Duration | None = Field(
        None, description="A probe that takes longer has failed (30s when absent)."
    )
    retries: Count | None = Field(
        None, description="So many failures in a row make it unhealthy (3 when absent)."
    )
    start_period: Duration | None = Field(
        None, description="Failures within this time after the start do not count."
    )
    start_interval: Duration | None = Field(
        None,
        description="Time between probes during the start period. When absent the engine probes "
        "often at first and slows down towards `interval`.",
    )
    disable: Flag | None = Field(None, description="true: no probe, not even the image's.")


class ServiceDependency(Attributes):
    """What must be true of another service before this one starts."""

    condition: Literal["service_started", "service_healthy", "service_completed_successfully"] = (
        Field("service_started", description="State of the other service that is waited for.")
    )
    required: Flag = Field(
        True, description="false: go on when the other service is missing or fails."
    )
    restart: Flag | None = Field(
        None, description="true: restart this service when the other one is restarted or recreated."
    )


class ServicePort(Attributes):
    """A container port that is published on the host."""

    target: PortNumber = Field(description="The port in the container.")
    published: Published | None = Field(
        None,
        description="The host's port; a range `8000-8010` means any free one of it; absent or 0: "
        "any free one.",
    )
    host_ip: Address | None = Field(None, description="The host address to listen on; absent: all.")
    protocol: Protocol = Field("tcp", description="tcp, udp or sctp.")
    mode: Literal["ingress", "host"] | None = Field(
        None, description="Accepted for other engines' sake; both mean the same on one machine."
    )
    name: str | None = Field(None, description="A name for people; has no effect.")
    app_protocol: str | None = Field(
        None, description="What is spoken on the port, for people and tools; has no effect."
    )


class BindOptions(Attributes):
    """Options of a host path."""

    create_host_path: Flag = Field(
        True, description="Make an empty directory when the host path is missing."
    )
    propagation: Literal["rprivate", "private", "rshared", "shared", "rslave", "slave"] | None = (
        Field(None, description="How mounts below it are shared (rprivate when absent).")
    )
    selinux: Literal["z", "Z"] | None = Field(
        None, description="SELinux relabelling; accepted with a warning, not carried out."
    )


class VolumeOptions(Attributes):
    """Options of a volume."""

    nocopy: Flag | None = Field(
        None, description="true: do not fill a new volume with the image's files at the target."
    )
    subpath: str | None = Field(None, description="Mount only this directory of the volume.")


class TmpfsOptions(Attributes):
    """Options of a memory-backed directory."""

    size: Size | None = Field(None, description="Upper limit of its content, e.g. 64m.")
    mode: Annotated[Integer | None, forms.OCTAL] = Field(
        None, description="File mode of its root, octal, e.g. 1777."
    )


class ServiceVolume(Attributes):
    """A mount of the container."""

    type: Literal["volume", "bind", "tmpfs"] = Field(
        description="volume (named, or anonymous without a source), bind (a host path) or tmpfs."
    )
    source: str | None = Field(
        None, description="The volume's key, or the host path, relative to the project directory."
    )
    target: ContainerPath = Field(description="Where it appears in the container.")
    read_only: Flag | None = Field(None, description="true: the container cannot write to it.")
    consistency: str | None = Field(
        None, description="For engines in virtual machines; has no effect here."
    )
    bind: BindOptions | None = Field(None, description="Options of a host path.")
    volume: VolumeOptions | None = Field(None, description="Options of a volume.")
    tmpfs: TmpfsOptions | None = Field(None, description="Options of a memory-backed directory.")


class ServiceNetwork(Attributes):
    """Membership of one network."""

    aliases: Annotated[list[str] | None, forms.UNIQUE] = Field(
        None, description="Further names by which others on this network find the service."
    )
    ipv4_address: IPv4 | None = Field(
        None, description="A fixed address; the network needs a subnet in `ipam`."
    )
    ipv6_address: IPv6 | None = Field(None, description="A fixed IPv6 address.")
    mac_address: MacAddress | None = Field(None, description="A fixed MAC address.")
    interface_name: str | None = Field(
        None, description="The interface's name in the container.", max_length=15
    )
    priority: Integer | None = Field(
        None,
        description="Order in which networks are connected; changes neither gateway nor names.",
    )
    gw_priority: Integer | None = Field(
        None, description="The network with the highest number gives the default gateway."
    )


class EnvFile(Attributes):
    """A file of environment variables."""

    path: str = Field(description="The file, relative to the project directory.", min_length=1)
    required: Flag = Field(True, description="false: it may be missing.")
    format: Literal["raw"] | None = Field(
        None, description="raw: lines KEY=VALUE are taken literally, without quotes or variables."
    )


class ResourceLimits(Attributes):
    """Upper limits of each container."""

    cpus: Number | None = Field(None, description="Number of CPUs, e.g. 0.5.")
    memory: Size | None = Field(None, description="Memory, e.g. 256m.")
    pids: Limit | None = Field(None, description="Number of processes and threads.")


class Reservations(Attributes):
    """What each container should have when memory is short."""

    memory: Size | None = Field(None, description="Memory the kernel tries to leave it.")


class Resources(Attributes):
    """Resources of each container."""

    limits: ResourceLimits | None = Field(None, description="Upper limits.")
    reservations: Reservations | None = Field(None, description="Reservations.")


class Deploy(Attributes):
    """How many containers the service has, and what they may use."""

    mode: Literal["replicated"] | None = Field(None, description="Only `replicated`.")
    replicas: Count | None = Field(None, description="Number of containers (1 when absent).")
    resources: Resources | None = Field(None, description="Limits and reservations.")


Restart = Annotated[str, Field(pattern=r"^(no|always|unless-stopped|on-failure(:[0-9]{1,9})?)$")]
ContainerName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,127}$")]
NetworkMode = Annotated[str, Field(pattern=r"^(none|host)$")]
Hostname = Annotated[str, Field(pattern=r"^[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,62}[a-zA-Z0-9])?$")]


def _security_option(value: str) -> str:
    """`no-new-privileges[:true|false]` and `seccomp=unconfined`; `:` and `=` are equal."""
    name, _, setting = value.replace("=", ":", 1).partition(":")
    if name == "no-new-privileges" and setting in ("", "true", "false"):
        return value
    if name == "seccomp" and setting == "unconfined":
        return value
    if name in ("seccomp", "apparmor", "label", "systempaths", "mask", "unmask"):
        raise ValueError(f'"{value[:60]}" is not supported yet')
    raise ValueError(f'"{value[:60]}" is not a security option such as no-new-privileges')


def _tmpfs(value: str) -> str:
    volumes.parse_tmpfs(value)
    return value


SecurityOption = Annotated[str, AfterValidator(_security_option)]


class Service(Attributes):
    """A service: one or more equal containers."""

    image: str | None = Field(
        None,
        description="The image to run, e.g. `postgres:16`, or `stackctl/host`: the machine's own "
        "programs, read-only, always there.",
        min_length=1,
    )
    command: Command | None = Field(
        None, description="Replaces the image's command. A text is split as a shell splits it."
    )
    entrypoint: Command | None = Field(
        None,
        description="Replaces the image's entrypoint and drops its command; `[]` or an empty text "
        "clears it.",
    )
    environment: Environment = Field(
        default_factory=dict,
        description="Variables, as a mapping or a list of `KEY=VALUE`; a bare KEY passes the "
        "caller's value on.",
    )
    env_file: Annotated[list[EnvFile], forms.ENV_FILES] = Field(
        default_factory=list,
        description="Files of variables; later ones win, `environment` wins over all of them.",
    )
    working_dir: str | None = Field(None, description="Directory the command starts in.")
    user: str | None = Field(
        None, description="`user`, `uid`, `user:group` or `uid:gid`, as the image's files define."
    )
    hostname: Hostname | None = Field(None, description="Host name inside the container.")
    container_name: ContainerName | None = Field(
        None,
        description="A fixed name instead of project-service-1; such a service has one replica.",
    )
    labels: Labels = Field(default_factory=dict, description="Labels of the containers.")
    ports: Annotated[list[ServicePort], forms.PORTS] = Field(
        default_factory=list,
        description='Published ports: `"8080:80"`, `"127.0.0.1:8080:80/udp"`, `"80"` (any free '
        "host port), ranges, or the long form.",
    )
    expose: Annotated[list[str], forms.EXPOSED] = Field(
        default_factory=list,
        description="Ports that other services use; information only, every port is reachable.",
    )
    volumes: Annotated[list[ServiceVolume], forms.MOUNTS] = Field(
        default_factory=list,
        description="Mounts: `data:/data`, `./src:/src:ro`, `/cache` (anonymous), or long forms.",
    )
    tmpfs: Annotated[list[Annotated[str, AfterValidator(_tmpfs)]], forms.TMPFS] = Field(
        default_factory=list,
        description="Memory-backed directories: `/run`, `/tmp:size=64m,mode=1777`.",
    )
    networks: Annotated[
        dict[str, Annotated[ServiceNetwork, BeforeValidator(_nothing_is_empty)]], forms.NAMES
    ] = Field(
        default_factory=dict,
        description="Networks to join, as a list of keys or a mapping with options; absent: "
        "`default`.",
    )
    network_mode: NetworkMode | None = Field(
        None,
        description="`none` (only a loopback) or `host` (the machine's own network).",
    )
    depends_on: Annotated[dict[str, ServiceDependency], forms.DEPENDENCIES] = Field(
        default_factory=dict,
        description="Services that come first: a list, or a mapping with a condition each.",
    )
    healthcheck: HealthCheck | None = Field(None, description="The probe of the service's health.")
    restart: Restart | None = Field(
        None, description="`no`, `always`, `unless-stopped` or `on-failure[:attempts]`."
    )
    init: Flag | None = Field(
        None, description="true: a small init is process 1; it reaps orphans and passes signals on."
    )
    tty: Flag | None = Field(None, description="true: the command gets a terminal.")
    stdin_open: Flag | None = Field(None, description="true: standard input stays open.")
    stop_signal: Signal | None = Field(
        None, description="What asks the command to end (SIGTERM when absent)."
    )
    stop_grace_period: Duration | None = Field(
        None, description="Time between that signal and SIGKILL (10s when absent)."
    )
    scale: Count | None = Field(None, description="Number of containers (1 when absent).")
    deploy: Deploy | None = Field(None, description="Replicas and resources.")
    cpus: Number | None = Field(
        None, description="Number of CPUs each container may use, e.g. 0.5."
    )
    cpu_shares: Count | None = Field(
        None, description="Weight against others when CPUs are short (1024 is normal)."
    )
    cpuset: str | None = Field(
        None, description="CPUs it may run on, e.g. `0-1,3`.", pattern=r"^[0-9,-]*$"
    )
    mem_limit: Size | None = Field(None, description="Memory each container may use, e.g. 256m.")
    mem_reservation: Size | None = Field(
        None, description="Memory the kernel tries to leave it when memory is short."
    )
    memswap_limit: SizeOrUnlimited | None = Field(
        None, description="Memory plus swap; -1 for unlimited swap."
    )
    mem_swappiness: Annotated[Integer, Field(ge=-1, le=100)] | None = Field(
        None, description="0 to 100: how readily the kernel swaps it out."
    )
    pids_limit: Limit | None = Field(
        None, description="Number of processes and threads; -1 for unlimited."
    )
    shm_size: Size | None = Field(None, description="Size of /dev/shm (64m when absent).")
    read_only: Flag | None = Field(None, description="true: the container's root is read-only.")
    privileged: Flag | None = Field(None, description="true: all rights of the machine's root.")
    cap_add: Annotated[list[Capability], forms.UNIQUE] = Field(
        default_factory=list, description="Capabilities beyond the default ones; `ALL` for all."
    )
    cap_drop: Annotated[list[Capability], forms.UNIQUE] = Field(
        default_factory=list, description="Default capabilities to give up; `ALL` for all."
    )
    security_opt: Annotated[list[SecurityOption], forms.UNIQUE] = Field(
        default_factory=list, description="`no-new-privileges`, `seccomp=unconfined`."
    )
    userns_mode: Literal["host"] | None = Field(
        None, description="`host`: no user namespace of its own; root inside is root outside."
    )
    pull_policy: PullPolicy | None = Field(
        None,
        description="When to pull the image: always, never, or missing (the default; also called "
        "if_not_present).",
    )
    profiles: Annotated[list[str], forms.UNIQUE] = Field(
        default_factory=list,
        description="The service exists only when one of these profiles is active.",
    )

    @property
    def replicas(self) -> int:
        """How many containers the file asks for."""
        if self.scale is not None:
            return self.scale
        if self.deploy is not None and self.deploy.replicas is not None:
            return self.deploy.replicas
        return 1
