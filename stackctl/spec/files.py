"""Where a project's files are: on this machine's disk, or carried here by a caller.

A caller on another machine loads the project itself and records what was read
(`Recorded`); the engine loads the same again from these contents (`Carried`) and finds the
same mistakes at the same places.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

#: Seconds for who writes into a pipe, e.g. that of `-f <(command)`.
_PATIENCE = 5
#: Bytes that are read at once.
_PIECE = 1 << 20


class Files(Protocol):
    """Paths are absolute."""

    def is_file(self, path: str) -> bool: ...

    def exists(self, path: str) -> bool: ...

    def read(self, path: str, limit: int) -> bytes:
        """At most `limit` bytes of a file. Raises OSError."""
        ...


class Disk:
    """This machine's."""

    def is_file(self, path: str) -> bool:
        return Path(path).is_file()

    def exists(self, path: str) -> bool:
        return Path(path).exists()

    def read(self, path: str, limit: int) -> bytes:
        # What gives nothing (a pipe without a writer, the kernel's log) must not hold its
        # reader for ever: the engine has only so many threads.
        with open(path, "rb", buffering=0, opener=_without_waiting) as file:
            return _read(file.fileno(), limit)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _read(fd: int, limit: int) -> bytes:
    """Up to `limit` bytes. Raises OSError for what has no end, or none in time."""
    is_pipe = stat.S_ISFIFO(os.fstat(fd).st_mode)
    deadline = time.monotonic() + _PATIENCE
    found = bytearray()
    waiting = select.poll()
    waiting.register(fd, select.POLLIN | select.POLLHUP)
    while len(found) < limit:
        left = deadline - time.monotonic()
        if is_pipe and (left <= 0 or not waiting.poll(left * 1000)):
            what = "which has no end" if found else "into which nobody wrote"
            raise OSError(errno.ETIMEDOUT, f"it is a pipe, {what} for {_PATIENCE} s")
        try:
            piece = os.read(fd, min(limit - len(found), _PIECE))
        except BlockingIOError:
            if is_pipe:
                continue
            raise OSError(errno.EINVAL, "it is no file: it waits for what comes") from None
        if not piece:
            break
        found += piece
    return bytes(found)


DISK = Disk()


class Carried:
    """Contents by path; nothing else exists, whatever this machine has."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self._contents = contents

    def is_file(self, path: str) -> bool:
        return path in self._contents

    def exists(self, path: str) -> bool:
        return path in self._contents

    def read(self, path: str, limit: int) -> bytes:
        found = self._contents.get(path)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return found[:limit]


class Recorded:
    """Another's files, and the contents of all that were read."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self.contents: dict[str, bytes] = {}

    def is_file(self, path: str) -> bool:
        return self._files.is_file(path)

    def exists(self, path: str) -> bool:
        return self._files.exists(path)

    def read(self, path: str, limit: int) -> bytes:
        content = self._files.read(path, limit)
        self.contents[path] = content
        return content
