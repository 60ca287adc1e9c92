"""Writes files into a layer: an upper directory on a tree of lower ones, by descriptors.

What overlay would do is done here without a mount: a directory that exists below is
made above with the same mode, owner and attributes before something is put into it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from stackctl.image.build.tree import Node, Tree
from stackctl.image.removal import remove_tree
from stackctl.linux.files import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2
from stackctl.values import dataclass

_INSIDE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
_CHUNK = 1 << 26


@dataclass(frozen=True, slots=True)
class Owner:
    uid: int = 0
    gid: int = 0


class Upper:
    """`view` is the tree with `directory` as its topmost layer. Blocking; errors are OSError."""

    def __init__(self, directory: Path, view: Tree) -> None:
        self._home = directory
        self._view = view
        self._root = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        #: Directories that are known to be in the upper one.
        self._made: set[str] = {""}
        #: These as the view shows them since: what is made in them changes no node.
        self._nodes: dict[str, Node] = {}

    def close(self) -> None:
        os.close(self._root)

    def directory(self, path: str, owner: Owner, mode: int = 0o755) -> Node:
        """The directory at `path`, links followed; made with its parents where it is missing."""
        node, missing = self._view.resolve(path)
        if not node.is_directory:
            raise NotADirectoryError(errno.ENOTDIR, "is not a directory", node.path)
        for name in missing:
            if name in ("", "."):
                continue
            made = self._make_directory(node, name, owner, mode)
            node = made
        return node

    def place_for(self, path: str, name: str, into: bool, owner: Owner) -> tuple[Node, str]:
        """The directory and name that a file copied to `path` gets, as cp(1) decides it."""
        if into:
            return self.directory(path, owner), name
        node, missing = self._view.resolve(path)
        if not missing:
            if node.is_directory:
                return node, name
            above, _, name = node.path.rpartition("/")
            return self._again(above), name
        *between, last = missing
        for each in between:
            node = self._make_directory(node, each, owner, 0o755)
        return node, last

    def _make_directory(self, parent: Node, name: str, owner: Owner, mode: int) -> Node:
        self._copy_up(parent)
        path = f"{parent.path}/{name}" if parent.path else name
        above = self._open(parent.path)
        try:
            os.mkdir(name, 0o700, dir_fd=above)
        finally:
            os.close(above)
        fd = self._open(path)
        try:
            real = f"/proc/self/fd/{fd}"
            os.chown(real, owner.uid, owner.gid)
            os.chmod(real, mode)
        finally:
            os.close(fd)
        self._made.add(path)
        return self._again(path)

    def put(
        self, parent: Node, name: str, source: Tree, node: Node, owner: Owner, mode: int
    ) -> None:
        """A file, link, fifo or device of another tree as `name` in the directory `parent`."""
        above = self._room(parent, name)
        status = node.status
        try:
            if node.is_link:
                os.symlink(source.link_target(node), name, dir_fd=above)
                os.chown(name, owner.uid, owner.gid, dir_fd=above, follow_symlinks=False)
                times = (status.st_atime_ns, status.st_mtime_ns)
                os.utime(name, ns=times, dir_fd=above, follow_symlinks=False)
                return
            if not node.is_file:
                os.mknod(name, stat.S_IFMT(status.st_mode) | 0o600, status.st_rdev, dir_fd=above)
                fd = openat2(above, name, os.O_PATH | os.O_NOFOLLOW, 0, _INSIDE)
                self._finish(fd, owner, mode, status, {})
                return
            reader = source.open(node)
            try:
                writer = self._create(above, name)
                _copy(reader, writer)
            finally:
                os.close(reader)
            self._finish(writer, owner, mode, status, source.xattrs(node))
        finally:
            os.close(above)

    def link(self, parent: Node, name: str, other: Node, first: str) -> bool:
        """`name` as a further name of the file `first` in `other`; whether that could be."""
        source = self._open(other.path)
        try:
            if (self._view.child(self._present(other), first)) is None:
                return False
            above = self._room(parent, name)
            try:
                os.link(first, name, src_dir_fd=source, dst_dir_fd=above, follow_symlinks=False)
            except FileNotFoundError:
                return False  # what was just cleared away was that file
            finally:
                os.close(above)
        finally:
            os.close(source)
        return True

    def write(
        self, parent: Node, name: str, content: bytes, owner: Owner, mode: int, mtime: float
    ) -> None:
        """A small file with this content."""
        above = self._room(parent, name)
        try:
            writer = self._create(above, name)
            view = memoryview(content)
            while view:
                view = view[os.write(writer, view) :]
            os.utime(writer, (mtime, mtime))
            os.fchown(writer, owner.uid, owner.gid)
            os.fchmod(writer, mode)
            os.close(writer)
        finally:
            os.close(above)

    def merge(
        self, parent: Node, name: str, source: Tree, node: Node, owner: Owner, mode: int
    ) -> Node:
        """A directory of another tree as `name`: made, or the one that is there with its mode."""
        existing = self._view.child(self._present(parent), name)
        if existing is not None and existing.is_link:
            found = self._view.find(existing.path)
            if found is None or not found.is_directory:
                raise NotADirectoryError(errno.ENOTDIR, "is not a directory", existing.path)
            return found
        if existing is not None and not existing.is_directory:
            raise NotADirectoryError(errno.ENOTDIR, "is not a directory", existing.path)
        if existing is None:
            made = self._make_directory(parent, name, owner, mode)
        else:
            self._copy_up(existing)
            made = existing
        fd = self._open(made.path)
        self._finish(fd, owner, mode, node.status, source.xattrs(node))
        return self._again(made.path)

    def set_time(self, directory: Node, status: os.stat_result) -> None:
        """After its content was written: writing changed it."""
        fd = self._open(directory.path)
        try:
            os.utime(f"/proc/self/fd/{fd}", ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            os.close(fd)

    # -- how

    def _room(self, parent: Node, name: str) -> int:
        """The upper directory of `parent`, with nothing of this name in it."""
        parent = self._present(parent)
        existing = self._view.child(parent, name)
        if existing is not None and existing.is_directory:
            raise IsADirectoryError(errno.EISDIR, "is a directory in the image", existing.path)
        above = self._open(parent.path)
        if existing is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=above)
        return above

    def _create(self, above: int, name: str) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(name, flags, 0o600, dir_fd=above)

    def _finish(
        self, fd: int, owner: Owner, mode: int, status: os.stat_result, xattrs: dict[str, bytes]
    ) -> None:
        """Owner first (its change drops set-id bits), mode, attributes, time; closes `fd`."""
        try:
            real = f"/proc/self/fd/{fd}"
            os.chown(real, owner.uid, owner.gid)
            os.chmod(real, mode)
            for name, value in xattrs.items():
                os.setxattr(real, name, value)
            os.utime(real, ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            os.close(fd)

    def _present(self, directory: Node) -> Node:
        """The directory as it is once the upper one has it: the node may be older."""
        self._copy_up(directory)
        if directory.places[0][0] == 0:
            return directory
        found = self._nodes.get(directory.path)
        if found is None:
            found = self._nodes[directory.path] = self._again(directory.path)
        return found

    def _copy_up(self, directory: Node) -> None:
        """Make sure that `directory` exists in the upper one."""
        if directory.path in self._made:
            return
        above, _, name = directory.path.rpartition("/")
        node = self._view.find(above, follow=False) if above else self._view.root
        assert node is not None
        self._copy_up(node)
        fd = self._open(above)
        try:
            try:
                os.mkdir(name, 0o700, dir_fd=fd)
            except FileExistsError:
                self._made.add(directory.path)
                return
        finally:
            os.close(fd)
        status = directory.status
        owner = Owner(status.st_uid, status.st_gid)
        mode = stat.S_IMODE(status.st_mode)
        self._finish(self._open(directory.path), owner, mode, status, self._view.xattrs(directory))
        self._made.add(directory.path)

    def _open(self, path: str) -> int:
        return openat2(self._root, path or ".", os.O_PATH | os.O_DIRECTORY, 0, _INSIDE)

    def _again(self, path: str) -> Node:
        found = self._view.find(path, follow=False) if path else self._view.root
        assert found is not None
        return found

    def discard(self) -> None:
        """Everything that was written goes."""
        self.close()
        remove_tree(self._home)


def _copy(reader: int, writer: int) -> None:
    """In the kernel; file systems that can share blocks do."""
    try:
        while os.copy_file_range(reader, writer, _CHUNK):
            pass
        return
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
    while os.sendfile(writer, reader, None, _CHUNK):
        pass
