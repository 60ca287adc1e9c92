"""Entries into a directory: everything relative to descriptors, resolved inside it.

Names are taken apart here; a parent is opened with openat2(RESOLVE_IN_ROOT), so
that a link in the layer leads to what it would lead to in a container, never
out. Whiteouts become what an overlay mounted with `userxattr` reads: character
devices 0:0, and user.overlay.opaque on directories (filesystems/overlayfs.rst).

Owners are written as the tar has them: on the disk are ids as the container
sees them. Needs root (or a user namespace's); device nodes that may not be
made there become empty files, as nothing could open them anyway.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from stackctl.image.removal import remove_below
from stackctl.image.unpack.failure import BadLayer
from stackctl.image.unpack.stream import Source
from stackctl.image.unpack.tar import Entry, entries, padding
from stackctl.linux import files

OPAQUE = "user.overlay.opaque"
_WHITEOUT = b".wh."
_OPAQUE_NAME = b".wh..wh..opq"
_AUFS = b".wh..wh."
#: Open directories kept at hand.
_HANDS = 200
_MAX_ENTRIES = 20_000_000
_LONGEST_PATH = 4096
_LARGEST_ID = (1 << 32) - 2
_ZEROS = bytes(1 << 20)
_HOLE = 64 << 10
#: Bytes after which free space is looked at, and what is left for everybody else.
_CHECK_EVERY = 64 << 20
_RESERVE = 32 << 20
_YEARS = 1 << 34  # seconds; what file systems can keep
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

#: Attributes that a layer may bring; those of overlayfs would be orders to the kernel.
_XATTRS = (b"security.capability", b"user.", b"system.posix_acl_", b"trusted.")
_INHERITED = b"system.posix_acl_default"
_NO_XATTRS = (b"user.overlay.", b"trusted.overlay.", b"user.fuseoverlayfs.", b"user.stackctl.")


class Extractor:
    """Fills the directory `root` (a descriptor that stays the caller's)."""

    def __init__(self, root: int, progress: Callable[[int], None] | None = None) -> None:
        self._root = root
        self._parents: dict[bytes, int] = {}
        self._times: list[tuple[bytes, int]] = []
        self._links: list[tuple[Entry, list[bytes]]] = []
        #: Directories that would hand their group or their rights on to what is made in them.
        self._late: list[tuple[list[bytes], Entry]] = []
        self._unchecked = 0
        self.count = 0
        #: Bytes in files.
        self.size = 0
        #: Directories that the archive uses but does not describe.
        self.implied: set[bytes] = set()

    def run(self, source: Source) -> None:
        """Raises BadLayer, and OSError for what the machine refuses."""
        try:
            for entry in entries(source):
                self.count += 1
                if self.count > _MAX_ENTRIES:
                    raise BadLayer(f"it has more than {_MAX_ENTRIES:,} entries")
                self._guarded(entry, source)
                source.skip(padding(entry.stored))
            self._finish_links()
            self._finish_directories()
            self._finish_times()
        finally:
            self._drop_parents()

    def _guarded(self, entry: Entry, source: Source) -> None:
        try:
            self._add(entry, source)
        except OSError as error:
            if error.errno in (errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP, errno.EISDIR):
                name = os.fsdecode(entry.name)[:200]
                raise BadLayer(f"{name!r} cannot be made: {error.strerror}") from None
            raise

    def _add(self, entry: Entry, source: Source) -> None:
        parts = _parts(entry.name)
        if not 0 <= entry.uid <= _LARGEST_ID or not 0 <= entry.gid <= _LARGEST_ID:
            raise BadLayer(f"{_shown(entry.name)} has an owner that is no id")
        if not parts:
            # "./": the root itself.
            if entry.kind == b"5":
                self._set_directory(self._root, entry, is_old=True)
                self._times.append((b".", entry.mtime))
            source.skip(entry.stored)
            return
        parent = self._parent(parts[:-1])
        name = parts[-1]
        if name.startswith(_WHITEOUT):
            source.skip(entry.stored)
            self._whiteout(parent, name, parts)
            return
        match entry.kind:
            case b"0":
                self._file(parent, parts, entry, source)
            case b"5":
                self._directory(parent, parts, entry)
            case b"2":
                self._replace(parent, parts, lambda: os.symlink(entry.link, name, dir_fd=parent))
                self._finish_node(parent, name, entry)
            case b"1":
                if not self._link(parent, parts, entry):
                    self._links.append((entry, parts))
            case b"3" | b"4" | b"6":
                self._node(parent, parts, entry)
            case _:
                # POSIX: what is not known is a file; what GNU tar or star add (labels, volumes)
                # is no part of the file system.
                if entry.kind in b"ADIMNV":
                    source.skip(entry.stored)
                else:
                    self._file(parent, parts, entry, source)

    # -- parents

    def _parent(self, parts: list[bytes]) -> int:
        """A descriptor of the directory; missing ones are made and remembered as implied."""
        if not parts:
            return self._root
        path = b"/".join(parts)
        found = self._parents.get(path)
        if found is not None:
            return found
        try:
            fd = self._open(path)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise
            fd = self._make_parents(parts)
        if len(self._parents) >= _HANDS:
            self._drop_parents()
        self._parents[path] = fd
        return fd

    def _open(self, path: bytes) -> int:
        return files.open_in_root(self._root, os.fsdecode(path), _DIRECTORY)

    def _make_parents(self, parts: list[bytes]) -> int:
        above = self._root
        try:
            for depth in range(1, len(parts) + 1):
                path = b"/".join(parts[:depth])
                try:
                    here = self._open(path)
                except FileNotFoundError:
                    here = self._make_parent(above, path, parts[depth - 1])
                except NotADirectoryError:
                    # What an earlier entry whited out comes back as a directory.
                    if not _is_whiteout(above, parts[depth - 1]):
                        raise
                    os.unlink(parts[depth - 1], dir_fd=above)
                    here = self._make_parent(above, path, parts[depth - 1])
                    os.setxattr(here, OPAQUE, b"y")
                if above != self._root:
                    os.close(above)
                above = here
            return above
        except BaseException:
            if above != self._root:
                os.close(above)
            raise

    def _make_parent(self, above: int, path: bytes, name: bytes) -> int:
        try:
            os.mkdir(name, 0o755, dir_fd=above)
            self.implied.add(path)
        except FileExistsError:
            # A link to something that is not in this layer: it is made where it points.
            made = files.make_directories(self._root, os.fsdecode(path))
            os.close(made)
        return self._open(path)

    def _drop_parents(self) -> None:
        for fd in self._parents.values():
            os.close(fd)
        self._parents.clear()

    # -- kinds

    def _file(self, parent: int, parts: list[bytes], entry: Entry, source: Source) -> None:
        name = parts[-1]
        try:
            fd = os.open(name, _CREATE, entry.mode & 0o777, dir_fd=parent)
        except FileExistsError:
            self._remove(parent, parts)
            fd = os.open(name, _CREATE, entry.mode & 0o777, dir_fd=parent)
        try:
            if entry.sparse is None:
                self._write(fd, entry.stored, source)
            else:
                self._write_sparse(fd, entry, source)
            if entry.uid or entry.gid:
                os.fchown(fd, entry.uid, entry.gid)
            if entry.mode & 0o7000:
                os.fchmod(fd, entry.mode)
            if entry.xattrs:
                _set_xattrs(fd, entry)
            time = _time(entry)
            os.utime(fd, ns=(time, time))
        finally:
            os.close(fd)
        self.size += entry.size

    def _write(self, fd: int, size: int, source: Source) -> None:
        hole = 0
        for piece in source.pieces(size):
            while len(piece):
                part = piece[: len(_ZEROS)]
                piece = piece[len(part) :]
                # Long runs of zeros take no space: also a defence against bombs of them.
                if len(part) >= _HOLE and part == _ZEROS[: len(part)]:
                    hole += len(part)
                    continue
                if hole:
                    os.lseek(fd, hole, os.SEEK_CUR)
                    hole = 0
                self._put(fd, part)
        if hole:
            os.ftruncate(fd, size)

    def _write_sparse(self, fd: int, entry: Entry, source: Source) -> None:
        left = entry.stored
        for offset, length in entry.sparse or ():
            os.lseek(fd, offset, os.SEEK_SET)
            for piece in source.pieces(length):
                self._put(fd, piece)
            left -= length
        source.skip(left)
        os.ftruncate(fd, entry.size)

    def _put(self, fd: int, piece: memoryview) -> None:
        while len(piece):
            done = os.write(fd, piece)
            piece = piece[done:]
            self._unchecked += done
        if self._unchecked > _CHECK_EVERY:
            self._unchecked = 0
            space = os.fstatvfs(fd)
            if space.f_bavail * space.f_frsize < _RESERVE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _directory(self, parent: int, parts: list[bytes], entry: Entry) -> None:
        path, name = b"/".join(parts), parts[-1]
        opaque = is_old = False
        try:
            os.mkdir(name, entry.mode & 0o777, dir_fd=parent)
        except FileExistsError:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                opaque = _is_whiteout(parent, name)
                self._remove(parent, parts)
                os.mkdir(name, entry.mode & 0o777, dir_fd=parent)
            else:
                self.implied.discard(path)
                is_old = True
        fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        try:
            self._set_directory(fd, entry, is_old=is_old)
            if opaque:
                os.setxattr(fd, OPAQUE, b"y")
        except BaseException:
            os.close(fd)
            raise
        self._times.append((path, _time(entry)))
        if len(self._parents) >= _HANDS:
            self._drop_parents()
        # The next entries are most likely inside it.
        before = self._parents.get(path)
        if before is not None:
            os.close(before)
        self._parents[path] = fd

    def _set_directory(self, fd: int, entry: Entry, *, is_old: bool) -> None:
        if entry.uid or entry.gid or is_old:
            os.fchown(fd, entry.uid, entry.gid)
        if entry.mode & 0o5000 or is_old:
            os.fchmod(fd, entry.mode & 0o5777)
        if entry.xattrs:
            _set_xattrs(fd, entry, late=False)
        if entry.mode & 0o2000 or _INHERITED in entry.xattrs:
            self._late.append((_parts(entry.name), entry))

    def _node(self, parent: int, parts: list[bytes], entry: Entry) -> None:
        name = parts[-1]
        kind = {b"3": stat.S_IFCHR, b"4": stat.S_IFBLK, b"6": stat.S_IFIFO}[entry.kind]
        device = 0
        if kind != stat.S_IFIFO:
            if (entry.major, entry.minor) == (0, 0) or entry.major >> 32 or entry.minor >> 32:
                raise BadLayer(f"{_shown(entry.name)} is no device that exists")
            device = os.makedev(entry.major, entry.minor)

        def make() -> None:
            try:
                os.mknod(name, kind | (entry.mode & 0o777), device, dir_fd=parent)
            except PermissionError:
                os.close(os.open(name, _CREATE, entry.mode & 0o777, dir_fd=parent))

        self._replace(parent, parts, make)
        self._finish_node(parent, name, entry)

    def _finish_node(self, parent: int, name: bytes, entry: Entry) -> None:
        """Owner, mode and time of what must not be opened."""
        if entry.uid or entry.gid:
            os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        if entry.mode & 0o7000 and entry.kind != b"2":
            # Never a link: it was made a moment ago, in a directory nobody else writes to.
            os.chmod(name, entry.mode, dir_fd=parent)
        time = _time(entry)
        os.utime(name, ns=(time, time), dir_fd=parent, follow_symlinks=False)

    def _link(self, parent: int, parts: list[bytes], entry: Entry) -> bool:
        """A hard link to an entry of this layer; False when that is not there (yet)."""
        name = parts[-1]
        target = _parts(entry.link)
        if not target:
            raise BadLayer(f"{_shown(entry.name)} is a link to the root")
        try:
            above = self._root if len(target) == 1 else self._open(b"/".join(target[:-1]))
        except FileNotFoundError:
            return False
        try:
            found = os.stat(target[-1], dir_fd=above, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                raise BadLayer(f"{_shown(entry.name)} is a hard link to a directory")

            def make() -> None:
                os.link(
                    target[-1], name, src_dir_fd=above, dst_dir_fd=parent, follow_symlinks=False
                )

            try:
                make()
            except FileExistsError:
                here = os.stat(name, dir_fd=parent, follow_symlinks=False)
                if (here.st_ino, here.st_dev) != (found.st_ino, found.st_dev):
                    self._remove(parent, parts)
                    make()
        except FileNotFoundError:
            return False
        finally:
            if above != self._root:
                os.close(above)
        return True

    def _whiteout(self, parent: int, name: bytes, parts: list[bytes]) -> None:
        if name == _OPAQUE_NAME:
            os.setxattr(parent, OPAQUE, b"y")
            return
        if name.startswith(_AUFS):
            return  # aufs' own book-keeping
        hidden = name[len(_WHITEOUT) :]
        if hidden in (b"", b".", b".."):
            raise BadLayer(f"{_shown(b'/'.join(parts))} hides nothing that could be there")
        try:
            os.mknod(hidden, stat.S_IFCHR, 0, dir_fd=parent)
        except FileExistsError:
            # This layer has the name itself: only what lies below is meant.
            found = os.stat(hidden, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                fd = os.open(hidden, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
                try:
                    os.setxattr(fd, OPAQUE, b"y")
                finally:
                    os.close(fd)

    # -- replacing

    def _replace(self, parent: int, parts: list[bytes], make: Callable[[], None]) -> None:
        try:
            make()
        except FileExistsError:
            self._remove(parent, parts)
            make()

    def _remove(self, parent: int, parts: list[bytes]) -> None:
        """What an earlier entry of this layer put there."""
        path = b"/".join(parts)
        below = path + b"/"
        for known in [p for p in self._parents if p == path or p.startswith(below)]:
            os.close(self._parents.pop(known))
        try:
            os.unlink(parts[-1], dir_fd=parent)
        except IsADirectoryError:
            remove_below(parent, os.fsdecode(parts[-1]))
        self.implied = {p for p in self.implied if p != path and not p.startswith(below)}

    # -- the end

    def _finish_links(self) -> None:
        """Links that came before what they point at."""
        for entry, parts in self._links:
            if not self._link(self._parent(parts[:-1]), parts, entry):
                raise BadLayer(
                    f"{_shown(entry.name)} is a hard link to {_shown(entry.link)}, "
                    "which the layer does not have"
                )

    def _finish_directories(self) -> None:
        """Set-group-id and default rights, once nothing is made inside any more."""
        for parts, entry in self._late:
            try:
                fd = files.open_in_root(
                    self._root, os.fsdecode(b"/".join(parts)) or "/", _DIRECTORY | os.O_NOFOLLOW
                )
            except OSError:
                continue  # replaced by a later entry
            try:
                if entry.mode & 0o2000:
                    os.fchmod(fd, entry.mode)
                _set_xattrs(fd, entry, late=True)
            finally:
                os.close(fd)

    def _finish_times(self) -> None:
        """Directories' times, once nothing is written into them any more; deepest first."""
        for path, time in reversed(self._times):
            above, _, name = path.rpartition(b"/")
            try:
                if not above:
                    os.utime(name, ns=(time, time), dir_fd=self._root, follow_symlinks=False)
                    continue
                parent = self._open(above)
            except (FileNotFoundError, NotADirectoryError):
                continue  # replaced by a later entry
            try:
                os.utime(name, ns=(time, time), dir_fd=parent, follow_symlinks=False)
            except FileNotFoundError:
                continue
            finally:
                os.close(parent)


def _parts(name: bytes) -> list[bytes]:
    """A name's components. Absolute names are relative to the root; ".." is refused."""
    if len(name) > _LONGEST_PATH:
        raise BadLayer("it has a name that is longer than a path can be")
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise BadLayer(f"{_shown(name)} would lead out of the root")
    return parts


def _time(entry: Entry) -> int:
    limit = _YEARS * 1_000_000_000
    return max(-limit, min(entry.mtime, limit))


def _set_xattrs(fd: int, entry: Entry, *, late: bool = False) -> None:
    for key, value in entry.xattrs.items():
        if (key == _INHERITED) != late:
            continue
        if not key.startswith(_XATTRS) or key.startswith(_NO_XATTRS) or b"\0" in key:
            continue
        try:
            os.setxattr(fd, key, value)
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise BadLayer(f"{_shown(entry.name)} has a malformed {_shown(key)}") from None
            # Only capabilities change what a program may do: their loss is an error.
            if error.errno not in (errno.ENOTSUP, errno.EPERM) or key == b"security.capability":
                raise


def _is_whiteout(parent: int, name: bytes) -> bool:
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def _shown(name: bytes) -> str:
    return repr(os.fsdecode(name)[:200])
