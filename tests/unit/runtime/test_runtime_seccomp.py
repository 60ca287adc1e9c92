"""Seccomp programs, run by a small interpreter of classic BPF."""

from __future__ import annotations

import errno
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackctl.errors import MachineError, UsageError
from stackctl.runtime import seccomp, seccomp_table
from stackctl.runtime.bpf import (
    ALLOW,
    AUDIT_ARCH,
    ERRNO,
    KILL_PROCESS,
    LOG,
    Answer,
    Check,
    Compare,
    Condition,
    Filter,
    assemble,
)
from stackctl.runtime.capabilities import ALL, DEFAULT
from stackctl.runtime.syscalls import NEWEST, X32_BIT, numbers

EPERM = ERRNO | errno.EPERM
ENOSYS = ERRNO | errno.ENOSYS
LOW = 0xFFFFFFFF

DANGEROUS = """
    mount umount2 unshare setns pivot_root bpf keyctl add_key request_key kexec_load init_module
    finit_module reboot swapon io_uring_setup userfaultfd perf_event_open open_by_handle_at fsopen
    move_mount open_tree open_tree_attr mount_setattr quotactl settimeofday acct
"""


def run(program: bytes, arch: str, number: int, *arguments: int) -> int:
    """What the kernel would answer: struct seccomp_data in, action out."""
    padded = [*arguments, *([0] * (6 - len(arguments)))]
    data = struct.pack("=IIQ6Q", number, AUDIT_ARCH[arch], 0, *padded)
    code = list(struct.iter_unpack("=HBBI", program))
    accumulator = at = 0
    while True:
        operation, yes, no, k = code[at]
        at += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, k)
            case 0x54:
                accumulator &= k
            case 0x05:
                at += k
            case 0x15:
                at += yes if accumulator == k else no
            case 0x25:
                at += yes if accumulator > k else no
            case 0x35:
                at += yes if accumulator >= k else no
            case 0x06:
                return int(k)
            case _:
                raise AssertionError(f"no such instruction: {operation:#x}")


def answer(name: str, *arguments: int, caps: frozenset[str] = DEFAULT, arch: str = "x86_64") -> int:
    machine = "x86_64" if arch in ("i386", "x32") else arch
    program = seccomp.program("default", caps, machine)
    filtered = "x86_64" if arch == "x32" else arch
    return run(program, filtered, numbers(arch)[name], *arguments)


