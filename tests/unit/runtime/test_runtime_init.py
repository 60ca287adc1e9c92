"""The first process of a container with an init: a program in machine code, run as it is."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stackctl.runtime.shim import init
from support.waiting import wait_until

#: Executes the program as the shim does, with `sh -c` of the argument under it.
UNDER_INIT = """
import os, signal, sys
from stackctl.runtime.shim import init
program = init.prepare()
every = set(range(1, 65)) - {32, 33}
signal.pthread_sigmask(signal.SIG_BLOCK, every)
child = os.fork()
if child:
    init.execute(program, child, ["sh", "-c"], {"A": "b"})
signal.pthread_sigmask(signal.SIG_UNBLOCK, every)
os.execv("/bin/sh", ["sh", "-c", sys.argv[1]])
"""


@contextmanager
def under_init(script: str) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-c", UNDER_INIT, script]
    process = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -9 $$", 137), (":", 0)])
def test_it_ends_as_its_child_does(script: str, code: int) -> None:
    # One that ends before is reaped, and no reason to end.
    with under_init(f"read go; {script}") as process:
        assert process.communicate("\n", timeout=20) is not None
        assert process.returncode == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGRTMAX])
def test_it_sends_signals_on(number: int) -> None:
    script = f"trap 'echo got; exit 3' {number}; echo ready; while :; do sleep 0.01; done"
    with under_init(script) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        told = Path(f"/proc/{process.pid}")
        # Its child may have been faster.
        wait_until(lambda: (told / "comm").read_text() == "stackctl-init\n", 20)
        assert (told / "cmdline").read_bytes() == b"stackctl-init\0--\0sh\0-c\0"
        assert (told / "environ").read_bytes() == b"A=b\0"
        with pytest.raises(OSError):
            (told / "exe").write_bytes(b"")
        process.send_signal(number)
        assert process.wait(20) == 3


def test_it_is_nothing_but_a_few_bytes_of_each_machine() -> None:
    for machine, number in (("x86_64", 62), ("aarch64", 183)):
        image = init.image(machine)
        assert len(image) < 400 and image.startswith(b"\x7fELF")
        assert struct.unpack_from("<H", image, 18) == (number,)
        # The code refers to what is behind it by its distance.
        assert image.endswith(bytes(4) + b"stackctl-init\0")
