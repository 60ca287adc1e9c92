"""A small root directory as data: entries, their digest, writing and checking them.

Paths are relative to the root, without a leading slash, parents before children.
Owners are ids as a container sees them. `write` makes a directory that nobody
uses yet; publishing it by a rename is the caller's.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from stackctl.values import dataclass


@dataclass(frozen=True, slots=True)
class Directory:
    path: str
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class File:
    path: str
    content: bytes
    mode: int = 0o644
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class Link:
    path: str
    target: str


Entry = Directory | File | Link

#: path, kind and mode, uid, gid, size or target: what lstat can tell about an entry.
Row = list[Any]


def ordered(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """One entry a path (the last one counts), missing parents added, parents first."""
    by_path = {entry.path: entry for entry in entries}
    for path in list(by_path):
        for parent in _parents(path):
            by_path.setdefault(parent, Directory(parent))
    return tuple(by_path[path] for path in sorted(by_path, key=lambda path: path.split("/")))


def digest(entries: Sequence[Entry]) -> str:
    """64 hexadecimal digits over everything in the entries."""
    total = hashlib.sha256()
    for entry in entries:
        row = _row(entry)
        if isinstance(entry, File):
            row.append(hashlib.sha256(entry.content).hexdigest())
        total.update(json.dumps(row).encode() + b"\n")
    return total.hexdigest()


def write(
    entries: Sequence[Entry],
    root: Path,
    chown: Callable[[str, int, int], None] | None = None,
) -> None:
    """Makes `root` and everything in it. `chown` None keeps the caller as the owner (not root)."""
    os.mkdir(root)
    os.chmod(root, 0o755)
    # A thousand small files on a first start: plain calls, and relative to the root.
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for entry in entries:
            _write_one(entry, fd)
            if isinstance(entry, Link):
                continue
            if chown is not None and (entry.uid or entry.gid):
                chown(f"{root}/{entry.path}", entry.uid, entry.gid)
            # After chown, which drops set-group-id; and past the umask.
            os.chmod(entry.path, entry.mode, dir_fd=fd)
    finally:
        os.close(fd)


def _write_one(entry: Entry, root: int) -> None:
    match entry:
        case Link(path, target):
            os.symlink(target, path, dir_fd=root)
        case Directory(path):
            os.mkdir(path, 0o700, dir_fd=root)
        case File(path, content):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            file = os.open(path, flags, 0o600, dir_fd=root)
            with open(file, "wb", buffering=0) as out:
                out.write(content)


def rows(entries: Sequence[Entry]) -> list[Row]:
    """What `intact` compares a directory with; JSON."""
    return [_row(entry) for entry in entries]


def intact(expected: Sequence[Row], root: Path, owners: bool = True) -> bool:
    """Every entry is there with its kind, mode, size (and owner): a power cut left none behind."""
    for path, mode, uid, gid, last in expected:
        try:
            found = os.lstat(f"{root}/{path}")
        except OSError:
            return False
        if found.st_mode != mode or (owners and (found.st_uid, found.st_gid) != (uid, gid)):
            return False
        if stat.S_ISREG(mode) and found.st_size != last:
            return False
    return True


def size(entries: Iterable[Entry]) -> int:
    """Bytes in files."""
    return sum(len(entry.content) for entry in entries if isinstance(entry, File))


def _row(entry: Entry) -> Row:
    match entry:
        case Directory(path, mode, uid, gid):
            return [path, stat.S_IFDIR | mode, uid, gid, 0]
        case File(path, content, mode, uid, gid):
            return [path, stat.S_IFREG | mode, uid, gid, len(content)]
        case Link(path, target):
            return [path, stat.S_IFLNK | 0o777, 0, 0, target]


def _parents(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
