"""Opening files inside a directory that somebody else may have filled (man 2 openat2).

Every path is resolved below a directory's descriptor, so that neither ".." nor
an absolute or magic link leads out of it.
"""

from __future__ import annotations

import ctypes
import errno
import os

from stackctl.linux.libc import c_char_p, c_int, c_size_t, check, function, syscall

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

O_PATH = os.O_PATH
#: As many links in one path as the kernel follows.
_MAX_LINKS = 40


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


_openat2 = syscall(437, c_int, c_char_p, ctypes.POINTER(_OpenHow), c_size_t)


def openat2(directory: int, path: str, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """Open `path` relative to `directory`; always close-on-exec.

    EAGAIN (a rename raced with the walk) is tried again: the kernel cannot
    tell a swap from an attack, and the next walk is as safe as the first.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    name = os.fsencode(path)
    for _ in range(64):
        result = _openat2(directory, name, how, ctypes.sizeof(how))
        if result != -1 or ctypes.get_errno() != errno.EAGAIN:
            break
    return check(result, path)


def open_in_root(root: int, path: str, flags: int = O_PATH, mode: int = 0) -> int:
    """Open `path` as a process whose root directory is `root` would; no magic links."""
    return openat2(root, path, flags, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)


def make_directories(root: int, path: str, mode: int = 0o755) -> int:
    """Make `path` below `root` with its parents; a descriptor (O_PATH) of it.

    Links are followed inside `root`, also those that point at nothing yet: what
    they point at is made there. A component that exists but is no directory is
    ENOTDIR.
    """
    try:
        return open_in_root(root, path, O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        return _make_leaf(root, path, mode, leaf_is_file=False)


def make_file(root: int, path: str, mode: int = 0o644) -> int:
    """Make an empty file at `path` below `root` unless something is there; O_PATH of it."""
    try:
        return open_in_root(root, path)
    except FileNotFoundError:
        return _make_leaf(root, path, mode, leaf_is_file=True)


def _make_leaf(root: int, path: str, mode: int, *, leaf_is_file: bool) -> int:
    """What is usual: all but the last component is there, and the last one is no link."""
    above, _, name = path.rpartition("/")
    try:
        parent = open_in_root(root, above or "/", O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        return _make(root, path, mode, leaf_is_file=leaf_is_file)
    try:
        if name not in ("", ".", "..") and _create(parent, name, mode, is_file=leaf_is_file):
            kind = 0 if leaf_is_file else os.O_DIRECTORY
            return os.open(name, O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC | kind, dir_fd=parent)
    finally:
        os.close(parent)
    return _make(root, path, mode, leaf_is_file=leaf_is_file)


def _make(root: int, path: str, mode: int, *, leaf_is_file: bool) -> int:
    """Walk `path` a component at a time, making what is missing.

    Whatever somebody swaps meanwhile, each open and each creation is resolved
    below `root`.
    """
    ahead = path.split("/")[::-1]
    behind: list[str] = []
    links = 0
    while ahead:
        part = ahead.pop()
        if part in ("", "."):
            continue
        if part == "..":
            del behind[-1:]
            continue
        here = "/".join(["", *behind, part])
        try:
            found = open_in_root(root, here, O_PATH | os.O_NOFOLLOW)
        except FileNotFoundError:
            parent = open_in_root(root, "/".join(["", *behind]) or "/", O_PATH | os.O_DIRECTORY)
            try:
                _create(parent, part, mode, is_file=leaf_is_file and not any(ahead))
            finally:
                os.close(parent)
            behind.append(part)
            continue
        try:
            target = os.readlink("", dir_fd=found)
        except OSError:  # EINVAL, ENOENT: no link
            behind.append(part)
            continue
        finally:
            os.close(found)
        links += 1
        if links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        if target.startswith("/"):
            behind.clear()
        ahead += target.split("/")[::-1]
    flags = O_PATH if leaf_is_file else O_PATH | os.O_DIRECTORY
    return open_in_root(root, "/".join(["", *behind]) or "/", flags)


def _create(parent: int, name: str, mode: int, *, is_file: bool) -> bool:
    """An empty file or directory; False when something has that name."""
    try:
        if is_file:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(name, flags, mode, dir_fd=parent))
        else:
            # Who can read it can enter it: `mode` may be that of a file below.
            os.mkdir(name, mode | (mode & 0o444) >> 2, dir_fd=parent)
    except FileExistsError:
        return False
    return True


def read_in_root(root: int, path: str, limit: int) -> bytes:
    """Contents of a regular file below `root`; EFBIG beyond `limit`, EINVAL for other kinds."""
    fd = open_in_root(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        status = os.fstat(fd)
        if status.st_mode & 0o170000 != 0o100000:
            raise OSError(errno.EINVAL, "is not a regular file", path)
        if status.st_size > limit:
            raise OSError(errno.EFBIG, f"is larger than {limit} bytes", path)
        content = b""
        while len(content) <= limit:
            piece = os.read(fd, 65536)
            if not piece:
                return content
            content += piece
        raise OSError(errno.EFBIG, f"is larger than {limit} bytes", path)
    finally:
        os.close(fd)


_syncfs = function("syncfs", c_int)


def sync_file_system(fd: int) -> None:
    """Write everything of the file system of `fd` to the disk (man 2 syncfs)."""
    check(_syncfs(fd))
