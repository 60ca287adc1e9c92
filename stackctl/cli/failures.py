"""The border between exceptions and exit codes: whatever happens ends in words and a number."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from stackctl.cli.output.console import Console
from stackctl.cli.output.errors import print_error
from stackctl.errors import InternalError, MachineError, StackctlError

#: As a shell reports a death by SIGINT, SIGPIPE and SIGTERM.
INTERRUPTED = 130
BROKEN_PIPE = 141
TERMINATED = 143

#: A full disk or a broken one below a redirected output.
_OUTPUT_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)


class Terminated(KeyboardInterrupt):
    """SIGTERM: what Ctrl-C undoes (a hidden cursor, a raw terminal) is undone for it as well."""


class Leave(Exception):
    """The command ends here, and all has been said."""

    def __init__(self, code: int = 0) -> None:
        super().__init__(code)
        self.code = code


class Outcome:
    code = 0


@contextmanager
def exit_code_of(
    console: Console, environment: Mapping[str, str], arguments: Sequence[str]
) -> Iterator[Outcome]:
    """Sets `code` of what it yields from the exception that the block raised, if any."""
    outcome = Outcome()
    try:
        try:
            yield outcome
        except StackctlError as error:
            outcome.code = _failed(console, error)
        except Leave as leave:
            outcome.code = leave.code
    except Terminated:
        outcome.code = TERMINATED
    except KeyboardInterrupt:
        outcome.code = INTERRUPTED
    except BrokenPipeError:
        _silence()
        outcome.code = BROKEN_PIPE
    except OSError as error:
        if error.errno in _OUTPUT_ERRORS:
            _silence()
            print_error(console, MachineError(f"cannot write the output: {error.strerror}"))
            outcome.code = 1
        else:
            outcome.code = _unexpected(console, environment, arguments, error)
    except Exception as bug:
        outcome.code = _unexpected(console, environment, arguments, bug)


def _failed(console: Console, error: StackctlError) -> int:
    console.flush()
    print_error(console, error)
    return error.exit_code


def _silence() -> None:
    """Nobody reads any more: what is still buffered goes nowhere, without a word."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _unexpected(
    console: Console, environment: Mapping[str, str], arguments: Sequence[str], bug: Exception
) -> int:
    """A bug of ours: one line, and the trace where it can be found."""
    import tempfile
    import traceback

    trace = "".join(traceback.format_exception(bug))
    what = " ".join(f"{type(bug).__name__}: {bug}".split())
    if environment.get("STACKCTL_DEBUG"):
        console.err(trace.rstrip())
        hint = "this is a bug of stackctl: please report it with the trace above"
    else:
        try:
            descriptor, path = tempfile.mkstemp(prefix="stackctl-trace-", suffix=".txt")
            with open(descriptor, "w", encoding="utf-8", errors="replace") as file:
                # No arguments' values: they may hold secrets (-e PASSWORD=...).
                file.write(f"stackctl {arguments[0] if arguments else ''}\n{trace}")
            hint = f"this is a bug of stackctl: please report it with {path}"
        except OSError:
            hint = "this is a bug of stackctl; STACKCTL_DEBUG=1 shows where it is"
    return _failed(console, InternalError(f"internal error: {what}", hint=hint))
