"""How many containers a service has, what they may use, how they are replaced."""

from typing import Annotated, Any, Literal

from stackctl.spec.attributes import Approximated, Labels, NoEffect, Refused
from stackctl.spec.fields import Attributes, Field
from stackctl.spec.resources import ReservedDevice
from stackctl.spec.scalars import Count, Duration, Limit, Number, Size

_NO_DEVICES = "devices are not reserved; `devices` gives a container one of the host's"


class ResourceLimits(Attributes):
    """Upper limits of each container."""

    cpus: Number | None = Field(None, description="Number of CPUs, e.g. 0.5.")
    memory: Size | None = Field(None, description="Memory, e.g. 256m.")
    pids: Limit | None = Field(None, description="Number of processes and threads.")


class Reservations(Attributes):
    """What each container should have when memory is short."""

    cpus: Annotated[Number | None, NoEffect("on one machine nothing is placed by it")] = Field(
        None, description="Number of CPUs; for placing containers on machines, no effect here."
    )
    memory: Size | None = Field(None, description="Memory the kernel tries to leave it.")
    generic_resources: Annotated[
        list[dict[str, Any]] | None, NoEffect("on one machine nothing is placed by it")
    ] = Field(None, description="Resources of one's own; for placing, no effect here.")
    devices: Annotated[list[ReservedDevice] | None, Refused(_NO_DEVICES)] = Field(
        None, description="Devices such as GPUs."
    )


class Resources(Attributes):
    """Resources of each container."""

    limits: ResourceLimits | None = Field(None, description="Upper limits.")
    reservations: Reservations | None = Field(None, description="Reservations.")


class DeployRestart(Attributes):
    """When a container that has ended is started again; stronger than `restart`."""

    condition: Literal["none", "on-failure", "any"] | None = Field(
        None, description="`none`, `on-failure` or `any` (the default)."
    )
    delay: Annotated[Duration | None, Approximated("the engine's own back-off decides")] = Field(
        None, description="Time between attempts."
    )
    max_attempts: Count | None = Field(None, description="How often it is tried; absent: always.")
    window: Annotated[Duration | None, Approximated("the engine's own back-off decides")] = Field(
        None, description="How long it must run for an attempt to count as a success."
    )


_NOT_WATCHED = Approximated("a new container has succeeded when it runs, or is healthy")


class UpdateConfig(Attributes):
    """How a changed service's containers are replaced."""

    order: Literal["stop-first", "start-first"] | None = Field(
        None,
        description="`stop-first` (the default), or `start-first`: the new container starts before "
        "the old one stops.",
    )
    parallelism: Count | None = Field(
        None, description="How many are replaced at a time (1 when absent, 0: all)."
    )
    delay: Duration | None = Field(None, description="Time between two parts.")
    failure_action: Literal["continue", "pause", "rollback"] | None = Field(
        None, description="What happens when one fails: `pause` (the default) ends the update."
    )
    monitor: Annotated[Duration | None, _NOT_WATCHED] = Field(
        None, description="How long a new one is watched."
    )
    max_failure_ratio: Annotated[Number | None, _NOT_WATCHED] = Field(
        None, description="Failures that are tolerated."
    )


class Preference(Attributes):
    """A wish about where containers are placed."""

    spread: str | None = Field(None, description="Label over whose values they are spread.")


class Placement(Attributes):
    """Where containers are placed: of no meaning on one machine."""

    constraints: list[str] | None = Field(None, description="Conditions on machines.")
    preferences: list[Preference] | None = Field(None, description="Wishes about machines.")
    max_replicas_per_node: Count | None = Field(None, description="How many on one machine.")


class Deploy(Attributes):
    """How many containers the service has, and what they may use."""

    mode: Literal["replicated", "global", "replicated-job", "global-job"] | None = Field(
        None,
        description="`replicated`, or `global`: one container on this one machine. Jobs are "
        "services like others.",
    )
    replicas: Count | None = Field(None, description="Number of containers (1 when absent).")
    labels: Annotated[Labels, NoEffect("labels of the service, not of its containers")] = Field(
        default_factory=dict, description="Labels of the service, not of its containers."
    )
    resources: Resources | None = Field(None, description="Limits and reservations.")
    restart_policy: DeployRestart | None = Field(
        None, description="When a container that has ended is started again."
    )
    update_config: UpdateConfig | None = Field(
        None, description="How a changed service's containers are replaced."
    )
    rollback_config: Annotated[
        UpdateConfig | None, Approximated("nothing is rolled back by itself")
    ] = Field(None, description="How a change is taken back.")
    placement: Annotated[Placement | None, NoEffect("there is one machine only")] = Field(
        None, description="On which machines; no effect on one."
    )
    endpoint_mode: Annotated[
        Literal["vip", "dnsrr"] | None,
        Approximated("a service's name gives the addresses of its containers, as dnsrr says"),
    ] = Field(None, description="How a service is reached.")
