"""How many containers there will be, what they would have to share, and what they are called."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from stackctl.errors import StackFileError, UsageError
from stackctl.scheduler.desired import DesiredService
from stackctl.spec import joining, ports
from stackctl.spec.model import MOST_CONTAINERS, Service, Stack


def size(stack: Stack, counts: Mapping[str, int], scale: Mapping[str, int]) -> None:
    """Raises UsageError, StackFileError for more containers than a stack may have."""
    total = sum(counts.values())
    if total <= MOST_CONTAINERS:
        return
    name = max(counts, key=lambda each: counts[each])
    brief = f"{total} containers are too many: a stack has at most {MOST_CONTAINERS}"
    if name in scale:
        raise UsageError(f"{brief}, and {name} was to have {counts[name]}")
    raise StackFileError(brief, place=stack.places("services", name))


def sharing(stack: Stack, name: str, service: Service, count: int) -> None:
    """Raises StackFileError when `count` replicas want what only one container can have."""
    if count < 2:
        return
    if service.container_name:
        raise StackFileError(
            f'{count} replicas of service "{name}" cannot all be called "{service.container_name}"',
            place=stack.places("services", name, "container_name"),
            hint="remove container_name",
        )
    for i, port in enumerate(service.ports):
        first, last = ports.port_range(port.published or "0", lowest=0)
        if first and last - first + 1 < count:
            raise StackFileError(
                f'{count} replicas of service "{name}" cannot share host port {port.published}',
                place=stack.places("services", name, "ports", i),
                hint=f'publish any free port ("{port.target}") or a range of {count}',
            )
    for key, membership in service.networks.items():
        for field in ("ipv4_address", "ipv6_address"):
            if getattr(membership, field):
                raise StackFileError(
                    f'{count} replicas of service "{name}" cannot share one {field}',
                    place=stack.places("services", name, "networks", key, field),
                )
    for _, path, _ in joining.mac_addresses(service, stack.networks):
        raise StackFileError(
            f'{count} replicas of service "{name}" cannot share one mac_address',
            place=stack.places("services", name, *path),
            hint="remove mac_address: each container gets one of its own",
        )


def names(stack: Stack, services: Iterable[DesiredService]) -> None:
    """Raises StackFileError when two containers of these services would have one name.

    Names that the engine gives follow from those of services: one of them may be
    somebody's container_name.
    """
    holders: dict[str, tuple[str | int, ...]] = {}
    for name, where in _names(stack, services):
        if name not in holders:
            holders[name] = where
            continue
        other = holders[name]
        chosen = other if other[-1] == "container_name" else where
        who = " and ".join(dict.fromkeys(f'service "{each[0]}"' for each in (other, where)))
        is_written = chosen[-1] == "container_name"
        raise StackFileError(
            f'two containers would be called "{name}": of {who}',
            place=stack.places("services", *chosen),
            hint="choose another container_name" if is_written else "rename one of the services",
        )


def _names(
    stack: Stack, services: Iterable[DesiredService]
) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    """Of every container there will be: its name, and, below services, what that follows from."""
    for service in services:
        is_written = bool(stack.services[service.name].container_name)
        where = (service.name, "container_name") if is_written else (service.name,)
        for config in service.replicas:
            yield config.name, where
        for i, hook in enumerate(service.pre_start):
            for config in service.replicas if hook.per_replica else service.replicas[:1]:
                yield hook.beside(config).name, (service.name, "pre_start", i)