class TestDefaultProfile:
    @pytest.mark.parametrize("arch", ["x86_64", "i386", "aarch64"])
    def test_everyday_calls_are_allowed(self, arch: str) -> None:
        for name in ("read", "openat", "execve", "mmap", "futex", "exit_group", "statx", "bind"):
            if name in numbers(arch):
                assert answer(name, arch=arch) == ALLOW, name

    @pytest.mark.parametrize("arch", ["x86_64", "i386", "aarch64"])
    @pytest.mark.parametrize("name", DANGEROUS.split())
    def test_dangerous_calls_are_not(self, name: str, arch: str) -> None:
        assert answer(name, arch=arch) == EPERM

    def test_every_number_has_the_tables_answer(self) -> None:
        program = seccomp.program("default", DEFAULT, "x86_64")
        allowed = set(seccomp_table.FREE) | seccomp_table.BY_CAPABILITY["SYS_CHROOT"]
        special = {call.name for call in seccomp_table.conditional(DEFAULT)}
        by_number = {number: name for name, number in numbers("x86_64").items()}
        for number in range(NEWEST + 1):
            name = by_number.get(number, "")
            if name not in special:
                wanted = ALLOW if name in allowed else EPERM
                assert run(program, "x86_64", number) == wanted, (number, name)

    @pytest.mark.parametrize("number", [NEWEST + 1, 600, X32_BIT - 1, X32_BIT, X32_BIT | 1, LOW])
    def test_unknown_and_x32_calls_do_not_exist(self, number: int) -> None:
        program = seccomp.program("default", DEFAULT, "x86_64")
        assert run(program, "x86_64", number) == ENOSYS

    def test_a_foreign_architecture_dies(self) -> None:
        assert run(seccomp.program("default", DEFAULT, "aarch64"), "x86_64", 0) == KILL_PROCESS
        assert run(seccomp.program("default", DEFAULT, "x86_64"), "aarch64", 0) == KILL_PROCESS

    @pytest.mark.parametrize("arch", ["x86_64", "i386", "aarch64"])
    @pytest.mark.parametrize("family", [1, 2, 10, 16, 17])
    def test_socket_families_of_containers(self, family: int, arch: str) -> None:
        assert answer("socket", family, arch=arch) == ALLOW

    @pytest.mark.parametrize("high", [0, 1 << 32, LOW << 32])
    @pytest.mark.parametrize("family", [0, 3, 9, 15, 21, 29, 30, 31, 38, 39, 40, 44, 45, LOW])
    def test_other_families_are_refused_whatever_the_high_bits(
        self, family: int, high: int
    ) -> None:
        assert answer("socket", family | high) == ERRNO | errno.EAFNOSUPPORT

    def test_packet_sockets_need_net_raw(self) -> None:
        without = DEFAULT - {"NET_RAW"}
        assert answer("socket", 17, caps=without) == ERRNO | errno.EAFNOSUPPORT

    def test_socketcall_cannot_go_around_the_families(self) -> None:
        assert answer("socketcall", 1, arch="i386") == ENOSYS

    def test_clone_makes_threads_and_children_but_no_namespaces(self) -> None:
        thread, child = 0x3D0F00, 17
        assert answer("clone", thread) == ALLOW
        assert answer("clone", child) == ALLOW
        for bit in (17, 25, 26, 27, 28, 29, 30):
            assert answer("clone", child | 1 << bit) == EPERM
        assert answer("clone", 0x10000000, caps=DEFAULT | {"SYS_ADMIN"}) == ALLOW

    def test_clone3_hides_its_flags_and_so_does_not_exist(self) -> None:
        assert answer("clone3") == ENOSYS
        assert answer("clone3", caps=DEFAULT | {"SYS_ADMIN"}) == ALLOW

    @pytest.mark.parametrize("value", [0, 8, 0x20000, 0x20008, LOW, LOW << 32])
    def test_harmless_personalities(self, value: int) -> None:
        assert answer("personality", value) == ALLOW

    def test_a_personality_that_turns_off_address_randomisation(self) -> None:
        assert answer("personality", 0x40000) == EPERM

    @pytest.mark.parametrize(
        ("capability", "name"),
        [
            ("SYS_ADMIN", "mount"),
            ("SYS_ADMIN", "unshare"),
            ("SYS_CHROOT", "chroot"),
            ("SYS_TIME", "settimeofday"),
            ("SYSLOG", "syslog"),
            ("BPF", "bpf"),
            ("PERFMON", "perf_event_open"),
            ("SYS_NICE", "mbind"),
            ("SYS_PTRACE", "kcmp"),
            ("SYS_MODULE", "init_module"),
            ("DAC_READ_SEARCH", "open_by_handle_at"),
        ],
    )
    def test_calls_that_hang_on_a_capability(self, capability: str, name: str) -> None:
        assert answer(name, caps=frozenset()) == EPERM
        assert answer(name, caps=frozenset({capability})) == ALLOW

    def test_even_with_all_capabilities_some_stay_closed(self) -> None:
        for name in ("kexec_load", "keyctl", "io_uring_setup", "userfaultfd", "swapon"):
            assert answer(name, caps=ALL) == EPERM

    def test_few_comparisons_decide(self) -> None:
        """The longest way through the program stays short: it is walked on every call."""
        program = list(struct.iter_unpack("=HBBI", seccomp.program("default", DEFAULT, "x86_64")))
        longest = [0] * (len(program) + 1)
        for at in range(len(program) - 1, -1, -1):
            operation, yes, no, k = program[at]
            if operation == 0x06:
                longest[at] = 1
            elif operation == 0x05:
                longest[at] = 1 + longest[at + 1 + k]
            elif operation in (0x15, 0x25, 0x35):
                longest[at] = 1 + max(longest[at + 1 + yes], longest[at + 1 + no])
            else:
                longest[at] = 1 + longest[at + 1]
        assert longest[0] < 40

    def test_it_is_made_once(self) -> None:
        assert seccomp.program("default", DEFAULT) is seccomp.program("default", frozenset(DEFAULT))

    def test_names_of_the_table_are_names_of_calls(self) -> None:
        every = {name for arch in ("x86_64", "i386", "aarch64") for name in numbers(arch)}
        listed = seccomp_table.FREE.union(*seccomp_table.BY_CAPABILITY.values())
        assert listed <= every, sorted(listed - every)


