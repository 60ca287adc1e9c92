"""Reading files that somebody else names, without ever waiting for them for long.

Regular files and pipes only: to open a device may rewind a tape or start a watchdog. Nor are
all regular files what they seem: a read of /proc/kmsg waits for the kernel's next message.
Who writes into a pipe may take its time (a keeper of secrets asks its user first): it is
waited for as long as somebody who has been told waits, too.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar

#: Seconds for who writes into a pipe, e.g. that of `-f <(command)`: for all that is read of it;
#: and where somebody is told.
PATIENCE = 10
TOLD_PATIENCE = 300
#: Seconds of silence until it is told, and between two looks whether anybody still waits.
_SILENCE, _LOOK = 0.3, 0.1

_PIECE = 1 << 18
_NULL = os.makedev(1, 3)


class Waiting:
    """For whom a file is read: `tell` gets the path of a pipe that brings nothing at once, if
    anybody can be told, and the reading ends when `is_over` says so. The thread that reads
    calls both."""

    def __init__(self, tell: Callable[[str], None] | None, is_over: Callable[[], bool]) -> None:
        self.tell = tell
        self.is_over = is_over


WAITING: ContextVar[Waiting | None] = ContextVar("WAITING", default=None)


def waiting_for(path: str) -> str:
    """What is told."""
    return f"{path} is a pipe: waiting for what is written into it"


def mode(path: str) -> int:
    """As stat has it, of what a link leads to; 0 where nothing is, or nothing can be.

    pathlib takes only some of what stat refuses for "it is not there": not a name that is too long.
    """
    try:
        return os.stat(path).st_mode
    except (OSError, ValueError):
        return 0


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
        writer = _Writer(fd, path)
        while True:
            if is_pipe:
                # A pipe that nobody has opened for writing yet looks like one that has ended.
                writer.wait()
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


class _Writer:
    """Whoever writes into a pipe that we read."""

    def __init__(self, fd: int, path: str) -> None:
        self._path = path
        self._for = WAITING.get()
        self._patience = TOLD_PATIENCE if self._for and self._for.tell else PATIENCE
        self._deadline = time.monotonic() + self._patience
        self._told = False
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN | select.POLLHUP)

    def wait(self) -> None:
        """Raises OSError when nothing comes out of the pipe in time, and nobody closes it."""
        if self._for is None:
            if self._comes(self._deadline - time.monotonic()):
                return
        elif self._comes(_SILENCE) or self._comes_while_wanted(self._for):
            return
        raise OSError(
            errno.ETIMEDOUT, f"it is a pipe, whose writer did not end in {self._patience} s"
        )

    def _comes_while_wanted(self, waiting: Waiting) -> bool:
        if waiting.tell and not self._told:
            self._told = True
            waiting.tell(self._path)
        while time.monotonic() < self._deadline:
            if waiting.is_over():
                raise OSError(errno.ECANCELED, "nobody waits for it any more")
            if self._comes(_LOOK):
                return True
        return False

    def _comes(self, seconds: float) -> bool:
        return bool(self._poll.poll(max(seconds, 0) * 1000))
