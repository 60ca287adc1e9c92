"""Fills a fresh volume with what the image has at its place, by descriptors, all or nothing.

It is copied into a directory of the volume's, which gets another name when all is in it, and then
its entries are moved up. Whoever finds the directory knows that the last one was killed: a part
is removed, a whole is moved. Nothing else in the volume is touched, whoever wrote it meanwhile.
Runs in the container's user namespace, before anything of the image does.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from stackctl.linux import files

FILLING, FILLED = ".stackctl-filling", ".stackctl-filled"
_CHUNK = 1 << 20
_OPEN = os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | _OPEN
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
        was_killed = _tidy(volume)
        if os.listdir(volume) or not (fresh or was_killed):
            return
        try:
            source = files.open_in_root(root, target, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return
        os.mkdir(FILLING, 0o700, dir_fd=volume)
        staging = os.open(FILLING, _DIRECTORY, dir_fd=volume)
        copy(source, staging)
        os.close(staging)
        os.close(source)
        os.rename(FILLING, FILLED, src_dir_fd=volume, dst_dir_fd=volume)
        _publish(volume)
    finally:
        os.close(volume)


def _tidy(volume: int) -> bool:
    """Ends what a killed filling has begun. Whether there was only a part of it."""
    names = os.listdir(volume)
    if FILLED in names:
        _publish(volume)
    if FILLING in names:
        _remove(volume, FILLING)
    return FILLING in names


def _publish(volume: int) -> None:
    """Moves a whole copy to its place; what somebody else has put there meanwhile stays."""
    try:
        staged = os.open(FILLED, _DIRECTORY, dir_fd=volume)
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        _remove(volume, FILLED)  # not ours: a file or a link of that name
        return
    status = os.fstat(staged)
    _copy_attributes(staged, volume)
    _copy_status(volume, status)
    there = set(os.listdir(volume))
    for name in os.listdir(staged):
        if name in there:
            _remove(staged, name)
        else:
            os.rename(name, name, src_dir_fd=staged, dst_dir_fd=volume)
    os.close(staged)
    os.rmdir(FILLED, dir_fd=volume)
    # Its times: moving has changed them.
    _copy_status(volume, status)


def copy(source: int, target: int) -> None:
    """A tree: modes, owners, times, links, extended attributes. No devices, no sockets."""
    with os.scandir(source) as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            name, mode = entry.name, status.st_mode
            if stat.S_ISDIR(mode):
                os.mkdir(name, 0o700, dir_fd=target)
                inner = os.open(name, _DIRECTORY, dir_fd=source)
                made = os.open(name, _DIRECTORY, dir_fd=target)
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
    inner = os.open(name, _DIRECTORY, dir_fd=directory)
    for each in os.listdir(inner):
        _remove(inner, each)
    os.close(inner)
    os.rmdir(name, dir_fd=directory)
