"""Mounts by descriptor: the mount API of Linux 5.2 and later (man 2 open_tree, fsopen, ...).

Mounts are made detached and then attached to a descriptor, so that no path is
walked twice and nothing appears in a mount namespace before it is complete.
"""

from __future__ import annotations

import ctypes
import os

from stackctl.linux.libc import c_char_p, c_int, c_size_t, c_uint, c_ulong, check, function, syscall

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
AT_NO_AUTOMOUNT = 0x800
AT_SYMLINK_NOFOLLOW = 0x100

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC

MOVE_MOUNT_F_EMPTY_PATH = 0x04
MOVE_MOUNT_T_EMPTY_PATH = 0x40

FSOPEN_CLOEXEC = 1
FSMOUNT_CLOEXEC = 1
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6

MOUNT_ATTR_RDONLY = 0x01
MOUNT_ATTR_NOSUID = 0x02
MOUNT_ATTR_NODEV = 0x04
MOUNT_ATTR_NOEXEC = 0x08
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_IDMAP = 0x100000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20

MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


_open_tree = syscall(428, c_int, c_char_p, c_uint)
_move_mount = syscall(429, c_int, c_char_p, c_int, c_char_p, c_uint)
_fsopen = syscall(430, c_char_p, c_uint)
_fsconfig = syscall(431, c_int, c_uint, c_char_p, c_char_p, c_int)
_fsmount = syscall(432, c_int, c_uint, c_uint)
_mount_setattr = syscall(442, c_int, c_char_p, c_uint, ctypes.POINTER(_MountAttr), c_size_t)
_mount = function("mount", c_char_p, c_char_p, c_char_p, c_ulong, c_char_p)
_umount2 = function("umount2", c_char_p, c_int)
_pivot_root = function("pivot_root", c_char_p, c_char_p)


def open_tree(path: str, *, at: int = AT_FDCWD, recursive: bool = False) -> int:
    """A detached copy of the mount that `path` lies on, rooted at it (a bind mount to be).

    An empty `path` means the object of the descriptor `at`.
    """
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_NO_AUTOMOUNT
    if recursive:
        flags |= AT_RECURSIVE
    if not path:
        flags |= AT_EMPTY_PATH
    return check(_open_tree(at, os.fsencode(path), flags), path or f"fd {at}")


def move_mount(tree: int, target: int, what: str = "") -> None:
    """Attach the detached mount `tree` on the object of the descriptor `target`."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    check(_move_mount(tree, b"", target, b"", flags), what or None)


def mount_setattr(
    fd: int,
    *,
    set_attributes: int = 0,
    clear: int = 0,
    propagation: int = 0,
    userns: int = -1,
    recursive: bool = False,
    what: str = "",
) -> None:
    """Change the attributes of the mount of `fd`; `userns` id-maps it by that namespace."""
    attr = _MountAttr(set_attributes, clear, propagation, 0)
    if userns >= 0:
        attr.attr_set |= MOUNT_ATTR_IDMAP
        attr.userns_fd = userns
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    check(_mount_setattr(fd, b"", flags, attr, ctypes.sizeof(attr)), what or None)


def new_mount(
    fstype: str, options: tuple[tuple[str, str | None], ...] = (), attributes: int = 0
) -> int:
    """A new instance of a file system as a detached mount.

    `options` are (key, value); value None sets a flag. The error names the
    file system and, where the kernel wrote one into the context, its reason.
    """
    context = check(_fsopen(fstype.encode(), FSOPEN_CLOEXEC), fstype)
    try:
        for key, value in options:
            if value is None:
                result = _fsconfig(context, FSCONFIG_SET_FLAG, key.encode(), None, 0)
            else:
                result = _fsconfig(
                    context, FSCONFIG_SET_STRING, key.encode(), os.fsencode(value), 0
                )
            check(result, f"{fstype} {key}")
        check(_fsconfig(context, FSCONFIG_CMD_CREATE, None, None, 0), fstype)
        return check(_fsmount(context, FSMOUNT_CLOEXEC, attributes), fstype)
    except OSError as error:
        reason = _context_log(context)
        if reason:
            raise OSError(
                error.errno, f"{os.strerror(error.errno or 0)}: {reason}", fstype
            ) from None
        raise
    finally:
        os.close(context)


def _context_log(context: int) -> str:
    """What the kernel said in the file system context's log ("e overlay: ...")."""
    lines = []
    while True:
        try:
            lines.append(os.read(context, 4096).decode(errors="replace").strip())
        except OSError:  # ENODATA: no more messages
            return "; ".join(line[2:] for line in lines if line.startswith(("e ", "w ")))


def mount(source: str, target: str, fstype: str, flags: int = 0, data: str = "") -> None:
    """The old call, for what it does in one step (propagation, remounts, long option lists)."""
    check(
        _mount(os.fsencode(source), os.fsencode(target), fstype.encode(), flags, os.fsencode(data)),
        target,
    )


def umount2(target: str, flags: int = 0) -> None:
    check(_umount2(os.fsencode(target), flags), target)


def pivot_root(new_root: str, put_old: str) -> None:
    check(_pivot_root(os.fsencode(new_root), os.fsencode(put_old)), new_root)
