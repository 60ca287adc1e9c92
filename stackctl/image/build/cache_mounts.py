"""The directories of RUN --mount=type=cache: what one build leaves in them, others find. Blocking.

    ROOT/build/mounts/<name>      a directory each, owned and with the mode as first asked for

Who uses one holds a shared flock on it; who removes one gets it out of the way under an exclusive
one: a build never finds a half-removed one, and none goes while it is in use.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import time
from pathlib import Path

from stackctl.image.build.mounts import RunMount
from stackctl.image.removal import remove_tree
from stackctl.values import dataclass

_GONE = ".gone-"
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownMount:
    """`used`: when a RUN last began with it (Unix seconds)."""

    name: str
    path: Path
    used: float


class CacheMounts:
    def __init__(self, home: Path) -> None:
        self._home = home

    def take(self, mount: RunMount, unique: str = "") -> tuple[Path, int]:
        """The directory, made when it is not there; it stays until the descriptor is closed."""
        name = hashlib.sha256(f"{mount.id}\0{mount.from_}\0{unique}".encode()).hexdigest()[:32]
        place = self._home / name
        while True:
            _make(place, mount)
            fd = os.open(place, _FLAGS)
            fcntl.flock(fd, fcntl.LOCK_SH)
            if _is_still(place, fd):
                now = time.time_ns()
                os.utime(fd, ns=(now, os.fstat(fd).st_mtime_ns))
                return place, fd
            os.close(fd)  # it was being removed

    def known(self) -> list[KnownMount]:
        """All of them, the longest unused first."""
        found = []
        for entry in os.scandir(self._home) if self._home.is_dir() else ():
            if not entry.name.startswith("."):
                used = entry.stat(follow_symlinks=False).st_atime
                found.append(KnownMount(name=entry.name, path=Path(entry.path), used=used))
        return sorted(found, key=lambda known: (known.used, known.name))

    def remove(self, name: str) -> bool:
        """Whether it has gone; one that is in use stays. Raises OSError."""
        place = self._home / name
        try:
            fd = os.open(place, _FLAGS)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            aside = self._home / f"{_GONE}{secrets.token_hex(8)}"
            place.rename(aside)
        except BlockingIOError:
            return False
        finally:
            os.close(fd)
        remove_tree(aside)
        return True

    def sweep(self) -> None:
        """At start: what a killed engine was removing."""
        for path in self._home.glob(f"{_GONE}*"):
            remove_tree(path)


def _make(place: Path, mount: RunMount) -> None:
    try:
        place.mkdir(parents=True, mode=0o700)
    except FileExistsError:
        return
    os.chown(place, mount.uid, mount.gid)
    place.chmod(mount.mode)


def _is_still(place: Path, fd: int) -> bool:
    try:
        found = place.lstat()
    except FileNotFoundError:
        return False
    mine = os.fstat(fd)
    return (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino)
