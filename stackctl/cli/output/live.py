"""A display that is redrawn in place on standard error: the frame, not what is in it.

A frame is written in one go. Before the next one the cursor goes back to the frame's
first line, counted with the width the terminal has by then: a terminal that was
made narrower has wrapped what we wrote.
"""

from __future__ import annotations

from stackctl.cli.output.console import Console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

Clock: TypeAlias = "Callable[[], float]"
#: A line with its escapes, and the columns that it takes.
Line = tuple[str, int]

#: How often a live view is redrawn when nothing happens: the spinner's pace, in seconds.
FRAME = 0.1


class Live:
    """Those who inherit say what there is to see: `empty` and `frame`."""

    pace: float | None = FRAME

    def __init__(self, console: Console, clock: Clock) -> None:
        self._console = console
        self._clock = clock
        self._began = clock()
        self._drawn: list[int] = []  # widths of the lines of the last frame
        self._last = -1.0
        self._closed = False

    @property
    def empty(self) -> bool:
        raise NotImplementedError

    def frame(self, width: int, height: int | None) -> list[Line]:
        """At most `height` - 1 lines; None: all that there is, for the last time."""
        raise NotImplementedError

    def due(self) -> bool:
        """A burst of messages must not become a burst of frames."""
        return self._clock() - self._last >= FRAME / 3

    def tick(self) -> None:
        if not self._closed and not self.empty:
            self._draw(final=False)

    def above(self, write: Callable[[], None]) -> None:
        """Let `write` print lines that are not part of the display."""
        if self._closed or not self._drawn:
            write()
            return
        self._console.stderr.write(self._erase())
        self._console.stderr.flush()
        self._drawn = []
        write()
        self._console.flush()
        self._draw(final=False)

    def close(self) -> None:
        """Leave the last state on the screen; may be called twice."""
        if self._closed:
            return
        self._closed = True
        if not self.empty:
            self._draw(final=True)
        if self._last >= 0:
            self._console.stderr.write("\x1b[?25h")
            self._console.stderr.flush()

    def _draw(self, *, final: bool) -> None:
        width, height = self._console.err_size()
        lines = self.frame(width, None if final else height)
        first = "\x1b[?25l" if self._last < 0 else ""
        body = "".join(f"{line}\x1b[K\n" for line, _ in lines)
        self._console.stderr.write(f"{first}{self._erase(width)}{body}")
        self._console.stderr.flush()
        self._drawn = [used for _, used in lines]
        self._last = self._clock()

    def _erase(self, width: int | None = None) -> str:
        """Back to the first line of the last frame, everything below it gone."""
        if not self._drawn:
            return ""
        width = width or self._console.err_size()[0]
        rows = sum(max(1, -(-used // width)) for used in self._drawn)
        return f"\r\x1b[{rows}A\x1b[J"
