"""What one container needs, whoever wants it: a stack's service or a single `run`.

Nothing in here is local to a machine (no pid, no path of the engine's own, no
address that was leased), so that a stack can be translated to another engine.
Sizes are bytes, durations seconds, unless a field says otherwise.
"""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum

from stackctl.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BindMount:
    """A host path inside the container. `source` is absolute on the host."""

    source: str
    target: str
    read_only: bool = False
    #: Make an empty host directory when `source` is missing (compose's short form does).
    create_host_path: bool = True
    #: "private", "slave", "shared", each with an "r" before for all mounts below.
    propagation: str = "rprivate"
    #: Mounts below `source` come along.
    recursive: bool = True
    #: "z" (shared among containers) or "Z" (this one's): a new label where SELinux is on.
    selinux: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeMount:
    """A named volume; an anonymous one has a generated name and `anonymous` set."""

    volume: str
    target: str
    read_only: bool = False
    #: Do not fill a fresh volume with what the image has at `target`.
    nocopy: bool = False
    anonymous: bool = False
    subpath: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TmpfsMount:
    target: str
    size: int | None = None
    mode: int | None = None
    read_only: bool = False
    #: Owner of its root, as the container numbers them; None: 0.
    uid: int | None = None
    gid: int | None = None
    #: Whether programs in it can be run.
    executable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageMount:
    """The files of another image, or only those below `subpath`; nothing can be written there.

    `image_id` is what `image` is when the container is created ("": not known yet).
    """

    image: str
    target: str
    subpath: str = ""
    image_id: str = ""
    #: Always; here as all mounts have it.
    read_only: bool = True


Mount = BindMount | VolumeMount | TmpfsMount | ImageMount


