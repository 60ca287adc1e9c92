"""Single containers at a terminal: a pty, its size, detach keys, many execs."""

from __future__ import annotations

from contextlib import AbstractContextManager

import pytest

from support import census
from support.engine import STACKCTL, Engine
from support.terminal import Terminal
from support.terminal import terminal as at_terminal
from support.waiting import wait_until

pytestmark = pytest.mark.needs("root", "netns", "userns", "overlay", "cgroup", "nft", "bridge")

HOST = "stackctl/host"
DETACH = b"\x10\x11"


def terminal(engine: Engine, *argv: str) -> AbstractContextManager[Terminal]:
    return at_terminal((STACKCTL, *argv), engine.environment)


def test_run_at_a_terminal(engine: Engine) -> None:
    with terminal(engine, "container", "run", "--rm", "-it", HOST, "sh") as shell:
        shell.expect(b"# ")
        assert shell.is_raw
        # The echo of what is typed has the quotes, the answer has not.
        shell.type(b"test -t 0 && test -t 1 && echo is''-terminal\n")
        shell.expect(b"is-terminal")
        wait_for_size(shell, b"30 100")
        shell.resize(77, 20)
        wait_for_size(shell, b"20 77")
        # Ctrl-C goes to the process inside: the shell goes on.
        shell.type(b"sh -c \"echo in''side; exec sleep 1000\"\n")
        shell.expect(b"inside")
        shell.type(b"\x03")
        shell.expect(b"# ")
        shell.type(b"exit 12\n")
        assert shell.end() == 12
        assert not shell.is_raw
    assert engine.ok("container", "ls", "-aq").out == ""


def test_a_terminal_has_its_size_from_the_first_moment(engine: Engine) -> None:
    # Under an init as well, which leaves the terminal to the command.
    init = ("--init", "--user", "1000")
    with terminal(engine, "container", "run", "--rm", "-it", *init, HOST, "stty", "size") as shown:
        shown.expect(b"30 100")
        assert shown.end() == 0


def wait_for_size(shell: Terminal, size: bytes) -> None:
    shell.type(b"until [ \"$(stty size)\" = '%b' ]; do :; done; echo now''-%b\n" % (size, size))
    shell.expect(b"now-%b" % size)


def test_detach_keys_leave_it_running_and_attach_comes_back(engine: Engine) -> None:
    with terminal(engine, "container", "run", "--name", "shell", "-it", HOST, "sh") as first:
        first.expect(b"# ")
        first.type(b"KEPT=yes\n")
        first.expect(b"# ")
        # The first key alone is passed on with what follows it.
        first.type(b"\x10x\x15")
        first.type(DETACH)
        assert first.end() == 0
        assert b"read escape sequence" in first.seen
        assert not first.is_raw
    assert engine.ok("container", "inspect", "-f", "{{.State.Running}}", "shell").out == "true\n"
    with terminal(engine, "container", "attach", "--detach-keys", "ctrl-x", "shell") as second:
        second.type(b"\necho kept-$KEPT\n")
        second.expect(b"kept-yes")
        second.type(DETACH)  # not these keys
        second.type(b"\x18")
        assert second.end() == 0
    with terminal(engine, "container", "attach", "shell") as third:
        third.type(b"\nexit 3\n")
        assert third.end() == 3
    engine.ok("container", "rm", "shell")


def test_exec_at_a_terminal(engine: Engine) -> None:
    engine.ok("container", "run", "-d", "--name", "box", HOST, "sleep", "600")
    with terminal(engine, "container", "exec", "-it", "-e", "A=b", "box", "sh") as shell:
        shell.expect(b"# ")
        shell.type(b"echo $A; tty; exit 5\n")
        shell.expect(b"/dev/pts/")
        assert shell.end() == 5
    refused = engine.run("container", "exec", "-it", "box", "true", stdin="")
    assert refused.code != 0 and "not a terminal" in refused.err
    engine.ok("container", "rm", "-f", "box")


@pytest.mark.timeout(3600)
def test_cycles_of_exec_and_detach_leave_nothing(
    engine: Engine, request: pytest.FixtureRequest
) -> None:
    """`make soak CYCLES=1000` does as many; CI a handful."""
    cycles = max(request.config.getoption("--cycles") // 10, 5)
    if request.config.getoption("--cycles") >= 1000:
        cycles = request.config.getoption("--cycles")
    engine.ok("container", "run", "-d", "--name", "box", HOST, "sleep", "600")

    script = "echo $$ > /tmp/pid; echo up; exec cat"

    def cycle() -> None:
        with terminal(engine, "container", "exec", "-it", "box", "sh", "-c", script) as one:
            one.expect(b"up")
            one.type(DETACH)
            assert one.end() == 0
        # It went on, until somebody ends it.
        engine.ok("container", "exec", "box", "sh", "-c", "kill -9 $(cat /tmp/pid)")

    def held() -> tuple[int, int, int]:
        daemon, shims = engine.daemon_pids(), engine.shim_pids()
        return (
            sum(map(census.descriptors, daemon)),
            sum(map(census.descriptors, shims)),
            len(engine.container_processes()),
        )

    for _ in range(3):
        cycle()
    wait_until(lambda: len(engine.container_processes()) == 1, 10)
    before = held()
    for _ in range(cycles):
        cycle()
    wait_until(lambda: held() == before, 20, what=lambda: f"{before} again, not {held()}")
    engine.ok("container", "rm", "-f", "box")
