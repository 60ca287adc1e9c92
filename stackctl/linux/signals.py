"""Signals without the standard library's enumerations (importing them costs the shim 4 ms)."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

SIGHUP, SIGINT, SIGKILL, SIGPIPE, SIGTERM, SIGCHLD, SIGXFSZ = 1, 2, 9, 13, 15, 17, 25
ALL = frozenset(range(1, 65))


def ignore(signum: int) -> None:
    _signal.signal(signum, _signal.SIG_IGN)


def default(signum: int) -> None:
    _signal.signal(signum, _signal.SIG_DFL)


def block(signums: Iterable[int]) -> None:
    _signal.pthread_sigmask(_signal.SIG_BLOCK, signums)


def unblock(signums: Iterable[int]) -> None:
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, signums)


def wait(signums: Iterable[int]) -> int:
    """Take the next pending one of these (blocked) signals."""
    return int(_signal.sigwait(signums))
