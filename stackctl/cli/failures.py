"""The border between exceptions and exit codes: whatever happens ends in words and a number."""

from __future__ import annotations

import errno
import os
import sys

from stackctl.cli.output.console import Console
from stackctl.cli.output.errors import print_error
from stackctl.errors import InternalError, MachineError, StackctlError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


class exit_code_of:
    """Its `code` is from the exception that the block raised, if any. (What `contextlib`
    imports would cost every command some milliseconds.)"""

    def __init__(
        self, console: Console, environment: Mapping[str, str], arguments: Sequence[str]
    ) -> None:
        self._console = console
        self._environment = environment
        self._arguments = arguments
        self.code = 0

    def __enter__(self) -> exit_code_of:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if error is not None:
            try:
                self.code = self._code_of(error)
            except BrokenPipeError:
                _silence()
                self.code = BROKEN_PIPE
            except OSError as full:
                self.code = self._code_of(full)
        return isinstance(error, Exception | KeyboardInterrupt | None)

    def _code_of(self, error: BaseException) -> int:
        match error:
            case StackctlError():
                return _failed(self._console, error)
            case Leave():
                return error.code
            case Terminated():
                return TERMINATED
            case KeyboardInterrupt():
                return INTERRUPTED
            case BrokenPipeError():
                _silence()
                return BROKEN_PIPE
            case OSError(errno=number) if number in _OUTPUT_ERRORS:
                _silence()
                lost = MachineError(f"cannot write the output: {error.strerror}")
                print_error(self._console, lost)
                return 1
            case Exception():
                return _unexpected(self._console, self._environment, self._arguments, error)
        return 0


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
