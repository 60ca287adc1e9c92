"""What a service says of limits that contradict each other, or that nothing can run with: what
Docker and compose refuse, and no more.

moby, daemon/daemon_unix.go, verifyPlatformContainerResources; `deploy.resources` says the same
in other words, and has the same meaning. What the machine cannot do is asked by the engine
(Runtime.check_limits).
"""

from __future__ import annotations

from collections.abc import Iterator

from stackctl.spec.deploy import Resources
from stackctl.spec.mistakes import Found
from stackctl.spec.model import Service
from stackctl.spec.nodes import Path
from stackctl.spec.units import LEAST_MEMORY

#: The attributes that are looked at: one of them is in each contradiction.
ABOUT = ("cpu_period", "cpu_quota", "mem_limit", "memswap_limit", "mem_reservation", "deploy")

_DEPLOYED_CPUS = "deploy.resources.limits.cpus"
_DEPLOYED_MEMORY = "deploy.resources.limits.memory"


def mistakes(service: Service, who: str) -> Iterator[Found]:
    """All of one service, which messages call `who`."""
    resources = service.deploy.resources if service.deploy else None
    yield from _cpus(service, who, resources)
    field, memory = _memory(service, resources)
    yield from _two_values(service, who, resources)
    yield from _least(service, who, resources)
    yield from _swap(service, who, field, memory)
    yield from _reservation(service, who, resources, field, memory)


def _memory(service: Service, resources: Resources | None) -> tuple[str, int]:
    """What the limit of memory is called, and its bytes; 0: there is none."""
    if service.mem_limit:
        return "mem_limit", service.mem_limit
    upper = resources.limits if resources else None
    return _DEPLOYED_MEMORY, (upper.memory if upper else None) or 0


def _two_values(service: Service, who: str, resources: Resources | None) -> Iterator[Found]:
    limits = resources.limits if resources else None
    reserved = resources.reservations if resources else None
    for field, value, other, other_value in (
        ("mem_limit", service.mem_limit, "limits.memory", limits and limits.memory),
        ("cpus", service.cpus, "limits.cpus", limits and limits.cpus),
        ("pids_limit", service.pids_limit, "limits.pids", limits and limits.pids),
        (
            "mem_reservation",
            service.mem_reservation,
            "reservations.memory",
            reserved and reserved.memory,
        ),
    ):
        if value is not None and other_value is not None and value != other_value:
            yield (
                (field,),
                f"{who} has two values for {field}: the other one is deploy.resources.{other}",
                "remove one of the two",
            )


def _least(service: Service, who: str, resources: Resources | None) -> Iterator[Found]:
    """Docker's rule: with less no process starts, and nobody sees why."""
    upper = resources.limits if resources else None
    deployed: Path = ("deploy", "resources", "limits", "memory")
    values: tuple[tuple[Path, int | None], ...] = (
        (("mem_limit",), service.mem_limit),
        (deployed, upper.memory if upper else None),
    )
    for path, value in values:
        if value is not None and 0 < value < LEAST_MEMORY:
            yield (
                path,
                f"{'.'.join(map(str, path))} of {who} is {value} bytes: a container needs 6 MB",
                f"{path[-1]}: 6m at least",
            )


def _cpus(service: Service, who: str, resources: Resources | None) -> Iterator[Found]:
    upper = resources.limits if resources else None
    deployed = upper.cpus if upper else None
    if not service.cpus and not deployed:
        return
    cpus = "cpus" if service.cpus else _DEPLOYED_CPUS
    for field, value in (("cpu_period", service.cpu_period), ("cpu_quota", service.cpu_quota)):
        if value is not None and value > 0:  # a quota of -1 is none
            yield (
                (field,),
                f"{who} has both {cpus} and {field}: they say the same in two ways",
                "keep one of them: cpus is simpler",
            )


def _swap(service: Service, who: str, field: str, memory: int) -> Iterator[Found]:
    both = service.memswap_limit
    if both is None or both <= 0:  # -1 is unlimited, 0 is not said
        return
    if not memory:
        yield (
            ("memswap_limit",),
            f"memswap_limit of {who} needs a limit of memory: it counts memory and swap",
            "set mem_limit as well",
        )
    elif both < memory:
        yield (
            ("memswap_limit",),
            f"memswap_limit of {who} ({both} bytes) is less than its {field}",
            f"it counts memory and swap: the same value as {field} means no swap",
        )


def _reservation(
    service: Service, who: str, resources: Resources | None, field: str, memory: int
) -> Iterator[Found]:
    lower = resources.reservations if resources else None
    deployed: Path = ("deploy", "resources", "reservations", "memory")
    path: Path = ("mem_reservation",) if service.mem_reservation else deployed
    reserved = service.mem_reservation or (lower.memory if lower else None) or 0
    if 0 < memory < reserved:
        yield (
            path,
            f"{'.'.join(map(str, path))} of {who} ({reserved} bytes) is more than its {field}",
            "a part of what it may use can be reserved, no more",
        )
