"""Device rules of cgroup v2: an eBPF program that says which nodes a container may open.

v1 takes such rules as text (plan); v2 asks a program attached to the group, with
the kind of device, its numbers and the access in a struct bpf_cgroup_dev_ctx.
The answer is 1 (allow) or 0 (EPERM). linux.bpf.restrict_devices loads it.

Sources: Documentation/admin-guide/cgroup-v2.rst ("Device controller"),
Documentation/bpf/standardization/instruction-set.rst, include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

_LOAD_WORD = 0x61  # BPF_LDX | BPF_MEM | BPF_W
_AND = 0x57
_MOVE = 0xB7
_IF_EQUAL = 0x15
_IF_NOT_EQUAL = 0x55
_EXIT = 0x95

_ANSWER, _CONTEXT, _KIND, _MAJOR, _MINOR = range(5)
_CHARACTER = 2
#: The low half of access_type is the kind of device, the high half the access.
_KIND_MASK = 0xFFFF


def device_program(devices: Sequence[str]) -> bytes:
    """Character devices "major:minor" or "major:*" may be used; all else may not.

    Struct bpf_insn, 8 bytes each. The program: load kind and numbers, compare
    with each rule and jump to the last two instructions ("allow") on a match.
    """
    tests = [_rule(rule) for rule in devices]
    deny = [_instruction(_MOVE, _ANSWER, 0), _instruction(_EXIT)]
    allow = [_instruction(_MOVE, _ANSWER, 1), _instruction(_EXIT)]
    count = sum(len(test) for test in tests)
    code = [
        _instruction(_LOAD_WORD, _KIND, source=_CONTEXT, offset=0),
        _instruction(_AND, _KIND, _KIND_MASK),
        _instruction(_LOAD_WORD, _MAJOR, source=_CONTEXT, offset=4),
        _instruction(_LOAD_WORD, _MINOR, source=_CONTEXT, offset=8),
        _instruction(_IF_NOT_EQUAL, _KIND, _CHARACTER, offset=count),
    ]
    left = count
    for test in tests:
        for register, number, leads_on in test:
            left -= 1
            if leads_on:
                # Another major: over the comparison of the minor.
                code.append(_instruction(_IF_NOT_EQUAL, register, number, offset=1))
            else:
                code.append(_instruction(_IF_EQUAL, register, number, offset=left + len(deny)))
    return b"".join([*code, *deny, *allow])


def _rule(text: str) -> list[tuple[int, int, bool]]:
    """(register, number, whether another comparison follows)."""
    major, _, minor = text.partition(":")
    if minor == "*":
        return [(_MAJOR, int(major), False)]
    return [(_MAJOR, int(major), True), (_MINOR, int(minor), False)]


def _instruction(
    code: int, target: int = 0, number: int = 0, *, source: int = 0, offset: int = 0
) -> bytes:
    return struct.pack("=BBhi", code, source << 4 | target, offset, number)
