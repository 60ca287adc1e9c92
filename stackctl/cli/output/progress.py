"""How `up`, `down` and their like show what happens, for a terminal or for a log.

Lines for a log: one a completed action, with the time it took. A live view for a
terminal: one row a container, redrawn in place. Drawn by hand: importing a
library for it would cost more than most of these commands take.
"""

from __future__ import annotations

import time

from stackctl.cli.output.board import Board, Milestone, Phase, Row
from stackctl.cli.output.console import BOLD, DIM, GREEN, RED, YELLOW, Console, paint
from stackctl.cli.output.display import Display, Message
from stackctl.cli.output.live import FRAME, Clock, Live
from stackctl.cli.output.text import cut, display_width, pad, seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol
else:
    Protocol = object  # as in display.py


class Progress(Display, Protocol):
    """Shows messages of kind plan, step and status; others are ignored."""

    board: Board


class QuietProgress:
    """Keeps the board, shows nothing."""

    pace: float | None = None

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self.board = Board()
        self._clock = clock

    def show(self, message: Message) -> None:
        self.board.apply(message, self._clock())

    def above(self, write: Callable[[], None]) -> None:
        write()

    def tick(self) -> None: ...
    def close(self) -> None: ...


class PlainProgress:
    """`db-1        started (0.03 s)`: a line for each thing that is done."""

    pace: float | None = None

    def __init__(self, console: Console, clock: Clock = time.monotonic) -> None:
        self.board = Board()
        self._console = console
        self._clock = clock

    def show(self, message: Message) -> None:
        milestone = self.board.apply(message, self._clock())
        if milestone is not None:
            self._console.flush()
            self._console.err(self._line(milestone))

    def _line(self, milestone: Milestone) -> str:
        # Wide enough for the names of a usual stack, so that the lines of several commands align.
        name = pad(milestone.label, max(self.board.label_width, 10))
        text = milestone.text
        match milestone.phase:
            case Phase.FAILED:
                text = self._console.paint_err(text, RED)
            case Phase.SKIPPED:
                text = self._console.paint_err(text, YELLOW)
        return f"{name}  {text}"

    def above(self, write: Callable[[], None]) -> None:
        write()

    def tick(self) -> None: ...
    def close(self) -> None: ...


_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_MARKS = {Phase.DONE: "✔", Phase.FAILED: "✘", Phase.SKIPPED: "-", Phase.PENDING: "·"}
_SPINNER_ASCII = "|/-\\"
_MARKS_ASCII = {Phase.DONE: "+", Phase.FAILED: "x", Phase.SKIPPED: "-", Phase.PENDING: "."}
_COLOURS = {
    Phase.DONE: GREEN,
    Phase.FAILED: RED,
    Phase.SKIPPED: YELLOW,
    Phase.PENDING: DIM,
    Phase.RUNNING: YELLOW,
}


class LiveProgress(Live):
    """Rows that are redrawn in place on standard error."""

    def __init__(self, console: Console, title: str, clock: Clock = time.monotonic) -> None:
        super().__init__(console, clock)
        self.board = Board()
        self._title = title

    @property
    def empty(self) -> bool:
        return not self.board.rows

    def show(self, message: Message) -> None:
        self.board.apply(message, self._clock())
        if message.get("type") == "plan" or self.due():
            self.tick()

    def frame(self, width: int, height: int | None) -> list[tuple[str, int]]:
        """Lines (with escapes) and the columns each takes; at most `height` - 1 of them."""
        now = self._clock()
        done, total = self.board.counts()
        head = cut(f"{self._title} {done}/{total}  {seconds(now - self._began)}", width)
        lines = [(self._console.paint_err(head, BOLD), display_width(head))]
        rows = list(self.board.rows.values())
        hidden = 0
        if height is not None and len(rows) > (room := max(height - 3, 1)):
            rows, hidden = _most_interesting(rows, room)
        lines += [self._row(row, width, now) for row in rows]
        if hidden:
            more = cut(f"   ... and {hidden} more", width)
            lines.append((self._console.paint_err(more, DIM), display_width(more)))
        return lines

    def _row(self, row: Row, width: int, now: float) -> tuple[str, int]:
        waits = row.phase is Phase.RUNNING and not row.busy
        mark, colour = self._mark(row, now), DIM if waits else _COLOURS[row.phase]
        # A third of a narrow terminal belongs to what is happening.
        name_width = min(self.board.label_width, max(width * 2 // 3 - 4, 6))
        name = pad(cut(row.label, name_width), name_width)
        text = self.board.text(row)
        clock = self._clock_of(row, now, text)
        room = width - 3 - name_width - 2
        if clock and display_width(text) + 2 + len(clock) > room:
            clock = ""  # what it does matters more than for how long
        text = cut(text, room - (len(clock) + 2 if clock else 0))
        used = 3 + name_width + 2 + display_width(text) + (len(clock) + 2 if clock else 0)
        if not self._console.colour_err:
            return f" {mark} {name}  {text}{'  ' + clock if clock else ''}".rstrip(), used
        tail = "  " + paint(clock, DIM) if clock else ""
        shown = paint(text, colour)
        return f" {paint(mark, colour)} {name}  {shown}{tail}", used

    def _clock_of(self, row: Row, now: float, text: str) -> str:
        if text.endswith(" s") or row.since is None:
            return ""
        return seconds(row.elapsed if row.phase.is_final else now - row.since)

    def _mark(self, row: Row, now: float) -> str:
        if row.phase is Phase.RUNNING and row.busy:
            glyphs = _SPINNER if self._console.unicode else _SPINNER_ASCII
            return glyphs[int((now - self._began) / FRAME) % len(glyphs)]
        # Between two steps it waits for others, as at the beginning.
        phase = Phase.PENDING if row.phase is Phase.RUNNING else row.phase
        return (_MARKS if self._console.unicode else _MARKS_ASCII)[phase]


def _most_interesting(rows: list[Row], room: int) -> tuple[list[Row], int]:
    """The rows to show when not all fit: trouble, then work, then what waits, in plan order."""
    rank = {
        Phase.FAILED: 0,
        Phase.RUNNING: 1,
        Phase.SKIPPED: 2,
        Phase.PENDING: 3,
        Phase.DONE: 4,
    }
    best = sorted(range(len(rows)), key=lambda i: (rank[rows[i].phase], i))[:room]
    return [rows[i] for i in sorted(best)], len(rows) - len(best)
