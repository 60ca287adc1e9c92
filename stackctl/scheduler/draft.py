"""A plan while it is being written: numbers are given in the order of adding."""

from __future__ import annotations

from collections.abc import Iterable

from stackctl.scheduler.differences import Change
from stackctl.scheduler.ops import Op, Plan, Step


class Draft:
    """Collects steps.

    A step can only wait for steps that were added before it, so a finished plan
    is in a valid order and free of cycles by construction.
    """

    def __init__(self, project: str) -> None:
        self._project = project
        self._steps: list[Step] = []

    def add(
        self,
        op: Op,
        cause: str,
        *,
        after: Iterable[int] = (),
        service: str = "",
        tolerates: Iterable[int] = (),
        optional: bool = False,
        loses: Iterable[str] = (),
        changes: Iterable[Change] = (),
    ) -> int:
        """Appends a step and gives its number. `tolerates` counts as `after` too."""
        number = len(self._steps) + 1
        tolerated = frozenset(tolerates)
        waits = frozenset(after).union(tolerated)
        assert max(waits, default=0) < number
        step = Step(
            number=number,
            op=op,
            cause=cause,
            after=waits,
            service=service,
            tolerates=tolerated,
            optional=optional,
            loses=tuple(loses),
            changes=tuple(changes),
        )
        self._steps.append(step)
        return number

    def plan(self) -> Plan:
        return Plan(project=self._project, steps=tuple(self._steps))
