"""Which services of a stack exist: profiles, and services that are named.

A service without profiles always exists. Naming a service activates its
profiles. Dependencies are not enabled by that (see `obstacles`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from stackctl.errors import NotFound
from stackctl.spec.mistakes import did_you_mean
from stackctl.spec.model import Service, Stack

_ALL = "*"


def is_enabled(service: Service, profiles: Sequence[str]) -> bool:
    """An empty name, maybe of a variable that is not set, is that of no profile at all."""
    active = profiles or ("",)
    return not service.profiles or _ALL in active or not set(service.profiles).isdisjoint(active)


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
