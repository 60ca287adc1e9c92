"""Files that a command writes: the new content is there as a whole, or the old one still is."""

from __future__ import annotations

import os
from contextlib import suppress

from stackctl.errors import MachineError


def write_text(path: str, text: str) -> None:
    """Replaces the file at `path`, or makes it; what is no file (a pipe, a device) is written to.

    Raises MachineError.
    """
    place = os.path.realpath(path)
    try:
        if os.path.lexists(place) and not os.path.isfile(place):
            _write(place, text)
            return
        # Beside it: a disk that is full takes the new file, and leaves the old one.
        new = f"{place}.{os.getpid()}.new"
        try:
            _write(new, text)
            with suppress(FileNotFoundError):
                os.chmod(new, os.stat(place).st_mode & 0o7777)
            os.replace(new, place)
        except BaseException:
            with suppress(OSError):
                os.unlink(new)
            raise
    except OSError as error:
        raise MachineError(f"cannot write {path}: {error.strerror}") from error


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
