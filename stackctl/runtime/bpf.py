"""A small assembler for seccomp filters (classic BPF), nothing more.

`assemble(program)` turns a `Filter` (for each architecture: what to answer for
each system call) into the sock_filter array that prctl(PR_SET_SECCOMP) takes.

    load arch -> x86_64? -> binary search over runs of numbers -> leaf
              -> i386?   -> ...                                -> leaf
              -> neither: kill the process

A leaf returns an action at once, or looks at arguments first. Neighbouring
numbers with the same answer are one run, so that an allow-list of some 350
calls takes about seven comparisons. Every leaf ends in a return: a subtree is
self-contained, and only distances forward have to be known.

Sources: seccomp(2), Documentation/userspace-api/seccomp_filter.rst,
include/uapi/linux/{bpf_common,seccomp,audit}.h. Both architectures here are
little-endian: an argument's low half comes first.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import StrEnum

from stackctl.runtime.syscalls import X32_BIT
from stackctl.values import dataclass

KILL_PROCESS = 0x80000000
KILL_THREAD = 0x00000000
TRAP = 0x00030000
ERRNO = 0x00050000
TRACE = 0x7FF00000
LOG = 0x7FFC0000
ALLOW = 0x7FFF0000

AUDIT_ARCH = {"x86_64": 0xC000003E, "i386": 0x40000003, "aarch64": 0xC00000B7}

#: BPF_MAXINSNS: the kernel takes no longer program.
LONGEST = 4096

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
_JUMP = 0x05  # BPF_JMP | BPF_JA
_JEQ = 0x15
_JGT = 0x25
_JGE = 0x35
_RETURN = 0x06

# struct seccomp_data
_NUMBER_AT = 0
_ARCH_AT = 4
_ARGUMENTS_AT = 16

_LOW = 0xFFFFFFFF
_ENOSYS = 38

Instruction = tuple[int, int, int, int]
Code = list[Instruction]


class Compare(StrEnum):
    EQ = "=="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="


@dataclass(frozen=True, slots=True)
class Condition:
    """Argument `index` & `mask`, compared with `value`, unsigned.

    `wide` False looks at the low 32 bits only: right for every argument that
    the kernel itself takes as an int. Comparing all 64 bits of such a one lets
    a caller slip past by setting high bits that the kernel then ignores.
    """

    index: int
    compare: Compare
    value: int
    mask: int = 0xFFFFFFFFFFFFFFFF
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """When all conditions hold, `action` is the answer."""

    conditions: tuple[Condition, ...]
    action: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call gets: the first check that holds, else `otherwise`."""

    otherwise: int
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class Filter:
    """Answers by mode (as syscalls.numbers names them) and number.

    A number of a mode that is not in its answers gets `default` up to `newest`,
    `beyond` above it. Calls of an architecture that is not listed get `foreign`;
    x32, which has no architecture of its own, does not exist unless it is listed.
    """

    answers: Mapping[str, Mapping[int, Answer]]
    default: int
    newest: int
    beyond: int
    foreign: int = KILL_PROCESS


#: (first number, answer), in order.
Runs = list[tuple[int, Answer]]


def assemble(program: Filter) -> bytes:
    """The array of struct sock_filter, 8 bytes each. ValueError if the kernel could not take it."""
    code: Code = [(_LOAD, 0, 0, _ARCH_AT)]
    for arch in (mode for mode in program.answers if mode in AUDIT_ARCH):
        runs = _runs(program.answers[arch], program)
        if arch == "x86_64":
            runs += _x32_runs(program)
        body: Code = [(_LOAD, 0, 0, _NUMBER_AT), *_search(runs)]
        code += [(_JEQ, 1, 0, AUDIT_ARCH[arch]), (_JUMP, 0, 0, len(body)), *body]
    code.append((_RETURN, 0, 0, program.foreign))
    if len(code) > LONGEST:
        raise ValueError(f"a filter of {len(code)} instructions: the kernel takes {LONGEST}")
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _runs(answers: Mapping[int, Answer], program: Filter, base: int = 0) -> Runs:
    """Each valid up to the next one's first number; `base` is that of the mode's numbers."""
    default, beyond = Answer(program.default), Answer(program.beyond)
    newest = base + program.newest
    starts = {base: default, newest + 1: beyond}
    for number, answer in answers.items():
        starts[number] = answer
        if number + 1 not in answers:
            starts[number + 1] = default if number < newest else beyond
    runs: Runs = []
    for first in sorted(starts):
        if not runs or runs[-1][1] != starts[first]:
            runs.append((first, starts[first]))
    return runs