@dataclass(frozen=True, slots=True, kw_only=True)
class PortBinding:
    """A container port published on the host.

    `host_port` None asks for an ephemeral one; a range (first, last) for any
    free one of it. `host_ip` "" means the engine's default address.
    """

    container_port: int
    protocol: str = "tcp"
    host_ip: str = ""
    host_port: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkAttachment:
    """Membership of one network. `network` is the network's full (unique) name."""

    network: str
    aliases: tuple[str, ...] = ()
    ipv4_address: str = ""
    ipv6_address: str = ""
    mac_address: str = ""
    interface_name: str = ""
    gw_priority: int = 0
    #: Further addresses of the interface, without prefix length.
    link_local_ips: tuple[str, ...] = ()
    #: Settings of the interface (addressing.interface_settings), carried out when it is made.
    settings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedFile:
    """A file that the engine makes for a container and mounts read-only: a secret, a config.

    What is in it: `content`, or the host's file `source` when it is made. The engine
    drops `content` once it is written: no record holds it.
    """

    target: str
    content: str = ""
    source: str = ""
    uid: int = 0
    gid: int = 0
    mode: int = 0o444


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A command at a moment of a container's life; "" and () are the container's own."""

    argv: tuple[str, ...]
    user: str = ""
    working_dir: str = ""
    env: tuple[str, ...] = ()
    privileged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """`test` is an argv; a shell form arrives as ("/bin/sh", "-c", text). Empty: disabled."""

    test: tuple[str, ...]
    interval: float = 30.0
    timeout: float = 30.0
    retries: int = 3
    start_period: float = 0.0
    #: Cadence during the start period; None lets the engine choose (event-driven back-off).
    start_interval: float | None = None


class RestartMode(StrEnum):
    NO = "no"
    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    UNLESS_STOPPED = "unless-stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    mode: RestartMode = RestartMode.NO
    #: Only for on-failure; 0 means without limit.
    max_retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLimit:
    """A weight or a rate for one block device, by its path on the host."""

    path: str
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ulimit:
    """A resource limit, `name` as in ulimits ("nofile"); -1 is unlimited."""

    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A host device (or a directory of them) in the container; `permissions` of "rwm"."""

    source: str
    target: str
    permissions: str = "rwm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Logging:
    """`driver` "json-file" (and "local", the same) or "none". None: the engine's default."""

    driver: str = "json-file"
    max_size: int | None = None
    max_file: int | None = None

    @property
    def keeps(self) -> bool:
        """Whether there is a log to be read."""
        return self.driver != "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Resource limits; None leaves the kernel's default."""

    memory: int | None = None
    memory_reservation: int | None = None
    #: Memory plus swap, as in Docker; -1 means unlimited swap.
    memory_swap: int | None = None
    memory_swappiness: int | None = None
    #: Number of CPUs, e.g. 0.5.
    cpus: float | None = None
    cpu_shares: int | None = None
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    #: None: the engine's default; -1: unlimited.
    pids: int | None = None
    #: Microseconds, instead of `cpus`; quota without period is per 100,000.
    cpu_period: int | None = None
    cpu_quota: int | None = None
    #: 10..1000, usual 500.
    blkio_weight: int | None = None
    blkio_weight_device: tuple[DeviceLimit, ...] = ()
    #: Bytes (bps) or operations (iops) a second, by device.
    device_read_bps: tuple[DeviceLimit, ...] = ()
    device_write_bps: tuple[DeviceLimit, ...] = ()
    device_read_iops: tuple[DeviceLimit, ...] = ()
    device_write_iops: tuple[DeviceLimit, ...] = ()
    #: Page size as the kernel names it ("2MB") -> bytes.
    hugetlb: dict[str, int] = field(default_factory=dict)
    #: Stand still instead of being killed for want of memory (cgroup v1 only).
    oom_kill_disable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """Rights beyond the defaults. Capability names are without CAP_, upper case."""

    privileged: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    #: "default", "unconfined", or the text of a profile in Docker's JSON format.
    seccomp: str = "default"
    no_new_privileges: bool = False
    #: "private" (a range of its own) or "host".
    userns: str = "private"
    #: Masked and read-only paths of /proc and /sys stay as the kernel has them
    #: (security_opt systempaths=unconfined).
    unmasked: bool = False
    #: AppArmor profile; "" and "unconfined": none.
    apparmor: str = ""
    #: SELinux label parts as in security_opt label=..., e.g. "type:svirt_t", "disable".
    label: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerConfig:
    """All that one container needs, with the image's defaults already merged in.

    `argv` is what is executed (entrypoint plus command); the two parts are kept
    for `inspect`. `image` is the reference as the user wrote it, `image_id` what
    it resolved to. `config_hash` decides recreation.
    """

    name: str
    image: str
    image_id: str
    argv: tuple[str, ...]
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    #: In order, "NAME=value"; a name occurs once.
    env: tuple[str, ...] = ()
    working_dir: str = "/"
    #: "user", "uid", "user:group", "uid:gid" as the image's files define them; "" is root.
    user: str = ""
    #: "": the engine gives the short container id.
    hostname: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    ports: tuple[PortBinding, ...] = ()
    expose: tuple[str, ...] = ()
    #: Empty with network_mode "bridge" means no network of a user; see network_mode.
    networks: tuple[NetworkAttachment, ...] = ()
    #: "" (the networks above), "none", "host", "service:<name>", "container:<name or id>".
    network_mode: str = ""
    #: Resolvers instead of the machine's (asked by ours), search domains and options
    #: of /etc/resolv.conf; None: the machine's.
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] | None = None
    dns_options: tuple[str, ...] | None = None
    #: Lines for /etc/hosts as (name, address); the address "host-gateway" is the host's.
    extra_hosts: tuple[tuple[str, str], ...] = ()
    #: Names that only this container knows: (alias, service or container).
    links: tuple[tuple[str, str], ...] = ()
    health: HealthCheck | None = None
    restart: RestartPolicy = RestartPolicy()
    limits: Limits = Limits()
    security: Security = Security()
    init: bool = False
    tty: bool = False
    stdin_open: bool = False
    #: Who is attached and ends its input ends the process's.
    stdin_once: bool = True
    read_only: bool = False
    #: A name such as "SIGTERM".
    stop_signal: str = "SIGTERM"
    stop_grace: float = 10.0
    shm_size: int = 67108864
    ulimits: tuple[Ulimit, ...] = ()
    #: -1000..1000; None: the host's default.
    oom_score_adj: int | None = None
    #: Names or numbers of further groups, as the image's files define them.
    group_add: tuple[str, ...] = ()
    #: Only namespaced ones: kernel.shm*, kernel.msg*, kernel.sem, fs.mqueue.*, net.*.
    sysctls: dict[str, str] = field(default_factory=dict)
    devices: tuple[Device, ...] = ()
    #: As Docker's: "c 1:3 rwm".
    device_cgroup_rules: tuple[str, ...] = ()
    #: "private" ("" and "shareable" too), "host", "none" (ipc only), or whose namespace to
    #: share: "service:<name>" of the same project, "container:<name or id>".
    ipc: str = ""
    pid: str = ""
    uts: str = ""
    #: "private" or "host".
    cgroup: str = "private"
    logging: Logging = Logging()
    files: tuple[GeneratedFile, ...] = ()
    #: Run inside, in order: once it has started, and before it is stopped.
    post_start: tuple[Hook, ...] = ()
    pre_stop: tuple[Hook, ...] = ()
    #: So many pre_start hooks come before its first start; the plan of `up` has them.
    init_hooks: int = 0
    domainname: str = ""
    #: The engine's socket is at /var/run/docker.sock inside.
    api_socket: bool = False
    #: Names of containers whose volumes and binds it has too, "name" or "name:ro".
    volumes_from: tuple[str, ...] = ()
    #: False: `up` does not show its output.
    attach: bool = True
    annotations: dict[str, str] = field(default_factory=dict)
    #: The stack this belongs to; "" for a single container.
    project: str = ""
    service: str = ""
    #: Counts from 1 within a service; 0 for a one-off (`run`).
    number: int = 0
    oneoff: bool = False
    #: Removed with its anonymous volumes as soon as it has ended (`--rm`).
    auto_remove: bool = False
    config_hash: str = ""
    #: JSON: what config_hash is the digest of, so that a plan can say what has changed.
    made_of: str = ""
    #: JSON: what a client of Docker's API asked for in words that the above has in others;
    #: inspect gives them back, nothing else reads them.
    asked: str = ""

    @property
    def images(self) -> tuple[str, ...]:
        """Ids of its own image and, in their order, of those that it mounts."""
        mounted = (mount.image_id for mount in self.mounts if isinstance(mount, ImageMount))
        return (self.image_id, *mounted)

    @property
    def place(self) -> tuple[str, int]:
        """Which of the project's containers it is, whatever it is called."""
        return self.service, self.number

    @property
    def shares_with(self) -> frozenset[str]:
        """The services of the same project whose namespaces it is in."""
        return self._sharing("service:")

    @property
    def shares_with_containers(self) -> frozenset[str]:
        """The same by names and ids of containers."""
        return self._sharing("container:")

    def _sharing(self, kind: str) -> frozenset[str]:
        whose = (self.network_mode, self.ipc, self.pid, self.uts)
        return frozenset(w.removeprefix(kind) for w in whose if w.startswith(kind))


class Status(StrEnum):
    """Life of a container; the rules about a status live here."""

    CREATED = "created"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    EXITED = "exited"
    REMOVING = "removing"
    DEAD = "dead"

    @property
    def is_alive(self) -> bool:
        """A process of it exists."""
        return self in (Status.STARTING, Status.RUNNING, Status.PAUSED)

    @property
    def can_start(self) -> bool:
        return self in (Status.CREATED, Status.EXITED, Status.DEAD, Status.RESTARTING)

    @property
    def needs_stop(self) -> bool:
        """Must be stopped before it is removed: it lives, or is about to come back."""
        return self.is_alive or self is Status.RESTARTING

    @property
    def has_ended(self) -> bool:
        return self in (Status.EXITED, Status.DEAD)


class Health(StrEnum):
    NONE = "none"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
