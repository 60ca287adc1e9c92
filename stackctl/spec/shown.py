"""What `config` shows of a stack: for the daemon, and for the CLI where no engine runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from stackctl.spec import profiles
from stackctl.spec.dump import as_data, as_text
from stackctl.spec.model import Stack


def shown(stack: Stack, format: str, services: Sequence[str] = ()) -> dict[str, Any]:
    """`text` (yaml or json) and the names of each kind, in the file's order.

    Of `services` with what they depend on, of all when none is named. Raises
    NotFound for a service that does not exist, StackFileErrors when one that is enabled needs
    one that is not.
    """
    stack = profiles.enable(stack, services)
    if services:
        stack = _only(stack, services)
    profiles.check(stack)
    return {
        "text": as_text(stack, format),
        "services": list(stack.services),
        "volumes": list(stack.volumes),
        "networks": list(as_data(stack).get("networks", {})),
        "images": sorted({s.image for s in stack.services.values() if s.image}),
        "profiles": sorted({p for s in stack.services.values() for p in s.profiles}),
    }


def _only(stack: Stack, services: Sequence[str]) -> Stack:
    wanted: set[str] = set()
    found = list(services)
    while found:
        name = found.pop()
        if name not in wanted and name in stack.services:
            wanted.add(name)
            found.extend(stack.services[name].depends_on)
    chosen = {name: s for name, s in stack.services.items() if name in wanted}
    return dataclasses.replace(stack, services=chosen)
