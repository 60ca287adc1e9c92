"""What a container has changed in its image's files: `diff`, and what `commit` packs.

Looks at the directories of a snapshot, mounts nothing, and follows no link: a container
may write while we look. With overlay only its writable layer is walked; a driver that
copies is compared with the layers that were copied.
"""

from __future__ import annotations

import contextlib
import enum
import json
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from stackctl.image.build.tree import Node, Tree
from stackctl.model.image import OverlayMount, RootMount, Snapshot
from stackctl.values import dataclass

#: What a start puts into any root to mount something on; nobody's change as long as it is bare.
STUBS = frozenset(
    (
        *("proc", "sys", "dev", "etc/hosts", "etc/resolv.conf", "etc/hostname"),
        *("etc", "run/secrets", "run"),
    )
)
_OPAQUE = "user.overlay.opaque"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Kind(enum.IntEnum):
    """As Docker's API numbers them."""

    MODIFIED = 0
    ADDED = 1
    DELETED = 2


@dataclass(frozen=True, slots=True)
class Change:
    """`path` is relative to the root, without a slash in front."""

    path: str
    kind: Kind


class _Extent(enum.Enum):
    """What it means that a directory lacks something: nothing, or that it was deleted."""

    LAYER = enum.auto()
    #: It hides all below it: what is there both times was written again.
    OPAQUE = enum.auto()
    #: A whole copy: what looks the same is the same.
    COPY = enum.auto()


def changes(snapshot: Snapshot) -> list[Change]:
    """In order of path; a directory that leads to a change is modified. Blocking; OSError."""
    targets = {mount.target.strip("/") for mount in snapshot.mounts} - {""}
    found: dict[str, Kind] = {}
    for mount in snapshot.mounts:
        prefix = mount.target.strip("/")
        for change in changes_of(mount, prefix, frozenset(targets)):
            found[change.path] = change.kind
            parent = change.path.rpartition("/")[0]
            while parent and parent not in found:
                found[parent] = Kind.MODIFIED
                parent = parent.rpartition("/")[0]
    return [Change(path, found[path]) for path in sorted(found)]


def changes_of(mount: RootMount, prefix: str, skip: frozenset[str]) -> Iterator[Change]:
    """Of one mount of a snapshot; `skip` are paths where another one of its mounts lies."""
    if isinstance(mount, OverlayMount):
        lower: Sequence[str] = mount.lower
        top, extent = mount.upper, _Extent.LAYER
    else:
        lower = json.loads((Path(mount.source).parent / "layers.json").read_text())
        top, extent = mount.source, _Extent.COPY
    with Tree(lower) as base:
        fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with _closing(fd):
            walk = _Comparison(base, skip)
            yield from walk.below(fd, f"{prefix}/" if prefix else "", base.root, extent)


class _Comparison:
    def __init__(self, base: Tree, skip: frozenset[str]) -> None:
        self._base = base
        self._skip = skip

    def below(self, fd: int, prefix: str, before: Node | None, extent: _Extent) -> Iterator[Change]:
        names = sorted(os.listdir(fd))
        for name in names:
            path = prefix + name
            if path in self._skip:
                continue
            try:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                continue  # it was removed while we walked
            old = self._base.child(before, name) if before is not None else None
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                if old is not None:
                    yield Change(path, Kind.DELETED)
                continue
            inner = self._inner(fd, name, path, status, old, extent)
            if old is None:
                if inner or not _is_stub(path, status):
                    yield Change(path, Kind.ADDED)
            elif inner or self._differs(fd, name, status, old, extent):
                yield Change(path, Kind.MODIFIED)
            yield from inner
        if before is not None and extent is not _Extent.LAYER:
            present = frozenset(names)
            for name in self._base.children(before):
                if name not in present and prefix + name not in self._skip:
                    yield Change(prefix + name, Kind.DELETED)

    def _inner(
        self,
        fd: int,
        name: str,
        path: str,
        status: os.stat_result,
        old: Node | None,
        extent: _Extent,
    ) -> list[Change]:
        if not stat.S_ISDIR(status.st_mode):
            return []
        try:
            inner = os.open(name, _DIRECTORY, dir_fd=fd)
        except OSError:
            return []  # removed, or exchanged for something else, while we walked
        with _closing(inner):
            if extent is _Extent.LAYER and _is_opaque(inner):
                extent = _Extent.OPAQUE
            before = old if old is not None and old.is_directory else None
            return list(self.below(inner, f"{path}/", before, extent))

    def _differs(
        self, fd: int, name: str, status: os.stat_result, old: Node, extent: _Extent
    ) -> bool:
        """Directories are copied up for what is in them, files because they were written to."""
        is_directory = stat.S_ISDIR(status.st_mode)
        if extent is _Extent.OPAQUE or (extent is _Extent.LAYER and not is_directory):
            return True
        if _kind_and_owner(status) != _kind_and_owner(old.status):
            return True
        if is_directory:
            return False
        if old.is_link:
            return os.readlink(name, dir_fd=fd) != self._base.link_target(old)
        return (status.st_size, status.st_mtime_ns, status.st_rdev) != (
            old.status.st_size,
            old.status.st_mtime_ns,
            old.status.st_rdev,
        )


def _kind_and_owner(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mode, status.st_uid, status.st_gid


def _is_stub(path: str, status: os.stat_result) -> bool:
    """`path` has nothing in it."""
    if path not in STUBS:
        return False
    return stat.S_ISDIR(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_size == 0)


def _is_opaque(fd: int) -> bool:
    try:
        return os.getxattr(fd, _OPAQUE) == b"y"
    except OSError:
        return False


@contextlib.contextmanager
def _closing(fd: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(fd)
