"""A service as the user wrote it, in canonical form. Every field is a stack file attribute.

To support an attribute: take its mark of refusal away and carry it out in
stackctl.daemon.replica. Merging, validation, `config`, the reference page, the
schema and `config --coverage` follow from the field alone.
"""

from typing import Annotated, Any, Literal

from stackctl.spec import forms, volumes
from stackctl.spec.attributes import (
    MAY_BE_EMPTY,
    Approximated,
    Command,
    Environment,
    HostPath,
    Labels,
    NoEffect,
    Refused,
    empty_is_absent,
    nothing_is_empty,
)
from stackctl.spec.build import Build, Develop
from stackctl.spec.connections import ServiceDependency, ServiceNetwork, ServicePort
from stackctl.spec.deploy import Deploy
from stackctl.spec.fields import (
    AfterValidator,
    Attributes,
    BeforeValidator,
    Field,
    PlainSerializer,
)
from stackctl.spec.mounts import ServiceFile, ServiceVolume
from stackctl.spec.process import (
    EnvFile,
    Extends,
    HealthCheck,
    Hook,
    Logging,
    PreStartHook,
    Provider,
    ServiceModel,
)
from stackctl.spec.resources import Blkio, Device, Gpu, Ulimits
from stackctl.spec.scalars import (
    Capability,
    ContainerPath,
    Count,
    CpuList,
    Domain,
    Duration,
    ExposedPort,
    ExtraHost,
    Flag,
    Integer,
    IPAddress,
    Limit,
    Link,
    MacAddress,
    Microseconds,
    Number,
    PullPolicy,
    ResolverOption,
    Signal,
    Size,
    SizeOrUnlimited,
    pull_age,
)

__all__ = [
    "EnvFile",
    "HealthCheck",
    "Service",
    "ServiceDependency",
    "ServiceFile",
    "ServiceNetwork",
    "ServicePort",
    "ServiceVolume",
]

#: Why attributes are refused.
_REALTIME = Refused(
    "the kernel would need real-time group scheduling, and its groups a share of it"
)
_STORAGE = Refused("images and containers lie in directories of one file system, without quotas")
_WINDOWS = Refused("it exists for Windows only")

Restart = Annotated[str, Field(pattern=r"^(no|always|unless-stopped|on-failure(:[0-9]{1,9})?)$")]
ContainerName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,127}$")]
NetworkMode = Annotated[
    str, Field(pattern=r"^(service:.+|container:.+|[a-zA-Z0-9][a-zA-Z0-9_.-]*)$")
]
_OTHERS = "service:.+|container:.+"
IpcMode = Annotated[str, Field(pattern=rf"^(private|shareable|host|none|{_OTHERS})$")]
PidMode = Annotated[str, Field(pattern=rf"^(private|host|{_OTHERS})$")]
UtsMode = Annotated[str, Field(pattern=rf"^(private|host|{_OTHERS})$")]
#: CONTAINER[:ALIAS]
ExternalLink = Annotated[Link, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]*(:[a-zA-Z0-9_.-]+)?$")]
Hostname = Annotated[str, Field(pattern=r"^[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,62}[a-zA-Z0-9])?$")]


#: Options and what may follow them; "": anything.
_SECURITY = {
    "no-new-privileges": ("true", "false"),
    "seccomp": (),
    "apparmor": (),
    "label": (),
    "systempaths": ("unconfined",),
}


def _security_option(value: str) -> str:
    """`no-new-privileges[:true|false]`, `seccomp=FILE`, ...; `:` and `=` are equal."""
    name, _, setting = value.replace("=", ":", 1).partition(":")
    choices = _SECURITY.get(name)
    if choices is None or (not setting and name != "no-new-privileges"):
        raise ValueError(f'"{value[:60]}" is not a security option such as no-new-privileges')
    if choices and setting and setting not in choices:
        raise ValueError(f'"{value[:60]}": {name} is followed by {" or ".join(choices)}')
    return value


def _tmpfs(value: str) -> str:
    volumes.parse_tmpfs(value)
    return value


SecurityOption = Annotated[str, AfterValidator(_security_option)]


