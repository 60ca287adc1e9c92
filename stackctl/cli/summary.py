"""The last lines of `up -d`: how long it took and where things can be reached."""

from __future__ import annotations

from stackctl.cli.invocation import Invocation
from stackctl.cli.output.board import Board
from stackctl.cli.output.console import BOLD, Console
from stackctl.cli.output.containers import published
from stackctl.cli.output.text import cut, pad, plural, seconds
from stackctl.cli.rows import rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def print_summary(
    run: Invocation, board: Board, elapsed: float, say: Callable[[str], None]
) -> None:
    """After a successful `up`: one line, and one for each published port.

    Asks the engine for ports only when something was done: `up` with nothing to
    do has to be quick.
    """
    if not board.steps:
        say(f"{board.project + ': ' if board.project else ''}nothing to do ({seconds(elapsed)})")
        return
    containers = rows(run, "ps", run.named(board.project).body(services=[], all=False))
    alive = [row for row in containers if row.get("State") == "running"]
    console = run.console
    text = f"{board.project}: {plural(len(alive), 'container')} running after {seconds(elapsed)}"
    say(console.paint_err(text, BOLD))
    for line in port_lines(console, published(alive)):
        say(line)


def port_lines(console: Console, ports: list[tuple[str, str]]) -> list[str]:
    """Two columns, cut to the terminal if it is one."""
    width = max((len(name) for name, _ in ports), default=0)
    lines = [f"  {pad(name, width)}  {text}" for name, text in ports]
    if console.err_is_terminal:
        columns = console.err_size()[0]
        lines = [cut(line, columns) for line in lines]
    return lines
