"""The two streams we print to, and what they can show.

Colour is decided once a stream: --ansi never|always|auto, NO_COLOR, TERM=dumb,
and whether the stream is a terminal. Nothing here knows about engines.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

RESET = "\x1b[0m"
BOLD = "1"
DIM = "2"
RED = "31"
GREEN = "32"
YELLOW = "33"
CYAN = "36"

#: Colours of log prefixes, in the order in which services get them. No red: it means failure.
PALETTE = ("36", "33", "32", "35", "34", "96", "93", "92", "95", "94")


class Console:
    """Standard output and error with their abilities.

    `ansi` is never, always or auto. Widths are asked for at each call: a
    terminal may be resized.
    """

    def __init__(
        self,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
        *,
        ansi: str = "auto",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._ansi = ansi
        self.stdout = sys.stdout if stdout is None else stdout
        self.stderr = sys.stderr if stderr is None else stderr
        self.environment = os.environ if environment is None else environment
        self.out_is_terminal = _is_terminal(self.stdout)
        self.err_is_terminal = _is_terminal(self.stderr)
        self.colour_out = _wants_colour(ansi, self.environment, self.out_is_terminal)
        self.colour_err = _wants_colour(ansi, self.environment, self.err_is_terminal)
        #: Errors and warnings are JSON, too (--progress json).
        self.tells_json = False
        self.unicode = "utf" in (getattr(self.stderr, "encoding", None) or "ascii").lower()
        # A cursor that can be moved: a dumb terminal scrolls only.
        self.can_redraw = (
            self.err_is_terminal
            and ansi != "never"
            and self.environment.get("TERM", "dumb") != "dumb"
        )

    def for_status(self) -> Console:
        """Where it is shown what is done: standard error; with COMPOSE_STATUS_STDOUT a console
        that has standard output in its place."""
        # Reading settings costs an import: most say nothing.
        if not any(name.endswith("_STATUS_STDOUT") for name in self.environment):
            return self
        from stackctl.spec.project import is_true, setting

        if not is_true(setting(self.environment, "STATUS_STDOUT")):
            return self
        return Console(self.stdout, self.stdout, ansi=self._ansi, environment=self.environment)

    def out(self, line: str = "") -> None:
        """A line on standard output."""
        self.stdout.write(line + "\n")

    def err(self, line: str = "") -> None:
        """A line on standard error, seen at once."""
        self.stderr.write(line + "\n")
        self.stderr.flush()

    def say(self, sentence: str) -> None:
        """A sentence for people on standard error; for programs the text of an object."""
        if self.tells_json:
            import json

            sentence = json.dumps({"text": sentence})
        self.err(sentence)

    def flush(self) -> None:
        self.stdout.flush()

    def paint_out(self, text: str, *codes: str) -> str:
        return paint(text, *codes) if self.colour_out else text

    def paint_err(self, text: str, *codes: str) -> str:
        return paint(text, *codes) if self.colour_err else text

    def out_width(self) -> int | None:
        """Columns of standard output; None when it is no terminal (nothing is cut then)."""
        return _size(self.stdout)[0] if self.out_is_terminal else None

    def err_size(self) -> tuple[int, int]:
        """Columns and rows of standard error's terminal."""
        return _size(self.stderr)


def paint(text: str, *codes: str) -> str:
    """The text in these SGR codes."""
    return f"\x1b[{';'.join(codes)}m{text}{RESET}" if codes else text


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def _wants_colour(ansi: str, environment: Mapping[str, str], terminal: bool) -> bool:
    if ansi != "auto":
        return ansi == "always"
    # https://no-color.org: present and not empty.
    if environment.get("NO_COLOR") or environment.get("TERM") == "dumb":
        return False
    return terminal


def _size(stream: TextIO) -> tuple[int, int]:
    try:
        columns, rows = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return 80, 24
    # A pseudo terminal that nobody sized says 0 x 0.
    return columns or 80, rows or 24