def _x32_runs(program: Filter) -> Runs:
    """Where x32 is not wanted its numbers must not be a way around the rules for x86_64."""
    if "x32" not in program.answers:
        return [(X32_BIT, Answer(ERRNO | _ENOSYS))]
    return _runs(program.answers["x32"], program, X32_BIT)


def _search(runs: Runs) -> Code:
    if len(runs) == 1:
        return _leaf(runs[0][1])
    middle = len(runs) // 2
    low, high = _search(runs[:middle]), _search(runs[middle:])
    first = runs[middle][0]
    if len(low) <= 255:
        return [(_JGE, len(low), 0, first), *low, *high]
    # A conditional jump reaches 255 instructions, an unconditional one anywhere.
    return [(_JGE, 0, 1, first), (_JUMP, 0, 0, len(low)), *low, *high]


def _leaf(answer: Answer) -> Code:
    code: Code = []
    for check in answer.checks:
        code += _check(check)
    return [*code, (_RETURN, 0, 0, answer.otherwise)]


def _check(check: Check) -> Code:
    """Falls through to the next check when a condition fails; built from its end."""
    code: Code = [(_RETURN, 0, 0, check.action)]
    for condition in reversed(check.conditions):
        test = _narrow if not condition.wide else _wide
        code = [*test(condition, len(code)), *code]
    return code


def _narrow(c: Condition, skip: int) -> Code:
    """Pass: the next instruction. Fail: `skip` instructions further."""
    code: Code = [(_LOAD, 0, 0, _ARGUMENTS_AT + 8 * c.index)]
    if c.mask & _LOW != _LOW:
        code.append((_AND, 0, 0, c.mask & _LOW))
    value = c.value & _LOW
    match c.compare:
        case Compare.EQ:
            code.append((_JEQ, 0, skip, value))
        case Compare.NE:
            code.append((_JEQ, skip, 0, value))
        case Compare.GT:
            code.append((_JGT, 0, skip, value))
        case Compare.LE:
            code.append((_JGT, skip, 0, value))
        case Compare.GE:
            code.append((_JGE, 0, skip, value))
        case Compare.LT:
            code.append((_JGE, skip, 0, value))
    return code


def _wide(c: Condition, skip: int) -> Code:
    """All 64 bits: the high half decides, the low half when the high ones are equal."""
    at = _ARGUMENTS_AT + 8 * c.index
    high, low = c.value >> 32 & _LOW, c.value & _LOW
    low_half = [*_masked(at, c.mask & _LOW)]
    rest = len(low_half) + 1  # instructions after the high half's last jump
    passed, failed = rest, rest + skip
    match c.compare:
        case Compare.EQ:
            upper = [(_JEQ, 0, failed, high)]
            lower = (_JEQ, 0, skip, low)
        case Compare.NE:
            upper = [(_JEQ, 0, passed, high)]
            lower = (_JEQ, skip, 0, low)
        case Compare.GT:
            upper = [(_JGT, passed + 1, 0, high), (_JEQ, 0, failed, high)]
            lower = (_JGT, 0, skip, low)
        case Compare.GE:
            upper = [(_JGT, passed + 1, 0, high), (_JEQ, 0, failed, high)]
            lower = (_JGE, 0, skip, low)
        case Compare.LT:
            upper = [(_JGT, failed + 1, 0, high), (_JEQ, 0, passed, high)]
            lower = (_JGE, skip, 0, low)
        case Compare.LE:
            upper = [(_JGT, failed + 1, 0, high), (_JEQ, 0, passed, high)]
            lower = (_JGT, skip, 0, low)
    return [*_masked(at + 4, c.mask >> 32 & _LOW), *upper, *low_half, lower]


def _masked(at: int, mask: int) -> Code:
    load: Instruction = (_LOAD, 0, 0, at)
    return [load] if mask == _LOW else [load, (_AND, 0, 0, mask)]
