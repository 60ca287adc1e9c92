"""Which display shows a verb's messages: --progress auto|tty|plain|json|quiet.

Each is loaded when somebody looks: a log needs nothing of what a terminal does.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stackctl.cli.output.console import Console
    from stackctl.cli.output.display import Display
    from stackctl.cli.output.live import Clock
    from stackctl.cli.output.progress import Progress


def progress(console: Console, mode: str, title: str, clock: Clock = time.monotonic) -> Progress:
    """For `up`, `down` and their like."""
    from stackctl.cli.output import progress

    console = console.for_status()
    if mode == "quiet":
        return progress.QuietProgress(clock)
    if mode == "json":
        from stackctl.cli.output.json_lines import JsonProgress

        return JsonProgress(console, clock)
    if mode == "tty" or (mode == "auto" and console.can_redraw):
        return progress.LiveProgress(console, title, clock)
    return progress.PlainProgress(console, clock)


def build(console: Console, mode: str, clock: Clock = time.monotonic) -> Display:
    """For builds."""
    from stackctl.cli.output import building

    console = console.for_status()
    if mode == "quiet":
        return building.BuildProgress(console, clock)
    if mode == "json":
        from stackctl.cli.output.json_lines import JsonBuild

        return JsonBuild(console, clock)
    if mode == "tty" or (mode == "auto" and console.can_redraw):
        from stackctl.cli.output.build_tree import LiveBuild

        return LiveBuild(console, clock)
    return building.PlainBuild(console, clock)
