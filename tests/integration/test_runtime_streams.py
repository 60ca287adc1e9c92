"""Stdio of containers and execs: pipes, terminals, attach, order, limits of memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackctl.errors import Conflict, ContainerError, NotExecutable
from stackctl.model.container import Security
from stackctl.runtime.container import Session
from stackctl.state.paths import Paths
from support.engine import Engine
from support.runtime_bed import Bed, Container
from support.waiting import wait_until

pytestmark = pytest.mark.needs("root", "userns", "overlay", "cgroup")


@pytest.fixture
def bed(engine_dirs: Paths) -> Iterator[Bed]:
    bed = Bed(engine_dirs)
    yield bed
    bed.close()


@pytest.fixture
def sleeper(bed: Bed) -> Container:
    return bed.start("sleep", "1000", user="33")


def feed(bed: Bed, session: Session, data: bytes) -> None:
    async def work() -> None:
        await session.write(data)
        await session.close_stdin()

    bed.do(work())


# -- exec


def test_exec_gives_streams_and_exit_code(bed: Bed, sleeper: Container) -> None:
    found = bed.runs(sleeper, "sh", "-c", "echo out; echo err >&2; exit 5", user="root")
    assert found == (b"out\n", b"err\n", 5)


def test_exec_has_the_rights_and_namespaces_of_the_container(bed: Bed) -> None:
    container = bed.start("sleep", "1000", security=Security(no_new_privileges=True))
    script = """
    grep -E '^(Cap|Seccomp:|NoNewPrivs|Uid|Gid|Groups)' /proc/1/status > /tmp/one
    grep -E '^(Cap|Seccomp:|NoNewPrivs|Uid|Gid|Groups)' /proc/self/status > /tmp/self
    cmp /tmp/one /tmp/self
    for ns in cgroup ipc mnt net pid user uts; do
        test "$(readlink /proc/1/ns/$ns)" = "$(readlink /proc/self/ns/$ns)" || echo $ns differs
    done
    cmp /proc/1/cgroup /proc/self/cgroup
    """
    assert bed.runs(container, "sh", "-c", script) == (b"", b"", 0)


def test_exec_as_another_user_in_another_directory(bed: Bed, sleeper: Container) -> None:
    script = "id -u; id -g; pwd; echo $A"
    found = bed.runs(
        sleeper, "sh", "-c", script, user="8:9", working_dir="/tmp", env=("A=b", "PATH=/bin")
    )
    assert found == (b"8\n9\n/tmp\nb\n", b"", 0)


def test_an_exec_that_takes_too_long_can_be_killed_alone(bed: Bed, sleeper: Container) -> None:
    session, other = bed.exec(sleeper, "sleep", "1000"), bed.exec(sleeper, "sleep", "1000")
    bed.do(session.kill())
    assert bed.do(session.wait()) == 128 + 9
    assert not other.exited.done()
    bed.do(other.kill(15))
    assert bed.do(other.wait()) == 128 + 15


def test_exec_of_what_is_not_there(bed: Bed, sleeper: Container) -> None:
    with pytest.raises(NotExecutable) as caught:
        bed.exec(sleeper, "no-such-program")
    assert caught.value.exit_code == 127


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        ({"working_dir": "/nowhere"}, 127, "change to the working directory /nowhere: No such"),
        ({"user": "nobody-knows"}, 126, 'no user "nobody-knows"'),
    ],
)
def test_an_exec_that_cannot_be_as_asked_says_so(
    bed: Bed, sleeper: Container, request_: dict[str, str], code: int, text: str
) -> None:
    with pytest.raises(ContainerError, match="cannot run a command in the container: ") as caught:
        bed.exec(sleeper, "true", **request_)
    assert text in caught.value.brief
    assert caught.value.exit_code == code


def test_exec_in_a_stopped_container(bed: Bed) -> None:
    container = bed.start("true")
    container.wait()
    with pytest.raises(Conflict):
        bed.exec(container, "true")


def test_exec_reads_stdin_until_its_end(bed: Bed, sleeper: Container) -> None:
    session = bed.exec(sleeper, "cat", stdin=True)
    feed(bed, session, b"some\ninput")
    assert bed.collect(session) == (b"some\ninput", b"", 0)


def test_exec_moves_megabytes_both_ways(bed: Bed, sleeper: Container) -> None:
    data = os.urandom(3 << 20)

    async def work() -> bytes:
        async def writing() -> None:
            await session.write(data)
            await session.close_stdin()

        task = asyncio.create_task(writing())
        got = bytearray()
        while (piece := await session.read()) is not None:
            got += piece[1]
        await task
        await session.close()
        return bytes(got)

    session = bed.exec(sleeper, "cat", stdin=True)
    assert bed.do(work()) == data


def test_exec_on_a_terminal(bed: Bed, sleeper: Container) -> None:
    script = "tty; stty size; test -t 0 && test -t 2 && echo terminal; stat -c %u $(tty)"
    session = bed.exec(sleeper, "sh", "-c", script, tty=True, width=120, height=33)
    out, _, code = bed.collect(session)
    assert out.replace(b"\r", b"").split() == [b"/dev/pts/0", b"33", b"120", b"terminal", b"33"]
    assert code == 0


def test_a_terminal_is_resized_and_takes_input(bed: Bed, sleeper: Container) -> None:
    script = "trap 'stty size; exit 4' WINCH; echo ready; while :; do read line; done"
    session = bed.exec(sleeper, "sh", "-c", script, tty=True, width=80, height=24)

    async def work() -> bytes:
        got = b""
        while b"ready" not in got:
            piece = await session.read()
            assert piece is not None
            got += piece[1]
        await session.write(b"\n")
        await session.resize(100, 50)
        # The shell runs its trap when `read` returns.
        await session.write(b"\n")
        while (piece := await session.read()) is not None:
            got += piece[1]
        return got

    assert b"50 100" in bed.do(work())
    assert bed.do(session.wait()) == 4
    bed.do(session.close())


def test_execs_leave_no_descriptor_behind(bed: Bed, engine: Engine, sleeper: Container) -> None:
    shim = Path(f"/proc/{sleeper.status('PPid')}/fd")
    bed.runs(sleeper, "true")
    bed.spare(engine)
    before = len(os.listdir(shim)), len(os.listdir("/proc/self/fd"))
    for number in range(20):
        if number % 2:
            bed.runs(sleeper, "true")
        else:
            bed.collect(bed.exec(sleeper, "true", tty=True))
    wait_until(lambda: (len(os.listdir(shim)), len(os.listdir("/proc/self/fd"))) == before)


# -- the main process


def test_attach_before_the_start_loses_nothing(bed: Bed) -> None:
    container = bed.create("sh", "-c", "echo first; echo second >&2; exit 9")
    session = bed.do(bed.runtime.attach(container.record))
    bed.do(bed.begin(container))
    assert bed.collect(session) == (b"first\n", b"second\n", 9)


def test_attached_stdin_reaches_the_process_and_ends(bed: Bed) -> None:
    container = bed.create("cat", stdin_open=True)
    session = bed.do(bed.runtime.attach(container.record))
    bed.do(bed.begin(container))
    feed(bed, session, b"hello")
    assert bed.collect(session) == (b"hello", b"", 0)
    assert [line.text for line in container.log()] == ["hello"]


def test_without_stdin_there_is_an_end_at_once(bed: Bed) -> None:
    assert bed.output("cat; echo done") == "done"


def test_a_terminal_of_the_main_process(bed: Bed) -> None:
    script = "tty; test -c /dev/console && echo console; read line; echo got $line"
    container = bed.create("sh", "-c", script, tty=True, stdin_open=True)
    session = bed.do(bed.runtime.attach(container.record))
    bed.do(bed.begin(container))
    bed.do(session.write(b"word\n"))
    out, _, code = bed.collect(session)
    # The echo of the input comes whenever the terminal gets it.
    assert sorted(out.split()) == sorted([b"/dev/pts/0", b"console", b"word", b"got", b"word"])
    assert code == 0


def test_a_late_attacher_sees_what_comes(bed: Bed) -> None:
    container = bed.start("sh", "-c", "echo old; read x; echo new", stdin_open=True)
    wait_until(container.log)
    session = bed.do(bed.runtime.attach(container.record))
    bed.do(session.write(b"\n"))
    assert bed.collect(session) == (b"new\n", b"", 0)


def test_lines_keep_their_order_and_number(bed: Bed) -> None:
    container = bed.shell("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done")
    container.wait()
    lines = container.log()
    assert [line.text for line in lines] == [f"line {i}" for i in range(20000)]
    assert [line.time for line in lines] == sorted(line.time for line in lines)


def test_a_long_line_comes_in_parts(bed: Bed) -> None:
    container = bed.shell("head -c 50000 /dev/zero | tr '\\0' x; echo; printf end")
    container.wait()
    lines = container.log()
    assert [(len(e.text), e.partial) for e in lines] == [
        (16384, True),
        (16384, True),
        (16384, True),
        (848, False),
        (3, True),
    ]


def test_a_slow_attacher_holds_up_only_its_container(bed: Bed) -> None:
    loud = bed.create("sh", "-c", "head -c 3000000 /dev/zero; echo done >&2")
    session = bed.do(bed.runtime.attach(loud.record))
    bed.do(bed.begin(loud))
    quiet = bed.shell("echo fine")
    assert quiet.output() == "fine"
    assert not loud.exit.done()
    out, err, code = bed.collect(session)
    assert (len(out), err, code) == (3000000, b"done\n", 0)


def test_an_attacher_that_goes_away_stalls_nobody(bed: Bed) -> None:
    loud = bed.create("sh", "-c", "head -c 3000000 /dev/zero; echo done")
    session = bed.do(bed.runtime.attach(loud.record))
    bed.do(bed.begin(loud))
    bed.do(session.close())
    assert loud.wait().exit_code == 0
