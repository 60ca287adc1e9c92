"""A build on a terminal: a tree of images and their steps, below a running one what it says."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from stackctl.cli.output.console import BOLD, CYAN, DIM, GREEN, RED, YELLOW, Console
from stackctl.cli.output.display import Message
from stackctl.cli.output.live import Clock, Line, Live
from stackctl.cli.output.text import cut, display_width, seconds

#: Lines of a running step's output below it.
_TAIL = 6
_COLOURS = {"cached": CYAN, "done": GREEN, "failed": RED, "canceled": YELLOW, "running": YELLOW}
_MARKS = {"cached": "✔", "done": "✔", "failed": "✘", "canceled": "-", "running": "▸"}
_MARKS_ASCII = {"cached": "+", "done": "+", "failed": "x", "canceled": "-", "running": ">"}


@dataclass(slots=True)
class _Step:
    name: str
    image: str
    since: float
    state: str = "running"
    elapsed: float = 0.0
    partial: str = ""
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=_TAIL))


class LiveBuild(Live):
    """Implements Display for messages of type vertex and vertex-log."""

    def __init__(self, console: Console, clock: Clock = time.monotonic) -> None:
        super().__init__(console, clock)
        self._steps: dict[int, _Step] = {}

    @property
    def empty(self) -> bool:
        return not self._steps

    def show(self, message: Message) -> None:
        number, now = int(message.get("number") or 0), self._clock()
        match message.get("type"):
            case "vertex":
                image = str(message.get("image") or "")
                step = self._steps.setdefault(number, _Step(message["name"], image, now))
                step.state, step.elapsed = message["state"], message["elapsed"]
            case "vertex-log" if number in self._steps:
                step = self._steps[number]
                *lines, step.partial = (step.partial + message["text"]).split("\n")
                step.tail.extend(line.rstrip("\r").rpartition("\r")[2] for line in lines)
        if self.due():
            self.tick()

    def frame(self, width: int, height: int | None) -> list[Line]:
        now = self._clock()
        over = sum(s.state != "running" for s in self._steps.values())
        head = cut(f"building {over}/{len(self._steps)}  {seconds(now - self._began)}", width)
        lines = [(self._console.paint_err(head, BOLD), display_width(head))]
        images = list(dict.fromkeys(step.image for step in self._steps.values()))
        shown, hidden = self._chosen(height, len(images))
        for image in images:
            indent = 0
            if len(images) > 1:
                text = cut(f" {image}", width)
                lines.append((self._console.paint_err(text, BOLD), display_width(text)))
                indent = 2
            for step, tail in shown:
                if step.image == image:
                    lines.append(self._row(step, width, now, indent))
                    for said in tail:
                        text = cut(f"{' ' * indent}     {said}", width)
                        lines.append((self._console.paint_err(text, DIM), display_width(text)))
        if hidden:
            text = cut(f"   ... and {hidden} that are over", width)
            lines.append((self._console.paint_err(text, DIM), display_width(text)))
        return lines if height is None else lines[: max(height - 1, 1)]

    def _chosen(self, height: int | None, images: int) -> tuple[list[tuple[_Step, list[str]]], int]:
        """Steps with what they say, and how many are left out: what is over goes first."""
        steps = list(self._steps.values())
        if height is None:
            return [(step, []) for step in steps], 0
        running = [step for step in steps if step.state == "running"]
        room = max(height - 3 - (images if images > 1 else 0), 1)
        each = max(min(_TAIL, (room - len(running)) // max(len(running), 1)), 0)
        tails = {id(step): list(step.tail)[-each:] if each else [] for step in running}
        left = room - len(running) - sum(map(len, tails.values()))
        over = [step for step in steps if step.state != "running"]
        over.sort(key=lambda step: step.state == "failed")
        kept = {id(step) for step in over[max(len(over) - max(left, 0), 0) :]}
        shown = [s for s in steps if s.state == "running" or id(s) in kept]
        return [(step, tails.get(id(step), [])) for step in shown], len(steps) - len(shown)

    def _row(self, step: _Step, width: int, now: float, indent: int) -> Line:
        took = "cached"
        if step.state != "cached":
            took = seconds(now - step.since if step.state == "running" else step.elapsed)
        marks = _MARKS if self._console.unicode else _MARKS_ASCII
        mark = self._console.paint_err(marks.get(step.state, "?"), _COLOURS.get(step.state, YELLOW))
        name = cut(step.name, max(width - len(took) - 6 - indent, 10))
        gap = max(width - display_width(name) - len(took) - 5 - indent, 1)
        used = display_width(name) + len(took) + 3 + gap + indent
        return f"{' ' * indent} {mark} {name}{' ' * gap}{took}", used
