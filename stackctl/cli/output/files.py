"""Files that a command writes: the new content is there as a whole, or the old one still is."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from stackctl.errors import MachineError


def write_text(path: str, text: str, *, private: bool = False) -> None:
    """Replaces the file at `path`, or makes it; what is no file (a pipe, a device) is written to.

    A `private` one is its owner's alone at every moment; another keeps the mode of the one that
    it replaces. Raises MachineError.
    """
    place = Path(os.path.realpath(path))
    try:
        if place.exists() and not place.is_file():
            place.write_text(text, encoding="utf-8")
            return
        # Beside it: a disk that is full takes the new file, and leaves the old one.
        new = place.with_name(f"{place.name}.{os.getpid()}.new")
        try:
            new.touch(0o600 if private else 0o666, exist_ok=False)
            new.write_text(text, encoding="utf-8")
            if not private:
                with suppress(FileNotFoundError):
                    new.chmod(place.stat().st_mode & 0o7777)
            new.replace(place)
        except BaseException:
            with suppress(OSError):
                new.unlink()
            raise
    except OSError as error:
        raise MachineError(f"cannot write {path}: {error.strerror}") from error