class TestChoice:
    def test_unconfined_is_no_program(self) -> None:
        assert seccomp.program("unconfined", DEFAULT) == b""

    def test_an_architecture_without_a_table(self) -> None:
        with pytest.raises(MachineError, match="s390x"):
            seccomp.program("default", DEFAULT, "s390x")


def custom(*syscalls: dict[str, object], **more: object) -> str:
    return json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": syscalls, **more})


def allowed(name: str, *args: dict[str, object], **more: object) -> dict[str, object]:
    return {"names": [name], "action": "SCMP_ACT_ALLOW", "args": list(args), **more}


def compare(index: int, op: str, value: int, two: int = 0) -> dict[str, object]:
    return {"index": index, "op": f"SCMP_CMP_{op}", "value": value, "valueTwo": two}


def judge(profile: str, name: str, *args: int, caps: frozenset[str] = DEFAULT) -> int:
    program = seccomp.program(profile, caps, "x86_64")
    return run(program, "x86_64", numbers("x86_64")[name], *args)


class TestCustomProfile:
    def test_default_action_and_its_number(self) -> None:
        assert judge(custom(), "read") == EPERM
        assert judge(custom(defaultErrnoRet=13), "read") == ERRNO | 13
        assert judge(json.dumps({"defaultAction": "SCMP_ACT_ALLOW"}), "mount") == ALLOW

    def test_a_profile_that_allows_by_default_allows_what_is_new(self) -> None:
        program = seccomp.program('{"defaultAction": "SCMP_ACT_LOG"}', DEFAULT, "x86_64")
        assert run(program, "x86_64", NEWEST + 1) == LOG

    def test_x32_is_no_way_around_a_deny_list(self) -> None:
        deny = {"names": ["mount"], "action": "SCMP_ACT_ERRNO"}
        text = json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [deny]})
        program = seccomp.program(text, DEFAULT, "x86_64")
        assert run(program, "x86_64", numbers("x86_64")["mount"]) == EPERM
        assert run(program, "x86_64", numbers("x32")["mount"]) == ENOSYS

    def test_allowing_one_call(self) -> None:
        profile = custom(allowed("read"))
        assert judge(profile, "read") == ALLOW
        assert judge(profile, "write") == EPERM

    def test_conditions_on_different_arguments_hold_together(self) -> None:
        profile = custom(allowed("mprotect", compare(1, "GT", 5), compare(2, "EQ", 1)))
        assert judge(profile, "mprotect", 0, 6, 1) == ALLOW
        assert judge(profile, "mprotect", 0, 6, 2) == EPERM
        assert judge(profile, "mprotect", 0, 5, 1) == EPERM

    def test_conditions_on_one_argument_stand_alone(self) -> None:
        profile = custom(allowed("mprotect", compare(2, "EQ", 1), compare(2, "EQ", 3)))
        assert judge(profile, "mprotect", 0, 0, 3) == ALLOW
        assert judge(profile, "mprotect", 0, 0, 2) == EPERM

    def test_int_arguments_compare_low_halves(self) -> None:
        """The published family filter ("less than 38", "more than 40") falls to high bits."""
        profile = custom(
            allowed("socket", compare(0, "LT", 38)), allowed("socket", compare(0, "GT", 40))
        )
        assert judge(profile, "socket", 2) == ALLOW
        assert judge(profile, "socket", 38) == EPERM
        assert judge(profile, "socket", 38 | 1 << 32) == EPERM

    def test_other_arguments_compare_in_full(self) -> None:
        profile = custom(allowed("mmap", compare(1, "LE", 1 << 33)))
        assert judge(profile, "mmap", 0, 1 << 33) == ALLOW
        assert judge(profile, "mmap", 0, (1 << 33) + 1) == EPERM

    def test_masks(self) -> None:
        profile = custom(allowed("clone", compare(0, "MASKED_EQ", 0x7E020000)))
        assert judge(profile, "clone", 17) == ALLOW
        assert judge(profile, "clone", 0x10000000) == EPERM

    def test_capabilities_and_architectures(self) -> None:
        profile = custom(
            allowed("bpf", includes={"caps": ["CAP_BPF"]}),
            allowed("mount", excludes={"caps": ["CAP_BPF"]}),
            allowed("read", includes={"arches": ["amd64"]}),
            allowed("write", includes={"arches": ["arm64"]}),
            allowed("close", includes={"minKernel": "3.0"}),
            allowed("stat", includes={"minKernel": "99.0"}),
        )
        assert judge(profile, "bpf") == EPERM
        assert judge(profile, "bpf", caps=DEFAULT | {"BPF"}) == ALLOW
        assert judge(profile, "mount") == ALLOW
        assert judge(profile, "mount", caps=DEFAULT | {"BPF"}) == EPERM
        assert judge(profile, "read") == ALLOW
        assert judge(profile, "write") == EPERM
        assert judge(profile, "close") == ALLOW
        assert judge(profile, "stat") == EPERM

    def test_modes_come_from_the_profile(self) -> None:
        both = custom(
            allowed("read"),
            archMap=[
                {
                    "architecture": "SCMP_ARCH_X86_64",
                    "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"],
                }
            ],
        )
        program = seccomp.program(both, DEFAULT, "x86_64")
        assert run(program, "i386", numbers("i386")["read"]) == ALLOW
        assert run(program, "x86_64", numbers("x32")["read"]) == ALLOW
        assert run(program, "x86_64", numbers("x32")["write"]) == EPERM
        assert run(program, "x86_64", X32_BIT | (NEWEST + 1)) == ENOSYS
        native = seccomp.program(custom(allowed("read")), DEFAULT, "x86_64")
        assert run(native, "i386", numbers("i386")["read"]) == KILL_PROCESS

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[]",
            "{}",
            "{not json",
            '{"defaultAction": "SCMP_ACT_NOTIFY"}',
            '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"]}]}',
            '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": 3}',
            '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": ["read"]}',
            custom(allowed("read", compare(9, "EQ", 1))),
            custom(allowed("read", compare(0, "NEARLY", 1))),
        ],
    )
    def test_what_is_no_profile_is_a_clean_error(self, text: str) -> None:
        with pytest.raises(UsageError):
            seccomp.program(text, DEFAULT, "x86_64")

    @given(st.text(max_size=60))
    def test_any_text_gives_a_program_or_a_clean_error(self, text: str) -> None:
        if text in ("default", "unconfined"):
            return
        try:
            seccomp.program(text, DEFAULT, "x86_64")
        except UsageError:
            pass


