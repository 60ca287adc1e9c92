"""Namespaces: join, leave, and know one. Thin wrappers, one a system call.

`setns` and `unshare` act on the calling thread only (network namespaces may
differ between the threads of a process). os.setns and os.unshare exist from
Python 3.12 only. Errors are OSError with the namespace named.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.setns.argtypes = (ctypes.c_int, ctypes.c_int)
_libc.setns.restype = ctypes.c_int
_libc.unshare.argtypes = (ctypes.c_int,)
_libc.unshare.restype = ctypes.c_int


def setns(fd: int, kind: int) -> None:
    """Moves the calling thread into the namespace behind `fd` (setns(2))."""
    if _libc.setns(fd, kind) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno), f"namespace of descriptor {fd}")


def unshare(flags: int) -> None:
    """Gives the calling thread new namespaces (unshare(2))."""
    if _libc.unshare(flags) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno), f"unshare({flags:#x})")


def open_netns(pid: int | str = "thread-self") -> int:
    """A descriptor of a process's network namespace; by default the calling thread's."""
    return os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def netns_inode(pid: int | str = "thread-self") -> int:
    """The number that tells one living network namespace from another."""
    return os.stat(f"/proc/{pid}/ns/net").st_ino


@contextmanager
def in_netns(fd: int, home: int) -> Iterator[None]:
    """The calling thread is in the namespace `fd` inside the block, in `home` after it.

    A thread that cannot go home must not go on: the failure to return is raised.
    """
    setns(fd, CLONE_NEWNET)
    try:
        yield
    finally:
        setns(home, CLONE_NEWNET)
