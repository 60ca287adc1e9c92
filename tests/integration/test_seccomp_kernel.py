"""The default filter in this kernel: loaded in a child, and asked with real system calls."""

from __future__ import annotations

import errno
import json
import os
import platform
import socket
from collections.abc import Callable

import pytest

from stackctl.linux import libc, process
from stackctl.runtime import seccomp
from stackctl.runtime.capabilities import DEFAULT
from stackctl.runtime.syscalls import X32_BIT, numbers

pytestmark = pytest.mark.needs("root")


def filtered(work: Callable[[], object], profile: str = "default") -> object:
    """What `work` returns in a child behind the filter (JSON)."""
    program = seccomp.program(profile, DEFAULT)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            process.load_seccomp(program)
            os.write(writer, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as answer:
        text = answer.read()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return json.loads(text)


def ask(number: int, *arguments: int) -> int:
    """errno of a raw system call, 0 when it worked."""
    call = libc.syscall(number, *([libc.c_ulong] * len(arguments)))
    try:
        libc.check(call(*arguments))
    except OSError as error:
        return error.errno or -1
    return 0


def test_a_program_goes_on_as_usual() -> None:
    def work() -> list[int]:
        pid = os.posix_spawn("/bin/true", ["true"], {})
        with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_INET) as two:
            return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), one.family, two.family]

    assert filtered(work) == [0, socket.AF_UNIX, socket.AF_INET]


def test_refusals_are_the_profiles() -> None:
    table = numbers(platform.machine())
    refused = {
        "unshare": (0x10000000,),
        "mount": (0, 0, 0, 0, 0),
        "bpf": (0, 0, 0),
        "keyctl": (0, 0),
        "clone": (0x10000000,),
        "io_uring_setup": (1, 0),
    }
    found = filtered(lambda: {name: ask(table[name], *args) for name, args in refused.items()})
    assert found == dict.fromkeys(refused, errno.EPERM)


def test_calls_that_do_not_exist() -> None:
    table = numbers(platform.machine())
    asked = [table["clone3"], 600, X32_BIT | table["getpid"]]
    assert filtered(lambda: [ask(number, 0, 0) for number in asked]) == [errno.ENOSYS] * 3


@pytest.mark.parametrize("high", [0, 1 << 32, 0xFFFFFFFF << 32])
def test_socket_families_whatever_the_high_bits(high: int) -> None:
    number = numbers(platform.machine())["socket"]
    families = (socket.AF_ALG, socket.AF_VSOCK, socket.AF_CAN, socket.AF_TIPC)
    found = filtered(lambda: [ask(number, family | high, 5, 0) for family in families])
    assert found == [errno.EAFNOSUPPORT] * len(families)


def test_a_custom_profile() -> None:
    profile = json.dumps(
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [
                {"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EXDEV}
            ],
        }
    )
    number = numbers(platform.machine())["getpriority"]
    assert filtered(lambda: ask(number, 0, 0), profile) == errno.EXDEV
