"""What a container has changed in its image's files: its writable layer against those below."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from stackctl.model.image import OverlayMount, Snapshot

MODIFIED, ADDED, DELETED = 0, 1, 2


def changed_paths(snapshot: Snapshot) -> list[tuple[str, int]]:
    """(path, kind) in order of path; directories that lead to a change are modified. Blocking."""
    found: dict[str, int] = {}
    for mount in snapshot.mounts:
        if isinstance(mount, OverlayMount):
            for path, kind in _layer(mount):
                full = f"{mount.target.rstrip('/')}/{path}"
                found.setdefault(full, kind)
                parent = full.rpartition("/")[0]
                while parent and parent not in found:
                    found[parent] = MODIFIED
                    parent = parent.rpartition("/")[0]
    return sorted(found.items())


def _layer(mount: OverlayMount) -> Iterator[tuple[str, int]]:
    for directory, subdirectories, files in os.walk(mount.upper):
        relative = os.path.relpath(directory, mount.upper)
        prefix = "" if relative == "." else f"{relative}/"
        for name in (*subdirectories, *files):
            path = f"{prefix}{name}"
            if _is_whiteout(f"{directory}/{name}"):
                yield path, DELETED
            elif any(os.path.lexists(f"{lower}/{path}") for lower in mount.lower):
                yield path, MODIFIED
            else:
                yield path, ADDED


def _is_whiteout(path: str) -> bool:
    """A character device 0:0, or an empty file that says so (userxattr)."""
    try:
        found = os.lstat(path)
        if stat.S_ISCHR(found.st_mode):
            return found.st_rdev == 0
        return (
            stat.S_ISREG(found.st_mode)
            and found.st_size == 0
            and "user.overlay.whiteout" in os.listxattr(path, follow_symlinks=False)
        )
    except OSError:
        return False
