"""What stands in the way of containers, though the file is right.

A dependency that is required and disabled, a name, a host port or a MAC address that two
services have, a secret in a variable that nobody has set, what the engine cannot carry out.
Only where containers are wanted: such a file can be shown, built and taken down, and the
services that are not in each other's way brought up.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from stackctl.errors import Place, StackFileError, StackFileErrors
from stackctl.spec import implied, joining, ports
from stackctl.spec.model import Service, Stack, files_of


def check(stack: Stack, services: Collection[str] = ()) -> None:
    """Raises StackFileErrors when containers of these services cannot be had together with
    those that they need. (Of all that are enabled when none is named.)
    """
    wanted = _wanted(stack, services)
    if errors := [
        *disabled(stack, services),
        *_clashes(stack, wanted),
        *_unset(stack, wanted),
        *_refused(stack, wanted),
    ]:
        raise StackFileErrors(tuple(errors))


def foreseen(stack: Stack) -> list[StackFileError]:
    """What `check` would say but for `disabled`: such a file can be shown, and taken down."""
    every = stack.services
    return [*_clashes(stack, every), *_unset(stack, every), *_refused(stack, every)]


def _wanted(stack: Stack, services: Collection[str]) -> Mapping[str, Service]:
    if not services:
        return stack.services
    names = implied.needed(stack.services, services)
    return {name: service for name, service in stack.services.items() if name in names}


def disabled(stack: Stack, services: Collection[str] = ()) -> list[StackFileError]:
    """An error for each dependency of a wanted service that is disabled."""
    errors = []
    for name, service in _wanted(stack, services).items():
        for other, dependency in service.depends_on.items():
            if other in stack.disabled and dependency.required:
                profiles = ", ".join(stack.disabled[other].profiles)
                errors.append(
                    StackFileError(
                        f'service "{name}" depends on "{other}", which is disabled',
                        place=stack.places("services", name, "depends_on", other, key=True),
                        hint=f"activate a profile of it ({profiles}) with --profile",
                    )
                )
    return errors


def _clashes(stack: Stack, wanted: Mapping[str, Service]) -> list[StackFileError]:
    """An error for all that only one of the services can have."""
    return [
        *_name_clashes(stack, wanted),
        *_port_clashes(stack, wanted),
        *_mac_clashes(stack, wanted),
    ]


def _name_clashes(stack: Stack, wanted: Mapping[str, Service]) -> list[StackFileError]:
    """An error for each container_name that another service has."""
    holders: dict[str, str] = {}
    errors = []
    for name, service in wanted.items():
        fixed = service.container_name
        if fixed is None:
            continue
        other = holders.setdefault(fixed, name)
        if other != name:
            errors.append(
                StackFileError(
                    f'services "{other}" and "{name}" are both called "{fixed}"',
                    place=stack.places("services", name, "container_name"),
                )
            )
    return errors


def _mac_clashes(stack: Stack, wanted: Mapping[str, Service]) -> list[StackFileError]:
    """An error for each MAC address that another service has in the same network: what is sent
    to two reaches either."""
    holders: dict[tuple[str, str], str] = {}
    errors = []
    for name, service in wanted.items():
        if not service.replicas or service.provider is not None:
            continue
        for network, path, mac in joining.mac_addresses(service, stack.networks):
            other = holders.setdefault((network, mac), name)
            if other != name:
                errors.append(
                    StackFileError(
                        f'services "{other}" and "{name}" both have the MAC address {mac}'
                        f" in {network}",
                        place=stack.places("services", name, *path),
                    )
                )
    return errors


def _port_clashes(stack: Stack, wanted: Mapping[str, Service]) -> list[StackFileError]:
    """An error for each fixed host port that two of the services publish."""
    holders: dict[tuple[str, int], list[tuple[str, str, Place | None]]] = {}
    errors = []
    for name, service in wanted.items():
        for i, port in enumerate(service.ports):
            first, last = ports.port_range(port.published or "0", lowest=0)
            if first != last or first == 0:
                continue
            place = stack.places("services", name, "ports", i)
            address = port.host_ip or ""
            taken = holders.setdefault((port.protocol, first), [])
            clash = next((t for t in taken if _overlap(t[1], address)), None)
            if clash:
                errors.append(
                    StackFileError(
                        f"host port {first}/{port.protocol} is published by "
                        f'"{clash[0]}" and "{name}"',
                        place=place,
                        hint=f"the other one is at {clash[2]}" if clash[2] else "",
                    )
                )
            taken.append((name, address, place))
    return errors


def _unset(stack: Stack, wanted: Mapping[str, Service]) -> list[StackFileError]:
    """An error for each secret or config of the services that is in a variable nobody set."""
    errors: dict[tuple[str, str], StackFileError] = {}
    for section, item, origin in files_of(stack, wanted.values()):
        key = (section, item.source)
        if origin.environment is not None and key not in stack.contents:
            errors[key] = StackFileError(
                f'the variable "{origin.environment}" of {section[:-1]} "{item.source}" is not set',
                place=stack.places(section, item.source, "environment"),
                hint="set it in the environment or in .env",
            )
    return list(errors.values())


def _refused(stack: Stack, wanted: Mapping[str, Service]) -> list[StackFileError]:
    """An error for all of the services, and of what they use, that the engine cannot do."""
    used = {("services", name) for name in wanted}
    for service in wanted.values():
        used |= {("networks", key) for key in service.networks}
        used |= {("volumes", m.source) for m in service.volumes if m.type == "volume" and m.source}
    used |= {(section, item.source) for section, item, _ in files_of(stack, wanted.values())}
    if stack.all_resources:
        used |= {("networks", key) for key in stack.networks}
        used |= {("volumes", key) for key in stack.volumes}
    return [e for holder, errors in stack.refusals.items() if holder in used for e in errors]


def _overlap(one: str, other: str) -> bool:
    """Whether two host addresses cannot both hold a port; "" is every address."""
    if one == other or not one or not other:
        return True
    same_family = (":" in one) == (":" in other)
    return same_family and ("0.0.0.0" in (one, other) or "::" in (one, other))
