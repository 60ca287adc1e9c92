"""Log lines of several containers in one stream: aligned, coloured prefixes."""

from __future__ import annotations

import time

from stackctl.cli.output.console import DIM, PALETTE, Console, paint
from stackctl.cli.output.text import pad, replica_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


class LogPrinter:
    """Prints `log` messages: `db-1  | text`.

    `names` are the replicas known beforehand, so that the first line is aligned
    already; a longer name that comes later widens the prefix from there on.
    With `split` lines from stderr go to stderr (`up`), else all to stdout (`logs`).
    """

    def __init__(
        self,
        console: Console,
        *,
        names: Iterable[str] = (),
        services: Iterable[str] = (),
        project: str = "",
        prefix: bool = True,
        timestamps: bool = False,
        colour: bool = True,
        split: bool = False,
    ) -> None:
        self._console = console
        self._prefix = prefix
        self._timestamps = timestamps
        self._colour = colour
        self._split = split
        self.project = project
        self._width = 0
        self._colours: dict[str, str] = {}
        self.expect(names, services)

    def expect(self, names: Iterable[str], services: Iterable[str]) -> None:
        """Replicas and services that will write: sets the width and hands out colours."""
        self._width = max([self._width, *(len(name) for name in names)])
        for service in sorted(services):
            self._colours.setdefault(service, PALETTE[len(self._colours) % len(PALETTE)])

    def name(self, message: dict[str, Any]) -> str:
        return replica_name(
            str(message.get("container", "")),
            str(message.get("service", "")),
            self.project,
        )

    def line(self, message: dict[str, Any]) -> tuple[str, bool]:
        """The finished line (no newline) and whether it belongs on stderr."""
        to_err = self._split and message.get("stream") == "stderr"
        colour = self._colour and (self._console.colour_err if to_err else self._console.colour_out)
        parts = []
        if self._prefix:
            name = self.name(message)
            service = str(message.get("service") or name)
            self.expect((name,), (service,))
            prefix = f"{pad(name, self._width + 1)} | "
            parts.append(paint(prefix, self._colours[service]) if colour else prefix)
        if self._timestamps:
            stamp = timestamp(message.get("time")) + " "
            parts.append(paint(stamp, DIM) if colour else stamp)
        parts.append(str(message.get("line", "")).rstrip("\n"))
        return "".join(parts), to_err

    def print(self, message: dict[str, Any]) -> None:
        line, to_err = self.line(message)
        if to_err:
            self._console.flush()
            self._console.err(line)
        else:
            self._console.out(line)


def timestamp(value: object) -> str:
    """RFC 3339 in UTC; the engine sends such a text or Unix seconds."""
    if isinstance(value, int | float):
        from datetime import UTC, datetime

        return datetime.fromtimestamp(value, UTC).isoformat().replace("+00:00", "Z")
    return str(value or "")


def local_time(value: object) -> str:
    """`2025-11-23 21:40:00.123456` in the machine's zone, as compose prints events."""
    if isinstance(value, int | float):
        whole = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value))
        return f"{whole}.{int(value % 1 * 1e6):06d}"
    return str(value or "")
