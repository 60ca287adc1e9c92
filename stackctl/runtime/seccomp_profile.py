"""Reads a seccomp profile in Docker's JSON format into rules.

Follows the format's meaning as the engine and the OCI runtime spec (config-linux,
"seccomp") describe it: includes/excludes by capability, architecture and kernel,
several conditions of one rule hold together unless two of them are about the
same argument (then each stands alone). What it cannot keep is a UsageError.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from stackctl.errors import UsageError
from stackctl.runtime import bpf
from stackctl.runtime.bpf import Compare, Condition
from stackctl.values import dataclass

ENOSYS = errno.ENOSYS

_ACTIONS = {
    "SCMP_ACT_KILL": bpf.KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": bpf.KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": bpf.KILL_PROCESS,
    "SCMP_ACT_TRAP": bpf.TRAP,
    "SCMP_ACT_ERRNO": bpf.ERRNO,
    "SCMP_ACT_TRACE": bpf.TRACE,
    "SCMP_ACT_ALLOW": bpf.ALLOW,
    "SCMP_ACT_LOG": bpf.LOG,
}

_COMPARES = {
    "SCMP_CMP_NE": Compare.NE,
    "SCMP_CMP_LT": Compare.LT,
    "SCMP_CMP_LE": Compare.LE,
    "SCMP_CMP_EQ": Compare.EQ,
    "SCMP_CMP_GE": Compare.GE,
    "SCMP_CMP_GT": Compare.GT,
    "SCMP_CMP_MASKED_EQ": Compare.EQ,
}

_MODES = {
    "SCMP_ARCH_X86_64": "x86_64",
    "SCMP_ARCH_X86": "i386",
    "SCMP_ARCH_X32": "x32",
    "SCMP_ARCH_AARCH64": "aarch64",
}
#: What `includes.arches` calls the machine.
_GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}

#: Arguments that the kernel takes as int (or drops the high half of): name -> positions.
_INTS: Mapping[str, frozenset[int]] = {
    name: frozenset(positions)
    for name, positions in {
        "socket": (0, 1, 2),
        "socketpair": (0, 1, 2),
        "socketcall": (0,),
        "personality": (0,),
        "ioctl": (0, 1),
        "clone": (0,),
        "unshare": (0,),
        "setns": (0, 1),
        "prctl": (0,),
        "fcntl": (0, 1),
        "fcntl64": (0, 1),
        "ptrace": (1,),
        "kill": (0, 1),
        "tkill": (0, 1),
        "tgkill": (0, 1, 2),
        "setsockopt": (0, 1, 2, 4),
        "getsockopt": (0, 1, 2),
        "open": (1, 2),
        "openat": (0, 2, 3),
        "seccomp": (0, 1),
        "bpf": (0, 2),
        "ipc": (0,),
    }.items()
}


@dataclass(frozen=True, slots=True)
class Rule:
    """`name` gets `action` when all conditions hold."""

    name: str
    conditions: tuple[Condition, ...]
    action: int


@dataclass(frozen=True, slots=True)
class Profile:
    """Rules in the order they count; `modes` are names of syscalls.numbers."""

    default: int
    modes: tuple[str, ...]
    rules: tuple[Rule, ...]


def read(text: str, capabilities: frozenset[str], machine: str) -> Profile:
    """A profile's text -> rules that hold for this machine, kernel and capabilities."""
    try:
        document = json.loads(text)
        if not isinstance(document, dict):
            raise TypeError("the profile is not an object")
        default = _action(document.get("defaultAction"), document.get("defaultErrnoRet"))
        rules: list[Rule] = []
        for entry in document.get("syscalls") or ():
            if _holds(entry, capabilities, machine):
                rules += _rules(entry)
        return Profile(default, _modes(document, machine), tuple(rules))
    except UsageError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as e:
        raise UsageError(
            f"the seccomp profile is not one that Docker would read: {e}",
            hint='security_opt: seccomp=FILE takes a JSON object with "defaultAction"'
            ' and "syscalls"; "unconfined" turns the filter off',
        ) from e


def _action(name: Any, number: Any) -> int:
    if name not in _ACTIONS:
        raise UsageError(
            f"the seccomp profile asks for the action {name!r}",
            hint=f"these are known: {', '.join(sorted(_ACTIONS))}",
        )
    action = _ACTIONS[name]
    if action in (bpf.ERRNO, bpf.TRACE):
        return action | (errno.EPERM if number is None else int(number) & 0xFFFF)
    return action


def _modes(document: Mapping[str, Any], machine: str) -> tuple[str, ...]:
    """The native mode always, others as "archMap" or "architectures" name them."""
    named: list[str] = list(document.get("architectures") or ())
    for entry in document.get("archMap") or ():
        if _MODES.get(entry.get("architecture")) == machine:
            named += entry.get("subArchitectures") or ()
    own = {"x86_64": ("i386", "x32"), "aarch64": ()}[machine]
    others = [mode for mode in own if mode in {_MODES.get(name) for name in named}]
    return (machine, *others)


def _holds(entry: Mapping[str, Any], capabilities: frozenset[str], machine: str) -> bool:
    includes: Mapping[str, Any] = entry.get("includes") or {}
    excludes: Mapping[str, Any] = entry.get("excludes") or {}
    arch = _GO_NAMES[machine]
    if arch in (excludes.get("arches") or ()):
        return False
    if any(_plain(name) in capabilities for name in excludes.get("caps") or ()):
        return False
    if excludes.get("minKernel") and _kernel() >= _version(excludes["minKernel"]):
        return False
    if includes.get("arches") and arch not in includes["arches"]:
        return False
    if any(_plain(name) not in capabilities for name in includes.get("caps") or ()):
        return False
    return not includes.get("minKernel") or _kernel() >= _version(includes["minKernel"])


def _rules(entry: Mapping[str, Any]) -> Iterable[Rule]:
    action = _action(entry.get("action"), entry.get("errnoRet"))
    names = list(entry.get("names") or ())
    if entry.get("name"):
        names.append(entry["name"])
    arguments = list(entry.get("args") or ())
    for name in names:
        conditions = tuple(_condition(str(name), argument) for argument in arguments)
        if len({c.index for c in conditions}) < len(conditions):
            yield from (Rule(str(name), (condition,), action) for condition in conditions)
        else:
            yield Rule(str(name), conditions, action)


def _condition(name: str, argument: Mapping[str, Any]) -> Condition:
    index = int(argument["index"])
    if not 0 <= index <= 5:
        raise ValueError(f"a system call has no argument number {index}")
    operator = argument["op"]
    compare = _COMPARES.get(operator)
    if compare is None:
        raise ValueError(f"unknown comparison {operator!r}")
    value = int(argument.get("value") or 0) & 0xFFFFFFFFFFFFFFFF
    wide = index not in _INTS.get(name, ())
    if operator == "SCMP_CMP_MASKED_EQ":
        expected = int(argument.get("valueTwo") or 0) & 0xFFFFFFFFFFFFFFFF
        return Condition(index, compare, expected, mask=value, wide=wide)
    return Condition(index, compare, value, wide=wide)


def _plain(capability: str) -> str:
    return capability.upper().removeprefix("CAP_")


def _kernel() -> tuple[int, int]:
    return _version(os.uname().release)


def _version(text: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", text)
    if found is None:
        raise ValueError(f"{text!r} is no kernel version")
    return int(found[1]), int(found[2])
