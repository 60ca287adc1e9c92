"""How a build reads: plain lines with numbers for a log, a tree of steps for a terminal.

#3 [build 2/4] RUN make        #3 0.214 cc -o app app.c        #3 DONE 1.2s
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stackctl.cli.output.board import Board
from stackctl.cli.output.console import BOLD, CYAN, DIM, GREEN, RED, YELLOW, Console
from stackctl.cli.output.text import cut, display_width

Message = Mapping[str, Any]
Clock = Callable[[], float]

_FRAME = 0.1
#: Lines of a running step's output below it.
_TAIL = 6


def choose(console: Console, mode: str, clock: Clock = time.monotonic) -> BuildProgress:
    """The display for --progress auto|tty|plain|quiet."""
    if mode == "quiet":
        return BuildProgress(console, clock)
    if mode == "tty" or (mode == "auto" and console.can_redraw):
        return LiveBuild(console, clock)
    return PlainBuild(console, clock)


class BuildProgress:
    """Shows nothing; the others show messages of type vertex and vertex-log."""

    pace: float | None = None

    def __init__(self, console: Console, clock: Clock) -> None:
        self.board = Board()
        self._console = console
        self._clock = clock

    def show(self, message: Message) -> None: ...

    def above(self, write: Callable[[], None]) -> None:
        write()

    def tick(self) -> None: ...
    def close(self) -> None: ...


class PlainBuild(BuildProgress):
    """A line for each thing that happens, numbered by step: steps run beside each other."""

    def __init__(self, console: Console, clock: Clock) -> None:
        super().__init__(console, clock)
        self._began: dict[int, float] = {}
        self._partial: dict[int, str] = {}

    def show(self, message: Message) -> None:
        number = int(message.get("number") or 0)
        match message["type"]:
            case "vertex":
                self._vertex(number, message)
            case "vertex-log":
                *lines, rest = (self._partial.get(number, "") + message["text"]).split("\n")
                self._partial[number] = rest
                for line in lines:
                    self._log(number, line)

    def _vertex(self, number: int, message: Message) -> None:
        state = message["state"]
        if state == "running":
            self._began[number] = self._clock()
            self._console.err(f"#{number} {self._console.paint_err(message['name'], BOLD)}")
            return
        if rest := self._partial.pop(number, ""):
            self._log(number, rest)
        took = f"{message['elapsed']:.1f}s"
        words = {
            "cached": self._console.paint_err("CACHED", CYAN),
            "done": self._console.paint_err(f"DONE {took}", GREEN),
            "failed": self._console.paint_err(f"ERROR {took}", RED),
            "canceled": self._console.paint_err("CANCELED", YELLOW),
        }
        self._console.err(f"#{number} {words.get(state, state)}")

    def _log(self, number: int, line: str) -> None:
        since = self._clock() - self._began.get(number, self._clock())
        text = line.rstrip("\r").rpartition("\r")[2]
        self._console.err(f"#{number} {since:.3f} {text}".rstrip())


@dataclass(slots=True)
class _Step:
    name: str
    state: str
    since: float
    elapsed: float = 0.0
    partial: str = ""
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=_TAIL))


class LiveBuild(BuildProgress):
    """Steps that are redrawn in place; what a running one says below it."""

    pace = _FRAME

    def __init__(self, console: Console, clock: Clock) -> None:
        super().__init__(console, clock)
        self._steps: dict[int, _Step] = {}
        self._began = clock()
        self._last = -1.0
        self._drawn: list[int] = []
        self._closed = False

    def show(self, message: Message) -> None:
        number, now = int(message.get("number") or 0), self._clock()
        match message["type"]:
            case "vertex":
                step = self._steps.setdefault(number, _Step(message["name"], "", now))
                step.state, step.elapsed = message["state"], message["elapsed"]
            case "vertex-log" if number in self._steps:
                step = self._steps[number]
                *lines, step.partial = (step.partial + message["text"]).split("\n")
                step.tail.extend(line.rstrip("\r").rpartition("\r")[2] for line in lines)
        if now - self._last >= _FRAME / 3:
            self.tick()

    def tick(self) -> None:
        if self._steps and not self._closed:
            self._draw(final=False)

    def above(self, write: Callable[[], None]) -> None:
        self._console.stderr.write(self._erase())
        self._drawn = []
        write()
        self.tick()

    def close(self) -> None:
        if self._closed:
            return
        if self._steps:
            self._draw(final=True)
        self._closed = True
        self._console.stderr.write("\x1b[?25h")
        self._console.stderr.flush()

    def _draw(self, *, final: bool) -> None:
        width, height = self._console.err_size()
        lines = self.frame(width, None if final else height)
        body = "".join(f"{line}\x1b[K\n" for line, _ in lines)
        self._console.stderr.write(f"\x1b[?25l{self._erase(width)}{body}")
        self._console.stderr.flush()
        self._drawn = [used for _, used in lines]
        self._last = self._clock()

    def _erase(self, width: int | None = None) -> str:
        if not self._drawn:
            return ""
        width = width or self._console.err_size()[0]
        rows = sum(max(1, -(-used // width)) for used in self._drawn)
        return f"\r\x1b[{rows}A\x1b[J"

    def frame(self, width: int, height: int | None) -> list[tuple[str, int]]:
        """Lines (with escapes) and the columns each takes; at most `height` - 1 of them."""
        now = self._clock()
        over = sum(s.state != "running" for s in self._steps.values())
        head = f"building {over}/{len(self._steps)}  {now - self._began:.1f}s"
        lines = [(self._console.paint_err(cut(head, width), BOLD), display_width(head))]
        for step in self._steps.values():
            lines.append(self._row(step, width, now))
            if step.state == "running" and height is not None:
                for text in step.tail:
                    shown = cut(f"    {text}", width)
                    lines.append((self._console.paint_err(shown, DIM), display_width(shown)))
        if height is not None and len(lines) > height - 1:
            lines = [lines[0], *lines[-(max(height - 2, 1)) :]]
        return lines

    def _row(self, step: _Step, width: int, now: float) -> tuple[str, int]:
        running = step.state == "running"
        took = (
            "cached"
            if step.state == "cached"
            else (f"{now - step.since if running else step.elapsed:.1f}s")
        )
        colour = {"cached": CYAN, "done": GREEN, "failed": RED, "canceled": YELLOW}.get(
            step.state, YELLOW
        )
        mark = {"failed": "x", "canceled": "-"}.get(step.state, ">")
        name = cut(step.name, max(width - len(took) - 6, 10))
        gap = max(width - display_width(name) - len(took) - 5, 1)
        used = display_width(name) + len(took) + 4 + gap
        return f" {self._console.paint_err(mark, colour)} {name}{' ' * gap}{took}", used
