"""Published ports as people read them: "8000-8010" for many in a row."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable
    from typing import TypeVar

    Where = TypeVar("Where", bound=Hashable)


def port_runs(ports: Iterable[tuple[Where, int, int]]) -> list[tuple[Where, str, str]]:
    """(where, host port, container's port) of each -> the same with runs of ports as "8000-8010".

    A run is of ports with one `where`, whose numbers go up together.
    """
    numbers: dict[Where, list[tuple[int, int]]] = {}
    for where, outside, inside in ports:
        numbers.setdefault(where, []).append((outside, inside))
    found = []
    for where, pairs in numbers.items():
        runs: list[list[tuple[int, int]]] = []
        for outside, inside in sorted(set(pairs)):
            if runs and runs[-1][-1] == (outside - 1, inside - 1):
                runs[-1].append((outside, inside))
            else:
                runs.append([(outside, inside)])
        for run in runs:
            (outside, inside), (last_outside, last_inside) = run[0], run[-1]
            found.append((where, _span(outside, last_outside), _span(inside, last_inside)))
    return found


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
