"""How `watch` tells what it did: a line each, and the engine's own lines in between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stackctl.cli.output import chosen
from stackctl.cli.output.console import CYAN, RED, Console
from stackctl.cli.output.errors import place_text, print_warning
from stackctl.cli.output.progress import PlainProgress
from stackctl.cli.output.text import one_line

Message = Mapping[str, Any]


class WatchPrinter:
    """`watch  web: copied src/app.py` on standard error."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._steps = PlainProgress(console)
        self._build = chosen.build(console, "plain")

    def show(self, message: Message) -> None:
        match message["type"]:
            case "watch":
                self._said(message)
            case "warning":
                place = place_text(message.get("place"))
                print_warning(self._console, str(message.get("text", "")), place)
            case "plan":
                # Each rebuild and restart is a plan of its own.
                self._steps = PlainProgress(self._console)
                self._steps.show(message)
            case "step" | "status":
                self._steps.show(message)
            case _ if not self._quiet:
                self._build.show(message)

    def _said(self, message: Message) -> None:
        service = str(message.get("service") or "")
        text = one_line(str(message.get("text", "")))
        if message.get("failed"):
            text = self._console.paint_err(text, RED)
        head = self._console.paint_err("watch", CYAN)
        self._console.flush()
        self._console.err(f"{head}  {service + ': ' if service else ''}{text}")
