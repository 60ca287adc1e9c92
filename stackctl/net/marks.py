"""Numbers of interface groups: by them the kernel and our rules know the engine's bridges.

A rule compares one number, where a name would have to be looked up among all bridges'.
Engines beside each other have numbers of their own, made of their tags (6 hex digits).
"""

from __future__ import annotations

from stackctl.values import dataclass

#: What the two kinds of living bridges differ in.
_INTERNAL = 1 << 24


@dataclass(frozen=True, slots=True)
class Marks:
    """Interface groups (IFLA_GROUP) of one engine."""

    #: Bridges of networks that lead out, and of those that lead nowhere.
    open: int
    internal: int
    #: Interfaces that are about to be removed, all at once.
    doomed: int

    @property
    def mask(self) -> int:
        """Both kinds of living bridges have the number `open` in these bits."""
        return 0xFFFFFFFF & ~_INTERNAL

    def of(self, *, internal: bool) -> int:
        return self.internal if internal else self.open


def marks_of(tag: str) -> Marks:
    number = int(tag, 16)
    return Marks(0x5A000000 | number, 0x5A000000 | _INTERNAL | number, 0x5C000000 | number)
