"""Fills a fresh volume with what the image has at its place, by descriptors, all or nothing.

A mark lies in the volume as long as it is being filled: whoever finds it knows that
the last one was killed in the middle, and begins anew. Runs in the container's user
namespace, before anything of the image does.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from stackctl.linux import files

MARK = ".stackctl-filling"
_CHUNK = 1 << 20
_OPEN = os.O_NOFOLLOW | os.O_CLOEXEC
#: The target has no such attribute, or this user namespace may not set it.
_NO_ATTRIBUTE = (errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENODATA)


def fill(root: int, tree: int, target: str, *, fresh: bool) -> None:
    """Copy what `root` has at `target` into the volume `tree`, if that one is still empty.

    Only for a container that is `fresh`: one that has run before has at least the place where
    the volume was mounted, and whoever emptied the volume, or gave it to somebody, meant it.
    """
    # Replicas that start together share a volume: the first one fills it.
    volume = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=tree)
    try:
        fcntl.flock(volume, fcntl.LOCK_EX)
        found = os.listdir(volume)
        if MARK not in found and (found or not fresh):
            return
        try:
            source = files.open_in_root(root, target, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return
        os.close(os.open(MARK, os.O_WRONLY | os.O_CREAT | _OPEN, 0o600, dir_fd=volume))
        for name in found:
            if name != MARK:
                _remove(volume, name)
        copy(source, volume)
        os.unlink(MARK, dir_fd=volume)
        # Times of the directory: taking the mark away has changed them.
        _copy_status(volume, os.fstat(source))
        os.close(source)
    finally:
        os.close(volume)


def copy(source: int, target: int) -> None:
    """A tree: modes, owners, times, links, extended attributes. No devices, no sockets."""
    with os.scandir(source) as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            name, mode = entry.name, status.st_mode
            if stat.S_ISDIR(mode):
                os.mkdir(name, 0o700, dir_fd=target)
                inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | _OPEN, dir_fd=source)
                made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | _OPEN, dir_fd=target)
                copy(inner, made)
                os.close(inner)
                os.close(made)
            elif stat.S_ISLNK(mode):
                os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
                os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
            elif stat.S_ISREG(mode):
                _copy_file(source, target, name, status)
            elif stat.S_ISFIFO(mode):
                os.mkfifo(name, stat.S_IMODE(mode), dir_fd=target)
    _copy_attributes(source, target)
    _copy_status(target, os.fstat(source))


def _copy_file(source: int, target: int, name: str, status: os.stat_result) -> None:
    reader = os.open(name, os.O_RDONLY | _OPEN, dir_fd=source)
    writer = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN, 0o600, dir_fd=target)
    while os.sendfile(writer, reader, None, _CHUNK):
        pass
    # Owners first: changing them takes capabilities and set-id bits away.
    os.fchown(writer, status.st_uid, status.st_gid)
    _copy_attributes(reader, writer)
    _copy_status(writer, status)
    os.close(reader)
    os.close(writer)


def _copy_attributes(source: int, target: int) -> None:
    try:
        names = os.listxattr(source)
    except OSError as error:
        if error.errno not in _NO_ATTRIBUTE:
            raise
        return
    for name in names:
        try:
            os.setxattr(target, name, os.getxattr(source, name))
        except OSError as error:
            if error.errno not in _NO_ATTRIBUTE:
                raise


def _copy_status(fd: int, status: os.stat_result) -> None:
    now = os.fstat(fd)
    if (now.st_uid, now.st_gid) != (status.st_uid, status.st_gid):
        os.fchown(fd, status.st_uid, status.st_gid)
    if stat.S_IMODE(now.st_mode) != stat.S_IMODE(status.st_mode):
        os.fchmod(fd, stat.S_IMODE(status.st_mode))
    os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))


def _remove(directory: int, name: str) -> None:
    """What a killed copy has left."""
    try:
        os.unlink(name, dir_fd=directory)
        return
    except IsADirectoryError:
        pass
    inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | _OPEN, dir_fd=directory)
    for each in os.listdir(inner):
        _remove(inner, each)
    os.close(inner)
    os.rmdir(name, dir_fd=directory)
