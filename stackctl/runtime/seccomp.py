"""Seccomp filters: from a profile and capabilities to the program the kernel loads.

`program` is pure and cached: the shim's child gets bytes and calls prctl (or
seccomp with SECCOMP_FILTER_FLAG_SPEC_ALLOW, which keeps speculation-store
bypass as it is outside). A profile is "default" (seccomp_table), "unconfined"
(no filter: empty bytes) or the text of a profile in Docker's JSON format.

Refuses what it cannot keep: user notification, an architecture without a table.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import lru_cache
from typing import Protocol

from stackctl.errors import MachineError
from stackctl.runtime import seccomp_table
from stackctl.runtime.bpf import ALLOW, ERRNO, Answer, Check, Filter, assemble
from stackctl.runtime.seccomp_profile import ENOSYS, Profile, Rule, read
from stackctl.runtime.syscalls import NEWEST, numbers

EPERM = 1

#: What one machine runs: the native calls first, then those of its other modes.
_MODES = {"x86_64": ("x86_64", "i386"), "aarch64": ("aarch64",)}
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


class Rights(Protocol):
    """The part of model.Security that chooses the profile."""

    @property
    def privileged(self) -> bool: ...
    @property
    def seccomp(self) -> str: ...


def profile_of(security: Rights) -> str:
    """The profile for `program`: privileged means no filter unless one was asked for."""
    if security.privileged and security.seccomp == "default":
        return "unconfined"
    return security.seccomp


@lru_cache(maxsize=64)
def program(profile: str, capabilities: frozenset[str], arch: str = "") -> bytes:
    """The sock_filter array for a process with these capabilities (names without CAP_).

    `arch` is as uname -m says it; "" is this machine's. Empty bytes: no filter.
    Raises UsageError for a profile that is wrong, MachineError for an architecture
    without a table.
    """
    if profile == "unconfined":
        return b""
    machine = arch or platform.machine()
    machine = _MACHINES.get(machine, machine)
    if machine not in _MODES:
        raise MachineError(
            f"there is no seccomp table for the architecture {machine!r} yet",
            hint="run the container with security_opt: [seccomp=unconfined]",
        )
    if profile == "default":
        chosen = default_profile(capabilities, machine)
    else:
        chosen = read(profile, capabilities, machine)
    return assemble(lower(chosen))


def default_profile(capabilities: frozenset[str], machine: str) -> Profile:
    """The allow-list of seccomp_table as rules."""
    free = set(seccomp_table.FREE)
    for capability, names in seccomp_table.BY_CAPABILITY.items():
        if capability in capabilities:
            free |= names
    rules = [Rule(name, (), ALLOW) for name in sorted(free)]
    for call in seccomp_table.conditional(capabilities):
        rules += [Rule(call.name, (condition,), ALLOW) for condition in call.conditions]
        if call.errno is not None:
            rules.append(Rule(call.name, (), ERRNO | call.errno))
    return Profile(ERRNO | EPERM, _MODES[machine], tuple(rules))


def lower(profile: Profile) -> Filter:
    """Rules by name -> answers by number, per mode of the machine."""
    by_name = _by_name(profile)
    tables = {mode: numbers(mode) for mode in profile.modes}
    answers = {
        mode: {table[name]: answer for name, answer in by_name.items() if name in table}
        for mode, table in tables.items()
    }
    # A program probes for new calls: "not permitted" would stop it, "no such call" makes it
    # take the old way. A profile that allows by default wants to hear nothing of this.
    refuses = profile.default & 0xFFFF0000 == ERRNO
    beyond = ERRNO | ENOSYS if refuses else profile.default
    return Filter(answers, profile.default, NEWEST, beyond)


def _by_name(profile: Profile) -> Mapping[str, Answer]:
    """The rules of a name in order: conditional ones until the first without conditions."""
    checks: dict[str, list[Check]] = {}
    final: dict[str, int] = {}
    for rule in profile.rules:
        if rule.name in final:
            continue
        if rule.conditions:
            checks.setdefault(rule.name, []).append(Check(rule.conditions, rule.action))
        else:
            final[rule.name] = rule.action
    return {
        name: _answer(final.get(name, profile.default), checks.get(name, []))
        for name in [*final, *(name for name in checks if name not in final)]
    }


def _answer(otherwise: int, checks: list[Check]) -> Answer:
    if all(check.action == otherwise for check in checks):
        return Answer(otherwise)
    return Answer(otherwise, tuple(checks))
