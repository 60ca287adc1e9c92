"""Tables by hand: aligned columns, cut to the terminal, never cut elsewhere."""

from __future__ import annotations

from stackctl.cli.output.text import cut, display_width, one_line, pad
from stackctl.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

GAP = "   "
#: Below this a cut cell says nothing any more, so its column goes instead.
NARROWEST = 8


class Column(NamedTuple):
    """A heading, and when the column gives way on a narrow terminal.

    `yields` 0: never; otherwise the columns with the largest number shrink
    first, then go.
    """

    title: str
    yields: int = 0


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None = None
) -> list[str]:
    """Lines of the table, heading first; `width` None means as wide as it takes."""
    cells = [[one_line(cell) for cell in row] for row in rows]
    wanted = [
        max([display_width(c.title), *(display_width(row[i]) for row in cells)])
        for i, c in enumerate(columns)
    ]
    widths = wanted if width is None else _fitted(columns, wanted, width)
    lines = []
    for row in [[c.title for c in columns], *cells]:
        parts = [pad(cut(text, w), w) for text, w in zip(row, widths, strict=True) if w]
        # Programs tell columns apart by the blanks between them, also before an empty last one.
        parts[-1:] = [text.rstrip() for text in parts[-1:]]
        lines.append(GAP.join(parts))
    return lines


def _fitted(columns: Sequence[Column], wanted: Sequence[int], width: int) -> list[int]:
    """Widths of which the sum fits, if it can be; 0 leaves a column out."""
    widths = list(wanted)
    yielding = sorted(
        (i for i, c in enumerate(columns) if c.yields), key=lambda i: -columns[i].yields
    )
    for i in yielding:
        widths[i] = max(min(widths[i], NARROWEST), widths[i] - _excess(widths, width))
    for i in yielding:
        if _excess(widths, width) > 0:
            widths[i] = 0
    # What a column left may serve those that had shrunk: give it back in reverse order.
    for i in reversed(yielding):
        if widths[i]:
            widths[i] = min(wanted[i], widths[i] - min(0, _excess(widths, width)))
    return widths


def _excess(widths: Sequence[int], width: int) -> int:
    shown = [w for w in widths if w]
    return sum(shown) + len(GAP) * max(len(shown) - 1, 0) - width
