"""Removes a tree that a container wrote: any depth, any names, links never followed.

Everything happens relative to descriptors, so nothing outside can be reached by
swapping a directory for a link. A tree deeper than the limit of open files (or
of recursion) is no obstacle: too deep directories are lifted to the top first.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

_DEEPEST = 64


def remove_tree(path: Path) -> None:
    """Removes `path` and everything below; nothing to do when it is not there. Raises OSError."""
    try:
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        remove_below(parent, path.name)
    except FileNotFoundError:
        if os.path.lexists(path):
            raise
    finally:
        os.close(parent)


def remove_below(parent: int, name: str) -> None:
    """Removes the directory `name` of the directory `parent` with all below. Raises OSError."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    top = os.open(name, flags, dir_fd=parent)
    try:
        lifted = _Lift(top)
        _empty(top, 0, lifted)
        while lifted.names:
            _remove_directory(top, lifted.names.pop(), 1, lifted)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent)


class _Lift:
    """Moves directories that lie too deep to the top, under names that nothing has."""

    def __init__(self, top: int) -> None:
        self._top = top
        self._count = 0
        self.names: list[str] = []

    def take(self, parent: int, name: str) -> None:
        while True:
            self._count += 1
            free = f".stackctl-lifted-{self._count}"
            if not _exists(self._top, free):
                break
        os.rename(name, free, src_dir_fd=parent, dst_dir_fd=self._top)
        self.names.append(free)


def _empty(directory: int, depth: int, lifted: _Lift) -> None:
    # os.listdir, not scandir: the directory changes while it is read.
    for name in os.listdir(directory):
        if depth == 0 and name in lifted.names:
            continue
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(name, dir_fd=directory)
        elif depth >= _DEEPEST:
            lifted.take(directory, name)
        else:
            _remove_directory(directory, name, depth + 1, lifted)


def _remove_directory(parent: int, name: str, depth: int, lifted: _Lift) -> None:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    directory = os.open(name, flags, dir_fd=parent)
    try:
        _empty(directory, depth, lifted)
    finally:
        os.close(directory)
    os.rmdir(name, dir_fd=parent)


def _exists(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
