"""Which services of a stack exist: profiles, and services that are named.

A service without profiles always exists. Naming a service activates its
profiles. Dependencies are not enabled by that: one that is required and
disabled is an error, as is a host port that two enabled services publish.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from stackctl.errors import NotFound, Place, StackFileError, StackFileErrors
from stackctl.spec import ports
from stackctl.spec.mistakes import did_you_mean
from stackctl.spec.model import Service, Stack

_ALL = "*"


def is_enabled(service: Service, profiles: Sequence[str]) -> bool:
    return (
        not service.profiles or _ALL in profiles or not set(service.profiles).isdisjoint(profiles)
    )


def check_names(names: Iterable[str], services: Iterable[str]) -> None:
    """Raises NotFound for a name that none of `services` has."""
    known = sorted(services)
    for name in names:
        if name not in known:
            raise NotFound(
                f'no service is called "{name}"',
                hint=did_you_mean(name, known) or f"there are: {', '.join(known)}",
            )


def enabled(
    services: Mapping[str, Service], profiles: Sequence[str], named: Sequence[str] = ()
) -> frozenset[str]:
    """Names of the services that exist when these profiles are active and these are named."""
    of_named = [p for name in named if name in services for p in services[name].profiles]
    return frozenset(n for n, s in services.items() if is_enabled(s, [*profiles, *of_named]))


def enable(stack: Stack, services: Sequence[str]) -> Stack:
    """The stack with the named services' profiles active too.

    Raises NotFound for a name that no service has.
    """
    every = {**stack.services, **stack.disabled}
    check_names(services, every)
    named = [p for name in services if name in stack.disabled for p in every[name].profiles]
    if not named:
        return stack
    profiles = tuple(dict.fromkeys((*stack.profiles, *named)))
    return dataclasses.replace(
        stack,
        services={n: s for n, s in every.items() if is_enabled(s, profiles)},
        disabled={n: s for n, s in every.items() if not is_enabled(s, profiles)},
        profiles=profiles,
    )


def check(stack: Stack) -> None:
    """Raises StackFileErrors when an enabled service needs one that is disabled."""
    if errors := _disabled_dependencies(stack):
        raise StackFileErrors(tuple(errors))


def _disabled_dependencies(stack: Stack) -> list[StackFileError]:
    errors = []
    for name, service in stack.services.items():
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


def port_clashes(stack: Stack) -> list[StackFileError]:
    """An error for each fixed host port that two enabled services publish."""
    holders: dict[tuple[str, int], list[tuple[str, str, Place | None]]] = {}
    errors = []
    for name, service in stack.services.items():
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


def _overlap(one: str, other: str) -> bool:
    """Whether two host addresses cannot both hold a port; "" is every address."""
    if one == other or not one or not other:
        return True
    same_family = (":" in one) == (":" in other)
    return same_family and ("0.0.0.0" in (one, other) or "::" in (one, other))
