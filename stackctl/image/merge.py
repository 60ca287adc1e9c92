"""Layers copied into one directory, as an overlay of them would show it (vfs, btrfs, export).

Directories are given top first. Whiteouts and opaque directories are those of an
overlay with `userxattr`. Hard links within a layer stay links.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from stackctl.image.removal import remove_below

_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | _FLAGS
_OPAQUE = "user.overlay.opaque"
_FICLONE = 0x40049409
_CHUNK = 64 << 20


def merge(layers: Sequence[Path], target: Path) -> None:
    """Makes `target`. Raises OSError."""
    target.mkdir()
    out = os.open(target, _DIRECTORY)
    try:
        for layer in reversed(layers):
            source = os.open(layer, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _Merger(source, out).run()
            finally:
                os.close(source)
        os.fchmod(out, 0o755)
    finally:
        os.close(out)


class _Merger:
    def __init__(self, source: int, target: int) -> None:
        self._source = source
        self._target = target
        self._links: dict[tuple[int, int], str] = {}

    def run(self) -> None:
        self._below(self._source, self._target, "")

    def _below(self, source: int, target: int, prefix: str) -> None:
        for name in os.listdir(source):
            self._one(source, target, name, prefix + name)

    def _one(self, source: int, target: int, name: str, path: str) -> None:
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        mode = status.st_mode
        if stat.S_ISDIR(mode):
            self._directory(source, target, name, path, status)
            return
        _clear(target, name)
        if stat.S_ISCHR(mode) and status.st_rdev == 0:
            return
        key = (status.st_dev, status.st_ino)
        if status.st_nlink > 1 and key in self._links:
            os.link(
                self._links[key],
                name,
                src_dir_fd=self._target,
                dst_dir_fd=target,
                follow_symlinks=False,
            )
            return
        if stat.S_ISREG(mode):
            _copy_file(source, target, name, status)
        elif stat.S_ISLNK(mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        else:
            os.mknod(name, mode, status.st_rdev, dir_fd=target)
        if not stat.S_ISREG(mode):
            os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
            if not stat.S_ISLNK(mode):
                os.chmod(name, stat.S_IMODE(mode), dir_fd=target)
            times = (status.st_atime_ns, status.st_mtime_ns)
            os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)
        if status.st_nlink > 1:
            self._links[key] = path

    def _directory(
        self, source: int, target: int, name: str, path: str, status: os.stat_result
    ) -> None:
        inner = os.open(name, _DIRECTORY, dir_fd=source)
        try:
            attributes = _attributes(inner)
            if not _is_directory(target, name) or attributes.get(_OPAQUE) == b"y":
                _clear(target, name)
                os.mkdir(name, 0o700, dir_fd=target)
            out = os.open(name, _DIRECTORY, dir_fd=target)
            try:
                self._below(inner, out, path + "/")
                _copy_status(out, status, attributes)
            finally:
                os.close(out)
        finally:
            os.close(inner)


def _copy_file(source: int, target: int, name: str, status: os.stat_result) -> None:
    reader = os.open(name, os.O_RDONLY | _FLAGS, dir_fd=source)
    try:
        writer = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600, dir_fd=target)
        try:
            _copy_content(reader, writer, status.st_size)
            _copy_status(writer, status, _attributes(reader))
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def _copy_content(reader: int, writer: int, size: int) -> None:
    """Shared extents where the file system has them; holes stay holes."""
    try:
        fcntl.ioctl(writer, _FICLONE, reader)
        return
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY):
            raise
    at = 0
    while at < size:
        try:
            begin = os.lseek(reader, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break
            raise
        at = os.lseek(reader, begin, os.SEEK_HOLE)
        os.lseek(reader, begin, os.SEEK_SET)
        os.lseek(writer, begin, os.SEEK_SET)
        left = at - begin
        while left:
            done = os.sendfile(writer, reader, None, min(left, _CHUNK))
            if not done:
                break
            left -= done
    os.ftruncate(writer, size)


def _copy_status(fd: int, status: os.stat_result, attributes: dict[str, bytes]) -> None:
    os.fchown(fd, status.st_uid, status.st_gid)
    os.fchmod(fd, stat.S_IMODE(status.st_mode))
    for key, value in attributes.items():
        if not key.startswith("user.overlay."):
            os.setxattr(fd, key, value)
    os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))


def _attributes(fd: int) -> dict[str, bytes]:
    try:
        names = os.listxattr(fd)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise
    wanted = ("user.", "security.capability", "system.posix_acl_")
    return {name: os.getxattr(fd, name) for name in names if name.startswith(wanted)}


def _is_directory(parent: int, name: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _clear(parent: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        remove_below(parent, name)
