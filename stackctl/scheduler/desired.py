"""What the planner compares: desired, observed, and the policy of the command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from enum import StrEnum

from stackctl.errors import Place
from stackctl.model.build import BuildRequest
from stackctl.model.container import ContainerConfig, ImageMount
from stackctl.model.network import NetworkConfig, VolumeConfig
from stackctl.model.provider import ProviderRequest
from stackctl.model.record import ContainerRecord, NetworkRecord, VolumeRecord
from stackctl.values import dataclass


class Condition(StrEnum):
    STARTED = "service_started"
    HEALTHY = "service_healthy"
    COMPLETED = "service_completed_successfully"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    service: str
    condition: Condition = Condition.STARTED
    #: False: a missing or failed dependency is no reason to fail.
    required: bool = True
    #: Restart this service when the dependency is recreated by an explicit command.
    restart: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InitHook:
    """A pre_start hook. Its container's `config` is for the first replica of those it is for.

    `per_replica`: one for each new container (see `beside`), else once for all.
    """

    config: ContainerConfig
    #: What its image is looked up and pulled by.
    reference: str = ""
    per_replica: bool = False

    def beside(self, replica: ContainerConfig) -> ContainerConfig:
        """The hook's container that comes before this one of the service."""
        if not self.per_replica:
            return self.config
        return replace(self.config, name=f"{self.config.name}-{replica.number}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """How the containers of a changed service are replaced (deploy.update_config)."""

    #: The new one starts before the old one stops.
    start_first: bool = False
    #: How many at a time; 0: all.
    parallelism: int = 0
    #: Seconds between two parts.
    delay: float = 0.0
    #: A part that fails does not hold the next ones up.
    goes_on: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredService:
    """A service with one resolved ContainerConfig a replica (numbers 1..n, maybe none)."""

    name: str
    image: str
    pull_policy: str = "missing"
    #: Seconds of age after which a policy (daily, every_12h) has the image pulled again.
    refresh_after: float | None = None
    #: How the image is made, for a service that says so; else it is pulled.
    build: BuildRequest | None = None
    replicas: tuple[ContainerConfig, ...] = ()
    depends_on: tuple[Dependency, ...] = ()
    pre_start: tuple[InitHook, ...] = ()
    rollout: Rollout = Rollout()
    #: Who provides it in place of containers.
    provider: ProviderRequest | None = None
    #: Names of containers outside the project, which have to be there.
    external_links: tuple[str, ...] = ()
    #: True when the stack file says how many (scale, deploy.replicas) or the caller did.
    has_healthcheck: bool = False

    @property
    def further_images(self) -> tuple[str, ...]:
        """References besides its own: of its pre_start hooks, and of what it mounts."""
        hooks = (hook.reference for hook in self.pre_start)
        return tuple(filter(None, (*hooks, *self.mounted)))

    @property
    def mounted(self) -> tuple[str, ...]:
        """References of the images that its containers mount."""
        mounts = self.replicas[0].mounts if self.replicas else ()
        return tuple(mount.image for mount in mounts if isinstance(mount, ImageMount))


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """All of a project that is wanted. External networks and volumes are only checked."""

    project: str
    #: Between the parts of its names (Stack.separator).
    separator: str = "-"
    services: tuple[DesiredService, ...] = ()
    networks: tuple[NetworkConfig, ...] = ()
    volumes: tuple[VolumeConfig, ...] = ()
    #: Those by name, with the place where the stack file says so, if it is known.
    external_networks: Mapping[str, Place | None] = field(default_factory=dict)
    external_volumes: Mapping[str, Place | None] = field(default_factory=dict)
    #: Reference -> id of the images that are mounted, as far as they are here.
    mounted_images: Mapping[str, str] = field(default_factory=dict)
    #: Services of the file that no active profile wants: their containers are no orphans.
    disabled: frozenset[str] = frozenset()
    #: Networks and volumes are made, and external ones have to be there, even if no service that
    #: is wanted uses them.
    all_resources: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Records checked against the kernel, looked at once."""

    project: str
    containers: tuple[ContainerRecord, ...] = ()
    networks: tuple[NetworkRecord, ...] = ()
    volumes: tuple[VolumeRecord, ...] = ()
    #: References that resolve locally.
    images: frozenset[str] = frozenset()
    #: Seconds since a reference was last pulled or made; of those that a policy asks about.
    image_ages: Mapping[str, float] = field(default_factory=dict)
    #: What programs outside provide for the project, in the order in which they were asked.
    providers: tuple[ProviderRequest, ...] = ()
    #: Existing networks (name -> id) and volumes outside the project, for external ones.
    other_networks: Mapping[str, str] = field(default_factory=dict)
    other_volumes: frozenset[str] = frozenset()
    #: ("network" or "volume", name) of the project's -> a container outside it that lives and
    #: uses it.
    strangers: Mapping[tuple[str, str], str] = field(default_factory=dict)
    #: By id of a container that has ended: what has changed since in what it mounts of the host.
    #: Of one-shot jobs only.
    changed_files: Mapping[str, str] = field(default_factory=dict)
    #: Names and short ids of all containers outside the project (for external links).
    other_containers: frozenset[str] = frozenset()


class Recreate(StrEnum):
    CHANGED = "changed"
    FORCE = "force"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpPolicy:
    """The flags of `up` that change a plan. Empty `services` means all."""

    services: tuple[str, ...] = ()
    recreate: Recreate = Recreate.CHANGED
    #: Also recreate what the named services depend on (`--always-recreate-deps`).
    recreate_deps: bool = False
    remove_orphans: bool = False
    #: Nothing is said of them either.
    ignore_orphans: bool = False
    no_deps: bool = False
    start: bool = True
    #: Add a WaitHealthy (or wait for running) for every wanted service (`--wait`).
    wait: bool = False
    timeout: float | None = None
    renew_anonymous_volumes: bool = False
    #: Make volumes anew whose configuration has changed: what is in them is lost (`-y`).
    renew_volumes: bool = False
    #: Build all images that can be built (`--build`).
    build: bool = False
    #: References that this command has pulled or built already: `pull_policy: always` is done.
    pulled: frozenset[str] = frozenset()
    #: Services that this command has had provided already.
    provided: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class DownPolicy:
    services: tuple[str, ...] = ()
    volumes: bool = False
    remove_orphans: bool = False
    timeout: float | None = None
    #: Dependency edges by service, for the reverse stop order (from the file or the records).
    depends_on: dict[str, tuple[str, ...]] = field(default_factory=dict)
    #: Services that the file describes; the others are orphans. None: there is no file, all go.
    known: frozenset[str] | None = None
    #: Those of them that an active profile wants: only they go when none is named. None: all.
    active: frozenset[str] | None = None
    #: Names of the volumes that its services use: with `volumes`, no other one goes. None: all do.
    known_volumes: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePolicy:
    """The flags of `start`, `stop`, `restart` and `rm`. Empty `services` means all."""

    services: tuple[str, ...] = ()
    timeout: float | None = None
    #: Only the named services, not what they depend on (start) or what depends on them (restart).
    no_deps: bool = False
    #: `start --wait`: until they run or are healthy.
    wait: bool = False
    #: `rm -s`: stop what runs first.
    stop: bool = False
    #: `rm -v`: anonymous volumes too.
    volumes: bool = False
    #: Services that may be named though they have no container.
    known: frozenset[str] = frozenset()
    #: The services that it is about when none is named; None: all that there are.
    active: frozenset[str] | None = None
    #: By service, from the file; a service that is missing here is read from its records' labels.
    depends_on: dict[str, tuple[Dependency, ...]] = field(default_factory=dict)

    def is_about(self, service: str) -> bool:
        named = self.services or self.active
        return named is None or service in named
