"""The small first process of a container with `init: true`: reaps, and forwards signals.

It is a program of some 200 bytes that the container's process-to-be executes, with the
container's own ids, capabilities and filters: whoever may look at a process of the
container may look at it, and finds nothing of the engine in it (docs/adr/0042).

    all signals are blocked by who executes it
    a signal        -> sent on to the child
    SIGCHLD         -> whoever has ended is reaped; its child: exit with the same code,
                       128 + the signal that ended it
"""

from __future__ import annotations

import fcntl
import os
import struct

#: Machine and code, of scripts/init/*.S. Behind it come the child's number and the name.
_CODE = {
    "x86_64": (
        62,
        "488d3591000000bf0f000000b89d0000000f056aff50488d7c240831f631d241ba08000000b88000"
        "00000f0583f8fc74e5bf7d00000085c0785083f811741189c68b3d4d000000b83e0000000f05ebc6"
        "48c7c7ffffffff4889e6ba010000404531d2b83d0000000f0585c07ea93b052100000075db8b3c24"
        "83e77f740881c780000000eb050fb67c2401b8e70000000f050f1f00",
    ),
    "aarch64": (
        183,
        "e00180d261050010e81480d2010000d409008092ff27bfa9e0230091e1031faae2031faa030180d2"
        "281180d2010000d41f10003120ffff54e103002aa00f80522103f8373f440071a000005400030018"
        "281080d2010000d4f0ffff1700008092e1030091220080520200a872e3031faa882080d2010000d4"
        "1f000071edfcff54610100181f00016ba1feff54e10340b920180072600000540000021102000014"
        "203c0853c80b80d2010000d4",
    ),
}
_NAME = b"stackctl-init\0"
_BASE = 0x400000
#: The largest that these machines have.
_PAGE = 0x10000
_HEADERS = 64 + 2 * 56
_PT_LOAD, _PT_GNU_STACK = 1, 0x6474E551
_R, _W, _X = 4, 2, 1
_EXECUTABLE = 0x10
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def image(machine: str) -> bytes:
    """The program as an ELF file, for child 0. KeyError for an unknown machine."""
    number, code = _CODE[machine]
    content = bytes.fromhex(code) + bytes(4) + _NAME
    size = _HEADERS + len(content)
    header = struct.pack(
        "<4sBBBB8xHHIQQQIHHHHHH",
        *(b"\x7fELF", 2, 1, 1, 0),
        *(2, number, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 2, 0, 0, 0),
    )
    segments = struct.pack("<IIQQQQQQ", _PT_LOAD, _R | _X, 0, _BASE, _BASE, size, size, _PAGE)
    segments += struct.pack("<IIQQQQQQ", _PT_GNU_STACK, _R | _W, 0, 0, 0, 0, 0, 16)
    return header + segments + content


def prepare() -> int:
    """A descriptor of the program, in memory; `execute` needs it."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        fd = os.memfd_create(_NAME[:-1].decode(), flags | _EXECUTABLE)
    except OSError:  # a kernel before 6.3 has no word for it
        fd = os.memfd_create(_NAME[:-1].decode(), flags)
    os.write(fd, image(os.uname().machine))
    return fd


def execute(fd: int, child: int, argv: list[str], env: dict[str, str]) -> None:
    """Become the program, for this child; all signals are blocked. OSError when it cannot be."""
    place = os.fstat(fd).st_size - len(_NAME) - 4
    os.pwrite(fd, struct.pack("<I", child), place)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    os.execve(f"/proc/self/fd/{fd}", ["stackctl-init", "--", *argv], env)
