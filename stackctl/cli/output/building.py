"""How a build reads: plain lines with numbers for a log, a tree of steps for a terminal.

#3 [build 2/4] RUN make        #3 0.214 cc -o app app.c        #3 DONE 1.2s
"""

from __future__ import annotations

from stackctl.cli.output.console import BOLD, CYAN, GREEN, RED, YELLOW, Console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from stackctl.cli.output.display import Message
    from stackctl.cli.output.live import Clock


class BuildProgress:
    """Shows nothing; the others show messages of type vertex and vertex-log."""

    pace: float | None = None

    def __init__(self, console: Console, clock: Clock) -> None:
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
