"""Namespaces, rights and descriptors of processes: one function a system call.

Nothing here decides anything; the order in which these are called is the
business of stackctl.runtime.shim.child.
"""

from __future__ import annotations

import ctypes
import errno
import os

from stackctl.linux.libc import (
    c_int,
    c_uint,
    c_ulong,
    c_void_p,
    check,
    function,
    library,
    syscall,
)

CLONE_VM = 0x100
CLONE_NEWTIME = 0x80
CLONE_NEWNS = 0x20000
CLONE_NEWCGROUP = 0x2000000
CLONE_NEWUTS = 0x4000000
CLONE_NEWIPC = 0x8000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
SIGCHLD = 17
SIGKILL = 9

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_SET_SECCOMP = 22
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_SECUREBITS = 28
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

SECCOMP_MODE_FILTER = 2
CLOSE_RANGE_CLOEXEC = 4


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", c_int))


class _CapData(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


class _SockFprog(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


_CAPABILITY_VERSION_3 = 0x20080522

_unshare = function("unshare", c_int)
_setns = function("setns", c_int, c_int)
_prctl = function("prctl", c_int, c_ulong, c_ulong, c_ulong, c_ulong)
_prctl_name = function("prctl", c_int, ctypes.c_char_p)
_prctl_pointer = function("prctl", c_int, c_ulong, c_void_p, c_ulong, c_ulong)
_capset = function("capset", ctypes.POINTER(_CapHeader), ctypes.POINTER(_CapData))
_capget = function("capget", ctypes.POINTER(_CapHeader), ctypes.POINTER(_CapData))
_sethostname = function("sethostname", ctypes.c_char_p, ctypes.c_size_t)
_clone = function("clone", c_void_p, c_void_p, c_int, c_void_p)


_pidfd_send_signal = syscall(424, c_int, c_int, c_void_p, c_uint)
_close_range = syscall(436, c_uint, c_uint, c_uint)
_pause = ctypes.cast(library.pause, c_void_p)


def unshare(flags: int) -> None:
    check(_unshare(flags), "unshare")


def setns(fd: int, flags: int) -> None:
    """Join namespaces; a pidfd with several CLONE_NEW* flags joins all of them at once."""
    check(_setns(fd, flags), "setns")


def prctl(option: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> int:
    return check(_prctl(option, a, b, c, d), f"prctl {option}")


def die_with_parent() -> None:
    """Be killed when the parent (the shim) is; forgotten when the ids change."""
    prctl(PR_SET_PDEATHSIG, SIGKILL)


def set_name(name: str) -> None:
    """The name in `ps` (15 bytes)."""
    check(_prctl_name(PR_SET_NAME, name.encode()[:15]))


def pidfd_send_signal(pidfd: int, signum: int) -> None:
    check(_pidfd_send_signal(pidfd, signum, None, 0), f"signal {signum}")


def close_range(first: int, last: int = 0xFFFFFFFF, *, cloexec: bool = False) -> None:
    """Close descriptors first..last, or (cloexec) have the next exec do it."""
    check(_close_range(first, last, CLOSE_RANGE_CLOEXEC if cloexec else 0), "close_range")


def sethostname(name: str) -> None:
    raw = name.encode()
    check(_sethostname(raw, len(raw)), "sethostname")


def capset(effective: int, permitted: int, inheritable: int = 0) -> None:
    """Capability sets of this process, as bit masks."""
    header = _CapHeader(_CAPABILITY_VERSION_3, 0)
    low = 0xFFFFFFFF
    data = (_CapData * 2)(
        _CapData(effective & low, permitted & low, inheritable & low),
        _CapData(effective >> 32, permitted >> 32, inheritable >> 32),
    )
    check(_capset(header, data), "capset")


def capget() -> tuple[int, int, int]:
    """Effective, permitted and inheritable masks of this process."""
    header = _CapHeader(_CAPABILITY_VERSION_3, 0)
    data = (_CapData * 2)()
    check(_capget(header, data), "capget")
    return (
        data[0].effective | data[1].effective << 32,
        data[0].permitted | data[1].permitted << 32,
        data[0].inheritable | data[1].inheritable << 32,
    )


def drop_bounding(keep: int) -> None:
    """Take every capability outside the mask `keep` out of the bounding set."""
    for number in range(64):
        if keep >> number & 1:
            continue
        if _prctl(PR_CAPBSET_DROP, number, 0, 0, 0) == -1:
            code = ctypes.get_errno()
            if code == errno.EINVAL:  # past the kernel's last capability
                return
            raise OSError(code, os.strerror(code), f"capability {number}")


def load_seccomp(program: bytes) -> None:
    """Load a BPF program (array of struct sock_filter, 8 bytes each) for this process."""
    fprog = _SockFprog(len(program) // 8, program)
    check(_prctl_pointer(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(fprog), 0, 0), "seccomp")


def new_user_namespace(uid_map: str, gid_map: str) -> int:
    """A descriptor of a fresh user namespace with these maps (man 7 user_namespaces).

    It is made by a task that shares our memory and does nothing but wait in
    libc's pause(2): a fork of the interpreter would cost ten times as much.
    The task never runs Python and is gone before this returns.
    """
    stack = ctypes.create_string_buffer(16384)
    top = (ctypes.addressof(stack) + 16384) & ~0xF
    pid = check(_clone(_pause, top, CLONE_VM | CLONE_NEWUSER | SIGCHLD, None), "user namespace")
    try:
        for name, text in (("uid_map", uid_map), ("gid_map", gid_map)):
            write_file(f"/proc/{pid}/{name}", text)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.kill(pid, SIGKILL)
        os.waitpid(pid, 0)


def write_file(path: str, text: str) -> None:
    """One write(2) of `text` into an existing file (kernel files take a value at once)."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(fd)


def start_time(pid: int) -> int:
    """Field 22 of /proc/PID/stat: with the pid it names a process for good.

    FileNotFoundError or ProcessLookupError when there is none.
    """
    fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = os.read(fd, 4096)
    finally:
        os.close(fd)
    return int(text[text.rindex(b")") + 2 :].split()[19])


def is_thread(pid: int) -> bool:
    """Whether that number is a thread's that is not its process's first one; it may be a zombie.

    FileNotFoundError or ProcessLookupError when there is none.
    """
    with open(f"/proc/{pid}/status", "rb") as file:
        return b"Tgid:\t%d\n" % pid not in file.readlines()


_Rlimit = ctypes.c_uint64 * 2
_getrlimit = function("getrlimit", c_int, _Rlimit)
_setrlimit = function("setrlimit", c_int, _Rlimit)


def getrlimit(resource: int) -> tuple[int, int]:
    """Soft and hard limit; infinity is 2**64 - 1."""
    limits = _Rlimit()
    check(_getrlimit(resource, limits), f"resource limit {resource}")
    return limits[0], limits[1]


def setrlimit(resource: int, soft: int, hard: int) -> None:
    check(_setrlimit(resource, _Rlimit(soft, hard)), f"resource limit {resource}")


def rename_argument(old: str, new: str) -> None:
    """Overwrites one of our own arguments, as `ps` shows them, with another of the same length.

    Nothing happens when there is no such argument. /proc/self/stat has the addresses (man 5 proc).
    """
    with open("/proc/self/stat", "rb") as file:
        numbers = file.read().rpartition(b")")[2].split()
    start, end = int(numbers[45]), int(numbers[46])
    at = ctypes.string_at(start, end - start).find(old.encode() + b"\0")
    if at >= 0 and len(new.encode()) == len(old.encode()):
        ctypes.memmove(start + at, new.encode(), len(new.encode()))
