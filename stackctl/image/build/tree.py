"""The files of an image, a stage or a context, seen through its layers without mounting them.

A layer is a directory as overlay has it: a character device 0:0 hides what is below,
user.overlay.opaque hides all that is below. Everything is opened relative to the
layers' descriptors, a component at a time and without following links in the
kernel; links are followed here, within the tree. So nothing outside can be reached,
whatever the layers contain and whoever changes them meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from stackctl.linux.files import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2
from stackctl.values import dataclass

_MAX_LINKS = 40
_OPAQUE = "user.overlay.opaque"
_INSIDE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS


@dataclass(frozen=True, slots=True)
class Node:
    """Something in a tree; `path` is relative to its root ("" is the root itself).

    `places` are (layer, path in the layer), top first; of a directory all that are merged.
    """

    path: str
    status: os.stat_result
    places: tuple[tuple[int, str], ...]

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.status.st_mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.status.st_mode)


class Tree:
    """A context manager over open layers. Blocking; all errors are OSError."""

    def __init__(
        self,
        layers: Sequence[str | Path],
        *,
        mounts: Mapping[str, str] | None = None,
        plain: bool = False,
    ) -> None:
        """`layers` top first. `mounts` lie below what the layers have at a path ("usr").

        `plain`: the layer is an ordinary directory (a context), without overlay's marks.
        """
        self._plain = plain
        self._layers: list[int] = []
        self._mounts: dict[str, int] = {}
        try:
            for layer in layers:
                self._layers.append(_open_directory(layer))
            for path, source in (mounts or {}).items():
                self._mounts[path.strip("/")] = len(self._layers)
                self._layers.append(_open_directory(source))
        except BaseException:
            self.close()
            raise
        self._count = len(self._layers) - len(self._mounts)

    def close(self) -> None:
        while self._layers:
            os.close(self._layers.pop())

    def __enter__(self) -> Tree:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- look-ups

    @property
    def root(self) -> Node:
        places = tuple((number, "") for number in range(self._count))
        return Node("", os.fstat(self._layers[0]), places)

    def child(self, parent: Node, name: str) -> Node | None:
        """What `name` is in the directory `parent`, links not followed."""
        path = f"{parent.path}/{name}" if parent.path else name
        status: os.stat_result | None = None
        places: list[tuple[int, str]] = []
        for layer, above in parent.places:
            inner = f"{above}/{name}" if above else name
            found = self._look(layer, inner)
            if found is None:
                continue
            if self._is_whiteout(found) or (status and not stat.S_ISDIR(found.st_mode)):
                break
            places.append((layer, inner))
            status = status or found
            if not stat.S_ISDIR(found.st_mode) or self._is_opaque(layer, inner):
                break
        if path in self._mounts:
            mounted = self._mounts[path]
            places.append((mounted, ""))
            status = status or os.fstat(self._layers[mounted])
        return Node(path, status, tuple(places)) if status else None

    def children(self, directory: Node) -> list[str]:
        """Names in a directory, sorted."""
        names: set[str] = set()
        hidden: set[str] = set()
        for layer, path in directory.places:
            fd = self._open(layer, path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                with os.scandir(fd) as entries:
                    here = []
                    for entry in entries:
                        if entry.name in hidden:
                            continue
                        here.append(entry.name)
                        if not self._plain and self._is_whiteout_entry(entry):
                            hidden.add(entry.name)
                names.update(name for name in here if name not in hidden or name in names)
            finally:
                os.close(fd)
        for mount in self._mounts:
            above, _, name = mount.rpartition("/")
            if above == directory.path:
                names.add(name)
        return sorted(names)

    def nodes(self, directory: Node) -> list[Node]:
        """What is in a directory, by name."""
        if len(directory.places) > 1 or self._mounts:
            found = (self.child(directory, name) for name in self.children(directory))
            return [node for node in found if node is not None]
        # One layer has all of it: a look at each name from there is enough.
        layer, above = directory.places[0]
        path, inner = (f"{x}/" if x else "" for x in (directory.path, above))
        nodes = []
        fd = self._open(layer, above, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name in sorted(os.listdir(fd)):
                try:
                    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if not self._is_whiteout(status):
                    nodes.append(Node(path + name, status, ((layer, inner + name),)))
        finally:
            os.close(fd)
        return nodes

    def find(self, path: str, *, follow: bool = True) -> Node | None:
        """The node at `path`; links on the way are followed, with `follow` the last one too."""
        resolved = self.resolve(path, follow=follow)
        return resolved[0] if not resolved[1] else None

    def resolve(self, path: str, *, follow: bool = True) -> tuple[Node, list[str]]:
        """The last node on the way that exists, and the components that do not.

        ELOOP beyond 40 links, ENOTDIR when a file is on the way.
        """
        ahead = [part for part in path.split("/") if part not in ("", ".")][::-1]
        trail = [self.root]
        links = 0
        while ahead:
            part = ahead.pop()
            if part == "..":
                if len(trail) > 1:
                    trail.pop()
                continue
            if not trail[-1].is_directory:
                raise NotADirectoryError(errno.ENOTDIR, "is not a directory", trail[-1].path)
            node = self.child(trail[-1], part)
            if node is None:
                rest = [part, *ahead[::-1]]
                return trail[-1], rest
            if node.is_link and (ahead or follow):
                links += 1
                if links > _MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                target = self.link_target(node)
                if target.startswith("/"):
                    del trail[1:]
                ahead += [p for p in target.split("/") if p not in ("", ".")][::-1]
                continue
            trail.append(node)
        return trail[-1], []

    def walk(self, top: Node) -> Iterator[Node]:
        """Everything below `top`, directories before what is in them, in a fixed order."""
        for node in self.nodes(top):
            yield node
            if node.is_directory:
                yield from self.walk(node)

    # -- content

    def open(self, node: Node) -> int:
        """A regular file for reading; a fifo in its place does not hang us."""
        layer, path = node.places[0]
        fd = self._open(layer, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "is not a regular file any more", node.path)
        return fd

    def read(self, node: Node, limit: int) -> bytes:
        fd = self.open(node)
        try:
            pieces, size = [], 0
            while piece := os.read(fd, min(1 << 20, limit + 1 - size)):
                pieces.append(piece)
                size += len(piece)
                if size > limit:
                    raise OSError(errno.EFBIG, f"is larger than {limit} bytes", node.path)
            return b"".join(pieces)
        finally:
            os.close(fd)

    def link_target(self, node: Node) -> str:
        layer, path = node.places[0]
        fd = self._open(layer, path, os.O_PATH)
        try:
            return os.readlink("", dir_fd=fd)
        finally:
            os.close(fd)

    def xattrs(self, node: Node) -> dict[str, bytes]:
        """Attributes that belong to the file: security.capability and user.* but overlay's."""
        layer, path = node.places[0]
        if node.is_link:
            return {}
        fd = self._open(layer, path, os.O_PATH)
        try:
            real = f"/proc/self/fd/{fd}"
            found = {}
            with contextlib.suppress(OSError):
                for name in os.listxattr(real):
                    mine = name == "security.capability" or name.startswith("user.")
                    if mine and not name.startswith("user.overlay."):
                        found[name] = os.getxattr(real, name)
            return found
        finally:
            os.close(fd)

    # -- a layer

    def _open(self, layer: int, path: str, flags: int) -> int:
        return openat2(self._layers[layer], path or ".", flags | os.O_NOFOLLOW, 0, _INSIDE)

    def _look(self, layer: int, path: str) -> os.stat_result | None:
        try:
            fd = self._open(layer, path, os.O_PATH)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            # A link where a directory was a moment ago: as good as gone.
            if error.errno == errno.ELOOP:
                return None
            raise
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def _is_whiteout(self, status: os.stat_result) -> bool:
        return not self._plain and stat.S_ISCHR(status.st_mode) and status.st_rdev == 0

    def _is_whiteout_entry(self, entry: os.DirEntry[str]) -> bool:
        if entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False):
            return False
        return self._is_whiteout(entry.stat(follow_symlinks=False))

    def _is_opaque(self, layer: int, path: str) -> bool:
        if self._plain:
            return False
        fd = self._open(layer, path, os.O_PATH)
        try:
            return os.getxattr(f"/proc/self/fd/{fd}", _OPAQUE) == b"y"
        except OSError:
            return False
        finally:
            os.close(fd)


def _open_directory(path: str | Path) -> int:
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
