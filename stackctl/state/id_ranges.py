"""Which 65536 host ids a container's user namespace gets.

The ranges lie where nobody else's do: above what systemd-nspawn and useradd's
sub-ids take by default, below 2^31, where some programs see negative numbers
(systemd.io/UIDS-GIDS). Ranges of /etc/subuid and /etc/subgid are avoided all
the same. Two engines on one machine begin at different places. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from stackctl.errors import MachineError

SIZE = 65536
FIRST = 0x7000_0000
END = 0x7FFE_0000
_COUNT = (END - FIRST) // SIZE


class IdRanges:
    """Hands out ranges in turn: a range just freed is the last to come again."""

    def __init__(self, tag: str, foreign: Iterable[tuple[int, int]] = ()) -> None:
        """`tag` is hexadecimal (Paths.tag); `foreign` are ranges (first, end) to keep out of."""
        self._next = int(tag, 16) % _COUNT
        self._foreign = tuple(foreign)
        #: Given to a caller whose record is not saved yet.
        self._promised: set[int] = set()

    def allocate(self, used: Iterable[int]) -> int:
        """First id of a free range. `used` are the bases in records. Raises MachineError."""
        self._promised.difference_update(used_set := frozenset(used))
        taken = used_set | self._promised
        for step in range(_COUNT):
            index = (self._next + step) % _COUNT
            base = FIRST + index * SIZE
            if base not in taken and not self._is_foreign(base):
                self._next = index + 1
                self._promised.add(base)
                return base
        raise MachineError(
            f"all {_COUNT} ranges of user ids for containers are taken",
            hint="remove containers that are not needed (stackctl ls --all)",
        )

    def release(self, base: int) -> None:
        """Gives back a range that never came into a record."""
        self._promised.discard(base)

    def _is_foreign(self, base: int) -> bool:
        return any(first < base + SIZE and base < end for first, end in self._foreign)


_LINE = re.compile(r"[^:#]+:([0-9]{1,10}):([0-9]{1,10})\s*")


def subordinate_ranges(text: str) -> tuple[tuple[int, int], ...]:
    """(first, end) of each line of a subuid(5) or subgid(5) file; others are passed over."""
    found = (_LINE.fullmatch(line) for line in text.splitlines())
    return tuple((int(m[1]), int(m[1]) + int(m[2])) for m in found if m)


def read_subordinate_ranges(
    files: Iterable[Path] = (Path("/etc/subuid"), Path("/etc/subgid")),
) -> tuple[tuple[int, int], ...]:
    """Of all the files that exist."""
    ranges: list[tuple[int, int]] = []
    for file in files:
        try:
            ranges += subordinate_ranges(file.read_text(errors="replace"))
        except OSError:
            continue
    return tuple(ranges)