_PYTHON = {
    Compare.EQ: int.__eq__,
    Compare.NE: int.__ne__,
    Compare.LT: int.__lt__,
    Compare.LE: int.__le__,
    Compare.GT: int.__gt__,
    Compare.GE: int.__ge__,
}

_edge = st.sampled_from([0, 1, LOW - 1, LOW, LOW + 1, 1 << 63, 2**64 - 1])
_value = st.one_of(_edge, st.integers(0, 2**64 - 1), st.integers(0, 300))


@given(
    compare=st.sampled_from(list(Compare)),
    value=_value,
    argument=_value,
    mask=st.one_of(st.just(2**64 - 1), _value),
    wide=st.booleans(),
)
def test_a_condition_is_what_arithmetic_says(
    compare: Compare, value: int, argument: int, mask: int, wide: bool
) -> None:
    condition = Condition(3, compare, value, mask, wide)
    follows = Condition(0, Compare.EQ, 7)
    answers = {5: Answer(EPERM, (Check((condition, follows), ALLOW),))}
    program = assemble(Filter({"x86_64": answers}, EPERM, 10, ENOSYS))
    width = 2**64 - 1 if wide else LOW
    holds = _PYTHON[compare](argument & mask & width, value & width)
    assert run(program, "x86_64", 5, 7, 0, 0, argument) == (ALLOW if holds else EPERM)
    assert run(program, "x86_64", 5, 8, 0, 0, argument) == EPERM


@given(st.dictionaries(st.integers(0, 900), st.sampled_from([ALLOW, EPERM, LOG]), max_size=400))
def test_any_table_of_answers_is_searched_right(table: dict[int, int]) -> None:
    answers = {number: Answer(action) for number, action in table.items()}
    program = assemble(Filter({"x86_64": answers}, EPERM, 500, ENOSYS))
    for number in (*range(0, 905, 7), *table):
        wanted = table.get(number, EPERM if number <= 500 else ENOSYS)
        assert run(program, "x86_64", number) == wanted