class Service(Attributes):
    """A service: one or more equal containers."""

    image: Annotated[str | None, MAY_BE_EMPTY] = Field(
        None,
        description="The image to run, e.g. `postgres:16`, or `stackctl/host`: the machine's own "
        "programs, read-only, always there.",
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
    working_dir: Annotated[ContainerPath | None, MAY_BE_EMPTY] = Field(
        None, description="Directory the command starts in."
    )
    user: Annotated[str | None, MAY_BE_EMPTY] = Field(
        None, description="`user`, `uid`, `user:group` or `uid:gid`, as the image's files define."
    )
    hostname: Annotated[Hostname | None, MAY_BE_EMPTY] = Field(
        None, description="Host name inside the container."
    )
    container_name: Annotated[ContainerName | None, MAY_BE_EMPTY] = Field(
        None,
        description="A fixed name instead of project-service-1; such a service has one replica.",
    )
    labels: Labels = Field(default_factory=dict, description="Labels of the containers.")
    ports: Annotated[list[ServicePort], forms.PORTS] = Field(
        default_factory=list,
        description='Published ports: `"8080:80"`, `"127.0.0.1:8080:80/udp"`, `"80"` (any free '
        "host port), ranges, or the long form.",
    )
    expose: Annotated[list[ExposedPort], forms.EXPOSED] = Field(
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
        dict[str, Annotated[ServiceNetwork, BeforeValidator(nothing_is_empty)]], forms.NAMES
    ] = Field(
        default_factory=dict,
        description="Networks to join, as a list of keys or a mapping with options; absent: "
        "`default`.",
    )
    network_mode: Annotated[NetworkMode | None, MAY_BE_EMPTY] = Field(
        None,
        description="`none` (only a loopback), `host` (the machine's own network), `bridge` (the "
        "engine's own network, without names), `service:NAME`, or a network that exists.",
    )
    depends_on: Annotated[dict[str, ServiceDependency], forms.DEPENDENCIES] = Field(
        default_factory=dict,
        description="Services that come first: a list, or a mapping with a condition each.",
    )
    healthcheck: HealthCheck | None = Field(None, description="The probe of the service's health.")
    restart: Annotated[Restart | None, MAY_BE_EMPTY] = Field(
        None, description="`no`, `always`, `unless-stopped` or `on-failure[:attempts]`."
    )
    init: Flag | None = Field(
        None, description="true: a small init is process 1; it reaps orphans and passes signals on."
    )
    tty: Flag | None = Field(None, description="true: the command gets a terminal.")
    stdin_open: Flag | None = Field(None, description="true: standard input stays open.")
    stop_signal: Annotated[Signal | None, MAY_BE_EMPTY] = Field(
        None, description="What asks the command to end (SIGTERM when absent)."
    )
    stop_grace_period: Duration | None = Field(
        None,
        description="Time between that signal and SIGKILL (10s when absent). A process that has no "
        "handler for the signal is given it when it is longer than those.",
    )
    scale: Count | None = Field(None, description="Number of containers (1 when absent).")
    deploy: Deploy | None = Field(None, description="Replicas and resources.")
    cpus: Number | None = Field(
        None, description="Number of CPUs each container may use, e.g. 0.5."
    )
    cpu_shares: Count | None = Field(
        None, description="Weight against others when CPUs are short (1024 is normal)."
    )
    cpuset: CpuList | None = Field(None, description="CPUs it may run on, e.g. `0-1,3`.")
    mem_limit: Size | None = Field(None, description="Memory each container may use, e.g. 256m.")
    mem_reservation: Size | None = Field(
        None, description="Memory the kernel tries to leave it when memory is short."
    )
    memswap_limit: SizeOrUnlimited | None = Field(
        None, description="Memory plus swap; -1 for unlimited swap."
    )
    mem_swappiness: Annotated[Integer, Field(ge=-1, le=100), PlainSerializer(str)] | None = Field(
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
        default_factory=list,
        description="`no-new-privileges`, `seccomp=unconfined` or a file, `apparmor=NAME`, "
        "`label=...`, `systempaths=unconfined`.",
    )
    userns_mode: Annotated[Literal["host"] | None, BeforeValidator(empty_is_absent)] = Field(
        None, description="`host`: no user namespace of its own; root inside is root outside."
    )
    annotations: Annotated[Labels, NoEffect("for other runtimes", True)] = Field(
        default_factory=dict, description="Annotations for runtimes; kept, no effect here."
    )
    attach: Flag | None = Field(None, description="false: `up` does not show its output.")
    build: Annotated[Build | None, forms.BUILD] = Field(
        None, description="How its image is made: a directory, or a mapping."
    )
    develop: Develop | None = Field(None, description="What `watch` does when sources change.")
    extends: Annotated[Extends | None, forms.EXTENDS] = Field(
        None, description="A service, here or in another file, whose attributes it takes over."
    )
    label_file: Annotated[list[HostPath], forms.TEXTS] = Field(
        default_factory=list, description="Files of labels; `labels` wins over them."
    )
    secrets: Annotated[list[ServiceFile], forms.FILES] = Field(
        default_factory=list,
        description="Secrets it may read, below /run/secrets: keys, or long forms.",
    )
    configs: Annotated[list[ServiceFile], forms.FILES] = Field(
        default_factory=list, description="Configs it may read: keys, or long forms."
    )
    volumes_from: Annotated[list[str], forms.UNIQUE] = Field(
        default_factory=list,
        description="Services (`name`, `name:ro`) whose mounts it has too.",
    )
    links: Annotated[list[Link], forms.UNIQUE] = Field(
        default_factory=list,
        description="Services it finds by a further name: `db`, `db:database`.",
    )
    external_links: Annotated[list[ExternalLink], forms.UNIQUE] = Field(
        default_factory=list,
        description="Containers outside the stack, by a further name: `db`, `db:database`. They "
        "are found in the networks that both are in.",
    )
    extra_hosts: Annotated[list[ExtraHost], forms.EXTRA_HOSTS] = Field(
        default_factory=list,
        description="Lines for /etc/hosts: `name=address`, `name:address`, or a mapping; "
        "`host-gateway` is the host.",
    )
    dns: Annotated[list[IPAddress], forms.TEXTS_SAID] = Field(
        default_factory=list,
        description="Name servers in place of the host's, asked from the container.",
    )
    dns_search: Annotated[list[Domain], forms.TEXTS] = Field(
        default_factory=list, description="Domains that short names are completed with."
    )
    dns_opt: Annotated[list[ResolverOption], forms.UNIQUE] = Field(
        default_factory=list, description="Options of the resolver, e.g. `ndots:2`."
    )
    domainname: Annotated[str | None, MAY_BE_EMPTY] = Field(
        None, description="Domain name inside the container."
    )
    mac_address: Annotated[MacAddress | None, MAY_BE_EMPTY] = Field(
        None, description="MAC address on the service's first network."
    )
    logging: Annotated[Logging | None, forms.LOGGING] = Field(
        None, description="Where the output goes."
    )
    ulimits: Ulimits = Field(
        default_factory=dict, description="Limits of each process: a number, or soft and hard."
    )
    sysctls: Annotated[dict[str, str], forms.KEYED] = Field(
        default_factory=dict, description="Kernel settings of the container's namespaces."
    )
    devices: Annotated[list[Device], forms.DEVICES] = Field(
        default_factory=list, description="Devices of the host: `/dev/x:/dev/y:rwm`."
    )
    device_cgroup_rules: Annotated[list[str], forms.UNIQUE] = Field(
        default_factory=list, description="Devices it may use, e.g. `c 1:3 mr`."
    )
    gpus: Annotated[
        list[Gpu] | None, forms.GPUS, Refused("no driver for graphics processors is here")
    ] = Field(None, description="Graphics processors.")
    blkio_config: Blkio | None = Field(None, description="Shares and rates of block devices.")
    cpu_period: Microseconds | None = Field(
        None, description="Period of the CPU quota, in microseconds, or a duration (`20ms`)."
    )
    cpu_quota: Microseconds | None = Field(
        None,
        description="CPU time each period, in microseconds, or a duration; -1 for unlimited.",
    )
    cpu_rt_period: Annotated[Any, _REALTIME] = Field(
        None, description="Period of real-time scheduling."
    )
    cpu_rt_runtime: Annotated[Any, _REALTIME] = Field(
        None, description="Real-time CPU time each period."
    )
    cpu_count: Annotated[Any, _WINDOWS] = Field(None, description="Windows only.")
    cpu_percent: Annotated[Any, _WINDOWS] = Field(None, description="Windows only.")
    credential_spec: Annotated[Any, _WINDOWS] = Field(None, description="Windows only.")
    isolation: Annotated[str | None, NoEffect("there is one way only", True)] = Field(
        None, description="`default`; the others are for Windows."
    )
    oom_kill_disable: Flag | None = Field(
        None, description="true: out of memory, its processes wait instead of being killed."
    )
    oom_score_adj: Annotated[Integer, Field(ge=-1000, le=1000)] | None = Field(
        None, description="-1000 to 1000: who is killed first when memory is short."
    )
    group_add: Annotated[list[str], forms.GROUPS] = Field(
        default_factory=list, description="Further groups of the command, by name or number."
    )
    cgroup: Annotated[Literal["private", "host"] | None, BeforeValidator(empty_is_absent)] = Field(
        None, description="`private` (its own control group namespace) or `host`."
    )
    cgroup_parent: Annotated[
        str | None, Approximated("containers lie in the engine's own control group")
    ] = Field(None, description="Control group its own lies in.")
    ipc: Annotated[IpcMode | None, MAY_BE_EMPTY] = Field(
        None,
        description="`private`, `shareable`, `host` or `service:NAME`: whose shared memory.",
    )
    pid: Annotated[PidMode | None, MAY_BE_EMPTY] = Field(
        None, description="`host` or `service:NAME`: whose processes it sees."
    )
    uts: Annotated[UtsMode | None, MAY_BE_EMPTY] = Field(
        None, description="`host`: the host's name is its own."
    )
    platform: Annotated[str | None, MAY_BE_EMPTY] = Field(
        None, description="`os/arch[/variant]` of the image."
    )
    runtime: Annotated[str | None, Approximated("the engine is its own runtime")] = Field(
        None, description="Name of a runtime."
    )
    storage_opt: Annotated[Any, _STORAGE] = Field(
        None, description="Options of the storage driver."
    )
    post_start: list[Hook] = Field(
        default_factory=list, description="Commands inside the container, once it has started."
    )
    pre_stop: list[Hook] = Field(
        default_factory=list,
        description="Commands inside the container, before it is stopped: they run to their end, "
        "then `stop_grace_period` begins. One that fails makes the command fail, when all is "
        "stopped; of a container that `up` makes anew it is a warning.",
    )
    pre_start: list[PreStartHook] = Field(
        default_factory=list,
        description="Commands in containers of their own, in order, before it starts.",
    )
    pull_refresh_after: Duration | None = Field(
        None, description="With `pull_policy: refresh`: age after which the image is pulled again."
    )
    use_api_socket: Annotated[
        Flag | None,
        Approximated("the socket alone: give credentials of registries as a secret of the service"),
    ] = Field(
        None,
        description="true: the engine's socket is at /var/run/docker.sock inside. Credentials for "
        "registries do not come along.",
    )
    provider: Provider | None = Field(
        None, description="A program that provides the service in place of containers."
    )
    models: Annotated[
        dict[str, Annotated[ServiceModel, BeforeValidator(nothing_is_empty)]],
        forms.NAMES,
        Refused("no runner of models is part of the engine"),
    ] = Field(default_factory=dict, description="Models it uses, by key.")
    pull_policy: Annotated[PullPolicy | None, BeforeValidator(empty_is_absent)] = Field(
        None,
        description="When to pull the image: always, never, missing (the default; also called "
        "if_not_present), build (make it instead), daily, weekly, `every_12h`, or refresh "
        "(see pull_refresh_after): again when it is older.",
    )
    profiles: Annotated[list[str], forms.UNIQUE] = Field(
        default_factory=list,
        description="The service exists only when one of these profiles is active.",
    )

    @property
    def refresh_after(self) -> float | None:
        """Seconds of age after which its image is pulled again; None: age does not matter."""
        if self.pull_policy == "refresh":
            return self.pull_refresh_after
        return pull_age(self.pull_policy or "")

    @property
    def replicas(self) -> int:
        """How many containers the file asks for."""
        if self.scale is not None:
            return self.scale
        if self.deploy is not None and self.deploy.replicas is not None:
            return self.deploy.replicas
        return 1
