"""What one container needs, whoever wants it: a stack's service or a single `run`.

Nothing in here is local to a machine (no pid, no path of the engine's own, no
address that was leased), so that a stack can be translated to another engine.
Sizes are bytes, durations seconds, unless a field says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class BindMount:
    """A host path inside the container. `source` is absolute on the host."""

    source: str
    target: str
    read_only: bool = False
    #: Make an empty host directory when `source` is missing (compose's short form does).
    create_host_path: bool = True
    propagation: str = "rprivate"


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


Mount = BindMount | VolumeMount | TmpfsMount


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
    #: "" (the networks above), "none", "host".
    network_mode: str = ""
    health: HealthCheck | None = None
    restart: RestartPolicy = RestartPolicy()
    limits: Limits = Limits()
    security: Security = Security()
    init: bool = False
    tty: bool = False
    stdin_open: bool = False
    read_only: bool = False
    #: A name such as "SIGTERM".
    stop_signal: str = "SIGTERM"
    stop_grace: float = 10.0
    shm_size: int = 67108864
    #: The stack this belongs to; "" for a single container.
    project: str = ""
    service: str = ""
    #: Counts from 1 within a service; 0 for a one-off (`run`).
    number: int = 0
    oneoff: bool = False
    #: Removed with its anonymous volumes as soon as it has ended (`--rm`).
    auto_remove: bool = False
    config_hash: str = ""


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
