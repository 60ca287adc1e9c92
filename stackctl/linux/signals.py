"""Signals without the standard library's enumerations (importing them costs the shim 4 ms)."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import ctypes
import os

from stackctl.linux.libc import c_int, c_size_t, c_void_p, check, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

SIGHUP, SIGINT, SIGKILL, SIGPIPE, SIGTERM, SIGCHLD, SIGXFSZ = 1, 2, 9, 13, 15, 17, 25
#: All but the two that the C library keeps to itself.
ALL = frozenset(range(1, 65)) - {32, 33}

_rt_sigaction = syscall(
    {"x86_64": 13}.get(os.uname().machine, 134), c_int, c_void_p, c_void_p, c_size_t
)


def ignore(signum: int) -> None:
    _signal.signal(signum, _signal.SIG_IGN)


def default(signum: int) -> None:
    _signal.signal(signum, _signal.SIG_DFL)


def all_default() -> None:
    """Every signal's default action, nothing blocked, as init starts a process.

    By the bare system call: the C library keeps two signals to itself, which a
    parent may nevertheless have ignored for us.
    """
    action = (ctypes.c_ulong * 4)()  # handler, flags, restorer, mask: all zero is SIG_DFL
    for signum in range(1, 65):
        _rt_sigaction(signum, action, None, 8)  # EINVAL for SIGKILL and SIGSTOP
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())


def block(signums: Iterable[int]) -> None:
    _signal.pthread_sigmask(_signal.SIG_BLOCK, signums)


def unblock(signums: Iterable[int]) -> None:
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, signums)


_signalfd4 = syscall(
    {"x86_64": 289}.get(os.uname().machine, 74),
    c_int,
    ctypes.POINTER(ctypes.c_uint64),
    c_size_t,
    c_int,
)
#: Of struct signalfd_siginfo.
_INFO = 128


def descriptor(signums: Iterable[int]) -> int:
    """A descriptor that is readable while one of these (blocked) signals is pending."""
    mask = ctypes.c_uint64(sum(1 << (signum - 1) for signum in signums))
    return check(_signalfd4(-1, mask, 8, os.O_CLOEXEC | os.O_NONBLOCK))


def drain(fd: int) -> None:
    """Take all that `descriptor` has told."""
    try:
        while len(os.read(fd, 16 * _INFO)) == 16 * _INFO:
            pass
    except BlockingIOError:
        pass


def wait(signums: Iterable[int]) -> int:
    """Take the next pending one of these (blocked) signals."""
    return int(_signal.sigwait(signums))
