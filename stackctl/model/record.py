"""What was saved: records as SQLite keeps them. Times are Unix seconds (float)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stackctl.model.container import ContainerConfig, Health, Status
from stackctl.model.network import Endpoint, NetworkConfig, PublishedPort, VolumeConfig
from stackctl.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRef:
    """A process known by pid AND start time (field 22 of /proc/PID/stat), never by pid alone."""

    pid: int
    start_time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRecord:
    """A container as the engine remembers it; checked against the kernel at start."""

    id: str
    config: ContainerConfig
    created_at: float
    status: Status = Status.CREATED
    #: First host id of the 65536 that its user namespace maps; 0 with userns "host".
    id_base: int = 0
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[PublishedPort, ...] = ()
    process: ProcessRef | None = None
    #: The kernel's boot id at start: another one means that the machine was rebooted.
    boot_id: str = ""
    started_at: float = 0.0
    finished_at: float = 0.0
    #: None: not ended yet, or honestly unknown (see `error`).
    exit_code: int | None = None
    oom_killed: bool = False
    error: str = ""
    health: Health = Health.NONE
    restart_count: int = 0
    #: The user stopped it: unless-stopped and always do not bring it back.
    stopped_by_user: bool = False
    #: Id of the container whose place or name this one takes; "" once it has it. Its own id:
    #: its name is another's for now.
    replaces: str = ""

    @property
    def seen_status(self) -> Status:
        """What is told of it: there is no word for the moment in which it is being started."""
        if self.status is not Status.STARTING:
            return self.status
        if not self.finished_at:
            return Status.CREATED
        return Status.RESTARTING if self.restart_count else Status.EXITED

    @property
    def name(self) -> str:
        """The name that is taken right now: temporary until RenameContainer, then config.name."""
        return f"{self.id[:12]}_{self.config.name}" if self.replaces else self.config.name

    @property
    def is_aside(self) -> bool:
        """Whether its name was taken from it (SetAside)."""
        return self.replaces == self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRecord:
    id: str
    config: NetworkConfig
    created_at: float
    #: The bridge's name in the kernel.
    bridge: str = ""
    subnet4: str = ""
    gateway4: str = ""
    subnet6: str = ""
    gateway6: str = ""
    #: (subnet, gateway) of each further pool.
    further: tuple[tuple[str, str], ...] = ()

    @property
    def subnets(self) -> tuple[tuple[str, str], ...]:
        """(subnet, gateway) of all its subnets: IPv4, IPv6, further ones."""
        first = ((self.subnet4, self.gateway4), (self.subnet6, self.gateway6))
        return tuple(pair for pair in first if pair[0]) + self.further


def with_subnets(record: NetworkRecord, subnets: Sequence[tuple[str, str]]) -> NetworkRecord:
    """A record without subnets, with these: the first of each IP version, then the rest."""
    four = next((pair for pair in subnets if ":" not in pair[0]), ("", ""))
    six = next((pair for pair in subnets if ":" in pair[0]), ("", ""))
    return replace(
        record,
        subnet4=four[0],
        gateway4=four[1],
        subnet6=six[0],
        gateway6=six[1],
        further=tuple(pair for pair in subnets if pair not in (four, six)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeRecord:
    config: VolumeConfig
    created_at: float
    #: Host directory that is mounted into containers.
    mountpoint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackRecord:
    """A project that was brought up: enough to plan its `down` without its file."""

    name: str
    #: Absolute paths of the files it was loaded from.
    files: tuple[str, ...]
    project_dir: str
    created_at: float
    updated_at: float
