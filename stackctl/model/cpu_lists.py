"""Lists of processors and memory nodes as the kernel writes them: 0-2,5 (cpuset(7)).

Only the ends of ranges are looked at: a few bytes may name a milliard of processors.
"""

from __future__ import annotations

import re

_PART = r"([0-9]{1,10})(?:-([0-9]{1,10}))?"

Ranges = tuple[tuple[int, int], ...]


def ranges(text: str) -> Ranges:
    """ "5,0-1,2" -> ((0, 2), (5, 5)): in order, neighbours as one. ValueError for what is none."""
    found: list[tuple[int, int]] = []
    for part in filter(None, text.strip().split(",")):
        match = re.fullmatch(_PART, part)
        if match is None:
            raise ValueError(f'"{part[:30]}" is neither a number nor a range such as 0-2')
        first = int(match[1])
        last = int(match[2] or first)
        if last < first:
            raise ValueError(f'the range "{part}" ends before it begins')
        found.append((first, last))
    merged: list[tuple[int, int]] = []
    for first, last in sorted(found):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)


def covers(here: Ranges, wanted: Ranges) -> bool:
    """Whether all of `wanted` is among `here`; both as `ranges` gives them."""
    return all(any(a <= first and last <= b for a, b in here) for first, last in wanted)
