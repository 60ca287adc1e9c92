"""The `stackctl` command: from the words of a line to an exit code, and the way out.

`python -X importtime -m stackctl.cli.main ps` shows what a command costs before it
begins; a unit test holds the list of modules that the quick commands may import.
"""

from __future__ import annotations

import io
import os
import sys

from stackctl.cli import grammar
from stackctl.cli.connection import Connect, connect_to_engine
from stackctl.cli.failures import Terminated, exit_code_of
from stackctl.cli.invocation import Session, Started, begin
from stackctl.cli.later import import_later, import_now, load
from stackctl.cli.output.console import Console
from stackctl.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from signal import SIGTERM, signal
else:
    from _signal import SIGTERM, signal  # without the enumerations around them


def run(
    arguments: Sequence[str],
    *,
    console: Console | None = None,
    environment: Mapping[str, str] | None = None,
    connect: Connect = connect_to_engine,
) -> int:
    """Carry out a command line; the exit code. Prints errors, raises nothing."""
    environment = os.environ if environment is None else environment
    console = console or Console(environment=environment)
    session = Session(console=console, environment=environment, connect=connect)
    with exit_code_of(console, environment, arguments) as outcome:
        try:
            result = _carry_out(arguments or ["--help"], session)
        except UsageError as error:
            if error.exit_code == UsageError.exit_code and _command(arguments) == "plan":
                error.exit_code = 1  # its 2 means: there is something to do
            raise
        outcome.code = result if isinstance(result, int) else 0
        console.flush()
    return outcome.code


def _carry_out(arguments: Sequence[str], session: Session) -> object:
    """What the command returned. Typer is asked for help, and about mistakes."""
    if list(arguments) in (["--version"], ["-v"]):
        from stackctl import __version__

        session.console.out(f"stackctl {__version__}")
        return 0
    if arguments[0] == "help":
        arguments = [*arguments[1:], "--help"]
    line = grammar.parse(arguments)
    if line is None:
        import_now("typer")
        from stackctl.cli.application import interpret

        return interpret(arguments, session)
    import_later("typer", "stackctl.cli.options")
    module = load(f"stackctl.cli.commands.{line.module}")
    command = getattr(module, line.function)
    return command(Started(begin(session, **line.globals)), **line.arguments)


def _command(arguments: Sequence[str]) -> str:
    """The first word that is a command's, whatever is wrong before it."""
    from stackctl.cli.table import COMMANDS, GROUPS

    return next((word for word in arguments if word in COMMANDS or word in GROUPS), "")


def _terminate(*_: object) -> None:
    raise Terminated


def _open_standard_streams() -> None:
    """Closed ones lead nowhere: what is opened next would take their place, the engine's
    socket that of standard input."""
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free
            setattr(sys, name, os.fdopen(fd, mode, errors="replace"))


def main() -> None:
    """Entry point of the installed script."""
    signal(SIGTERM, _terminate)
    _open_standard_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A service may log anything; a locale may lack a letter.
        sys.stdout.reconfigure(errors="replace")
    code = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or 1  # nobody can be told
    # The interpreter's own tear-down takes longer than some commands.
    os._exit(code)


if __name__ == "__main__":
    main()
