"""bpf(2), as far as device rules of cgroup v2 need it: load one program, attach it to a group.

Needs CAP_SYS_ADMIN (or BPF and NET_ADMIN) in the first user namespace.
"""

from __future__ import annotations

import ctypes
import os

from stackctl.linux.libc import c_int, c_uint, c_void_p, check, syscall

_PROG_LOAD = 5
_PROG_ATTACH = 8
_CGROUP_DEVICE_PROGRAM = 15
_CGROUP_DEVICE = 6


class _Load(ctypes.Structure):
    """The start of union bpf_attr for BPF_PROG_LOAD; the kernel takes the rest as zero."""

    _fields_ = (
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_uint64),
        ("kern_version", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
    )


class _Attach(ctypes.Structure):
    _fields_ = (
        ("target_fd", ctypes.c_uint32),
        ("attach_bpf_fd", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("attach_flags", ctypes.c_uint32),
    )


# The number differs: include/uapi/asm-generic/unistd.h, arch/x86/entry/syscalls/syscall_64.tbl.
_bpf = syscall(321 if os.uname().machine == "x86_64" else 280, c_int, c_void_p, c_uint)


def restrict_devices(group: str, program: bytes) -> None:
    """Attaches a device program (8 bytes an instruction) to a cgroup v2 directory.

    It holds for all processes of the group and goes with the group.
    """
    license_text = ctypes.create_string_buffer(b"Apache-2.0")
    code = ctypes.create_string_buffer(program, len(program))
    load = _Load(
        prog_type=_CGROUP_DEVICE_PROGRAM,
        insn_cnt=len(program) // 8,
        insns=ctypes.addressof(code),
        license=ctypes.addressof(license_text),
    )
    loaded = check(_bpf(_PROG_LOAD, ctypes.addressof(load), ctypes.sizeof(load)), "device program")
    try:
        directory = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            attach = _Attach(directory, loaded, _CGROUP_DEVICE, 0)
            check(_bpf(_PROG_ATTACH, ctypes.addressof(attach), ctypes.sizeof(attach)), group)
        finally:
            os.close(directory)
    finally:
        os.close(loaded)
