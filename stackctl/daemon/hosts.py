"""/etc/hosts of a container that runs while its networks change.

The container may have written into it: only the lines that the engine wrote, and that
would be others now, are exchanged. The file stays the same one, for it is a mount there.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from pathlib import Path

log = logging.getLogger(__name__)

#: Bytes. Nobody keeps so many names: a container filled it, and it is left alone.
_MOST = 1 << 20


def edited(current: str, before: str, after: str) -> str:
    """`current` with the lines that `after` has and `before` has not, and the other way round."""
    old, new = Counter(before.splitlines()), Counter(after.splitlines())
    gone, come = old - new, new - old
    lines = []
    for line in current.splitlines():
        if gone[line]:
            gone[line] -= 1
        else:
            lines.append(line)
    return "".join(f"{line}\n" for line in (*lines, *come.elements()))


def rewrite(path: Path, before: str, after: str) -> None:
    """Brings a container's file from what the engine would write `before` to `after`."""
    if before == after:
        return
    try:
        with open(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC), "r+b") as file:
            current = file.read(_MOST + 1)
            if len(current) > _MOST:
                log.warning("%s is too large to be kept up to date", path)
                return
            text = edited(current.decode("latin-1"), _bytes(before), _bytes(after))
            file.seek(0)
            file.write(text.encode("latin-1"))
            file.truncate()
    except OSError as error:
        log.warning("%s could not be kept up to date: %s", path, error)


def _bytes(text: str) -> str:
    """A character a byte, as the file is read: whatever a container wrote comes back whole."""
    return text.encode().decode("latin-1")
