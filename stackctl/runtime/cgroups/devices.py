"""Device rules of cgroup v2: an eBPF program that says which nodes a container may use.

v1 takes such rules as text (plan); v2 asks a program attached to the group, with
the kind of device, its numbers and the access in a struct bpf_cgroup_dev_ctx.
The answer is 1 (allow) or 0 (EPERM). linux.bpf.restrict_devices loads it.

Sources: Documentation/admin-guide/cgroup-v1/devices.rst (the rules' text),
cgroup-v2.rst ("Device controller"), Documentation/bpf/standardization/
instruction-set.rst, include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence

from stackctl.errors import UsageError

_LOAD_WORD = 0x61  # BPF_LDX | BPF_MEM | BPF_W
_AND = 0x57
_SHIFT_RIGHT = 0x77
_COPY = 0xBF
_MOVE = 0xB7
_IF_NOT_EQUAL = 0x55
_EXIT = 0x95

_ANSWER, _CONTEXT, _KIND, _MAJOR, _MINOR, _ACCESS = range(6)
#: BPF_DEVCG_DEV_BLOCK, BPF_DEVCG_DEV_CHAR; the low half of access_type.
_KINDS = {"b": 1, "c": 2}
_KIND_MASK = 0xFFFF
#: BPF_DEVCG_ACC_MKNOD, _READ, _WRITE; the high half of access_type.
_ACCESSES = {"m": 1, "r": 2, "w": 4}

_RULE = re.compile(r"([abc]) +(\*|\d{1,7}):(\*|\d{1,7}) +(r?w?m?|[rwm]{1,3})")


def check_rule(text: str) -> str:
    """A rule such as "c 10:200 rwm" in one form. Raises UsageError."""
    found = _RULE.fullmatch(text.strip())
    if not found or not found[4]:
        raise UsageError(
            f'"{text}" is not a device rule',
            hint='kind (a, b or c), numbers, access: for example "c 10:200 rwm"',
        )
    access = "".join(letter for letter in "rwm" if letter in found[4])
    return f"{found[1]} {found[2]}:{found[3]} {access}"


def device_program(rules: Sequence[str]) -> bytes:
    """What a rule ("c 1:3 rwm") allows may be used; all else may not.

    Struct bpf_insn, 8 bytes each: load the question, then one block a rule that
    answers "allow" or falls through to the next one, then "deny".
    """
    code = [
        _instruction(_LOAD_WORD, _KIND, source=_CONTEXT, offset=0),
        _instruction(_COPY, _ACCESS, source=_KIND),
        _instruction(_SHIFT_RIGHT, _ACCESS, 16),
        _instruction(_AND, _KIND, _KIND_MASK),
        _instruction(_LOAD_WORD, _MAJOR, source=_CONTEXT, offset=4),
        _instruction(_LOAD_WORD, _MINOR, source=_CONTEXT, offset=8),
    ]
    for rule in rules:
        code += _block(rule)
    return b"".join([*code, _instruction(_MOVE, _ANSWER, 0), _instruction(_EXIT)])


def _block(rule: str) -> list[bytes]:
    kind, numbers, access = rule.split()
    major, _, minor = numbers.partition(":")
    tests = []
    if kind in _KINDS:
        tests.append((_KIND, _KINDS[kind]))
    if major != "*":
        tests.append((_MAJOR, int(major)))
    if minor != "*":
        tests.append((_MINOR, int(minor)))
    refused = sum(bit for letter, bit in _ACCESSES.items() if letter not in access)
    allow = [_instruction(_MOVE, _ANSWER, 1), _instruction(_EXIT)]
    if refused:
        mask = [
            _instruction(_COPY, _ANSWER, source=_ACCESS),
            _instruction(_AND, _ANSWER, refused),
            _instruction(_IF_NOT_EQUAL, _ANSWER, 0, offset=len(allow)),
        ]
        allow = [*mask, *allow]
    left = len(tests)
    block = []
    for register, number in tests:
        left -= 1
        block.append(_instruction(_IF_NOT_EQUAL, register, number, offset=left + len(allow)))
    return [*block, *allow]


def _instruction(
    code: int, target: int = 0, number: int = 0, *, source: int = 0, offset: int = 0
) -> bytes:
    return struct.pack("=BBhi", code, source << 4 | target, offset, number)
