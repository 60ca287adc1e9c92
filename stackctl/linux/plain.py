"""Reading files that somebody else names, without ever waiting for them for long.

Regular files and pipes only: to open a device may rewind a tape or start a watchdog. Nor are
all regular files what they seem: a read of /proc/kmsg waits for the kernel's next message.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from collections.abc import Iterator

#: Seconds for who writes into a pipe, e.g. that of `-f <(command)`: for all that is read of it.
PATIENCE = 10

_PIECE = 1 << 18
_NULL = os.makedev(1, 3)


def read(path: str, limit: int) -> bytes:
    """At most `limit` bytes of a file. Raises OSError."""
    found = bytearray()
    for piece in pieces(path):
        found += piece
        if len(found) >= limit:
            break
    return bytes(found[:limit])


def pieces(path: str) -> Iterator[bytes]:
    """The content of a file. Raises OSError, also for what is neither a file nor a pipe."""
    fd, is_pipe = _opened(path)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            if is_pipe:
                # A pipe that nobody has opened for writing yet looks like one that has ended.
                _await(fd, deadline)
            try:
                piece = os.read(fd, _PIECE)
            except BlockingIOError:
                if is_pipe:
                    continue  # another reader was faster
                raise OSError(errno.EINVAL, "who reads it waits for more, it has no end") from None
            if not piece:
                return
            yield piece
    finally:
        os.close(fd)


def _opened(path: str) -> tuple[int, bool]:
    """A descriptor that does not block, and whether it is a pipe."""
    seen = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        status = os.fstat(seen)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFDIR:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if kind not in (stat.S_IFREG, stat.S_IFIFO) and status.st_rdev != _NULL:
            raise OSError(errno.EINVAL, "it is neither a file nor a pipe")
        # The very same file, whatever has taken its name meanwhile.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        return os.open(f"/proc/self/fd/{seen}", flags), kind == stat.S_IFIFO
    finally:
        os.close(seen)


def _await(fd: int, deadline: float) -> None:
    """Raises OSError when nothing comes out of the pipe in time, and nobody closes it."""
    waiting = select.poll()
    waiting.register(fd, select.POLLIN | select.POLLHUP)
    if not waiting.poll(max(deadline - time.monotonic(), 0) * 1000):
        raise OSError(errno.ETIMEDOUT, f"it is a pipe, whose writer did not end in {PATIENCE} s")
