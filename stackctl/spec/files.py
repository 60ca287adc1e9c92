"""Where a project's files are: on this machine's disk, or carried here by a caller.

A caller on another machine loads the project itself and records what was read
(`Recorded`); the engine loads the same again from these contents (`Carried`) and finds the
same mistakes at the same places.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from typing import Protocol

from stackctl.linux import plain


class Files(Protocol):
    """Paths are absolute."""

    def is_file(self, path: str) -> bool: ...

    def is_readable(self, path: str) -> bool:
        """A file, or a pipe."""
        ...

    def exists(self, path: str) -> bool: ...

    def read(self, path: str, limit: int) -> bytes:
        """At most `limit` bytes of a file. Raises OSError."""
        ...


class Disk:
    """This machine's."""

    def is_file(self, path: str) -> bool:
        return stat.S_ISREG(plain.mode(path))

    def is_readable(self, path: str) -> bool:
        found = plain.mode(path)
        return stat.S_ISREG(found) or stat.S_ISFIFO(found)

    def exists(self, path: str) -> bool:
        return plain.mode(path) != 0

    def read(self, path: str, limit: int) -> bytes:
        return plain.read(path, limit)


DISK = Disk()


class Carried:
    """Contents by path; nothing else exists, whatever this machine has."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self._contents = contents

    def is_file(self, path: str) -> bool:
        return path in self._contents

    is_readable = is_file

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

    def is_readable(self, path: str) -> bool:
        return self._files.is_readable(path)

    def exists(self, path: str) -> bool:
        return self._files.exists(path)

    def read(self, path: str, limit: int) -> bytes:
        content = self._files.read(path, limit)
        self.contents[path] = content
        return content
