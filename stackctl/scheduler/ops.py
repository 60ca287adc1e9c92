"""The closed union of operations, and the plan that holds them.

An operation is data: the executor hands it to the engine, tests compare its
print. Every step carries its cause. Containers are addressed by name where the
plan makes them, by id where they exist already.
"""

from __future__ import annotations

from stackctl.model.build import BuildRequest
from stackctl.model.container import ContainerConfig
from stackctl.model.network import NetworkConfig, VolumeConfig
from stackctl.model.provider import ProviderRequest
from stackctl.scheduler.differences import Change
from stackctl.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PullImage:
    """`build`: how the image is made when the registry does not have it."""

    reference: str
    build: BuildRequest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildImage:
    """Makes the image that a service's containers need; `reference` is its name."""

    reference: str
    build: BuildRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateNetwork:
    network: NetworkConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveNetwork:
    """Containers that are alive in it are an error. Ended ones, which are about to be
    replaced (a network whose configuration changed), lose their leases with it."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateVolume:
    volume: VolumeConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveVolume:
    """Containers that mount it are an error. With `renews` only those that are alive are: the
    others are about to be replaced, or get what is made in its place."""

    name: str
    renews: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateContainer:
    """Makes record, snapshot and leases; starts nothing.

    With `replaces` (an id) it takes a temporary name, inherits the anonymous
    volumes of the old container, and RenameContainer gives it the final name
    once the old one is gone.
    """

    config: ContainerConfig
    replaces: str = ""
    #: Id of another's container that has its name still: the name is temporary, nothing more.
    name_from: str = ""
    #: With `replaces`: start with fresh anonymous volumes instead (`up -V`).
    renew_volumes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RenameContainer:
    """Gives the container created for `name` (see CreateContainer.replaces) that name."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """Takes the name of a container that is about to be replaced under another one: somebody
    else is to have it. Whether it runs is no matter, nor whether it has gone already. When it
    stays after all, RenameContainer gives the name back."""

    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StartContainer:
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitHealthy:
    """Done when the container's health is healthy; fails when it is unhealthy or has ended.

    Without a health check, running is enough; not when `checked`, because somebody
    depends on it to be healthy: then it fails. With `ended_ok`, having ended with 0 is
    as good (`up --wait` on a container that does its work and leaves).
    """

    name: str
    checked: bool = False
    ended_ok: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitCompleted:
    """Done when the container has ended with 0; fails with its exit code otherwise."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopContainer:
    """`timeout` None: the container's own grace period."""

    id: str
    name: str
    timeout: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveContainer:
    id: str
    name: str
    #: Remove its anonymous volumes too.
    anonymous_volumes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInit:
    """A pre_start hook: a container of its own that runs to its end before a service starts.

    It is made beside the service's container called `beside`, whose volumes it has, and removed
    when it has ended with 0. Another end is a failure, and it stays to be looked at.
    """

    config: ContainerConfig
    beside: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProvider:
    """Has a program outside provide a service ("up"), let it rest ("stop"), or take it away
    ("down")."""

    provider: ProviderRequest
    command: str = "up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Nothing for some seconds: the delay between two parts of an update."""

    name: str
    seconds: float


Op = (
    PullImage
    | BuildImage
    | CreateNetwork
    | RemoveNetwork
    | CreateVolume
    | RemoveVolume
    | CreateContainer
    | RenameContainer
    | SetAside
    | StartContainer
    | WaitHealthy
    | WaitCompleted
    | StopContainer
    | RemoveContainer
    | RunInit
    | RunProvider
    | Pause
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One operation of a plan: what, why, and after which others (by number).

    `service` is "" for operations that belong to no service. A step whose
    predecessor failed is skipped, unless it tolerates that one: `tolerates` is a
    subset of `after` and comes from `depends_on: required: false`.
    """

    number: int
    op: Op
    cause: str
    after: frozenset[int] = frozenset()
    service: str = ""
    tolerates: frozenset[int] = frozenset()
    #: Its failure is told, but does not fail the command.
    optional: bool = False
    #: What is gone for good after it: "volume p_data", "what it wrote outside of volumes".
    loses: tuple[str, ...] = ()
    #: Because of which attributes a container or network is made anew.
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A DAG of steps in a valid order (every step comes after those it waits for)."""

    project: str
    steps: tuple[Step, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.steps)
