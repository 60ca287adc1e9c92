"""Many times, much at once, and loud neighbours: nothing grows, stalls or stays.

The numbers follow --cycles: few in CI, all of them in `make soak`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

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
def cycles(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--cycles"))


def resident(pid: int) -> int:
    """Bytes of anonymous memory; pages of the interpreter's file are everybody's."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(pid)


def children(pid: int) -> list[str]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    states = []
    for child in found:
        # One that ends between the list and the look is gone.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            stat = Path(f"/proc/{child}/stat").read_text()
            states.append(stat.rpartition(")")[2].split()[0])
    return states


def test_endurance_orphans_under_init_leave_no_zombie(bed: Bed, cycles: int) -> None:
    """Each round leaves an orphan that ends at once: 10,000 of them with --cycles=500."""
    rounds = 20 * cycles
    script = f"i=0; while [ $i -lt {rounds} ]; do (true & :); i=$((i+1)); done; echo all; exec cat"
    container = bed.create("sh", "-c", script, init=True, stdin_open=True)
    session = bed.do(bed.runtime.attach(container.record))
    bed.do(bed.begin(container))
    wait_until(container.log, 120)
    # Left are the command alone and nothing that waits to be reaped.
    wait_until(lambda: children(container.pid) == ["S"])
    assert bed.do(bed.runtime.stats(container.record)).usage.pids == 2
    bed.do(session.close())


def test_endurance_exec_and_detach_leaves_nothing(bed: Bed, engine: Engine, cycles: int) -> None:
    container = bed.start("sleep", "1000")
    bed.runs(container, "true")
    bed.spare(engine)
    (shim,) = engine.shim_pids()
    places = (Path(f"/proc/{shim}/fd"), Path("/proc/self/fd"))

    def now() -> tuple[int, ...]:
        return (*(len(os.listdir(place)) for place in places), len(children(shim)))

    before = now()
    for number in range(cycles):
        session = bed.exec(container, "true", tty=number % 4 == 3)
        bed.do(session.close())  # without waiting for its end
    wait_until(lambda: now() == before)
    wait_until(lambda: len(bed.do(bed.runtime.processes(container.record))) == 1)


def test_endurance_a_loud_container_neither_grows_the_shim_nor_stalls_others(
    bed: Bed, engine: Engine
) -> None:
    """As much as the shim takes, and one line without an end: each more than it may keep."""
    quiet = bed.start("sleep", "1000")
    (shim,) = engine.shim_pids()
    bed.runs(quiet, "true")
    before = resident(shim)
    size = 32 << 20
    flood = bed.shell(f"yes | head -c {size}; echo end >&2; exec sleep 1000")
    line = bed.shell(f"head -c {size} /dev/zero | tr '\\0' x; echo end >&2; exec sleep 1000")
    most = before
    rounds = 0
    while not ended(flood) or not ended(line):
        assert bed.runs(quiet, "echo", "fine")[0] == b"fine\n"
        most = max(most, resident(shim))
        rounds += 1
    assert rounds > 0
    # Buffers and pages that forks made private: far from what went through.
    assert most - before < 24 << 20


def ended(container: Container) -> bool:
    """Its last line has been written down. The end of the file alone: there are megabytes."""
    for path in sorted(container.log_path.parent.glob("log.json*")):
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            if b'"stderr"' in file.read():
                return True
    return False


@pytest.mark.parametrize("victims", ["shim", "init", "shim init", "init shim", "all"])
def test_endurance_whatever_is_killed_the_rest_goes_too(
    bed: Bed, engine: Engine, victims: str
) -> None:
    """kill -9 of the shim, of an init, of both in both orders, and of everything at once."""
    container = bed.shell("sleep 1000 & sleep 1000", init=True)
    (shim,) = engine.shim_pids()
    everybody = [p.pid for p in engine.container_processes()]
    named = {"shim": [shim], "init": [container.pid]}
    for word in ["shim", "init"] if victims == "all" else victims.split():
        for pid in named[word]:
            kill(pid)
    if victims == "all":
        for pid in everybody:
            kill(pid)
    info = container.wait()
    assert info.exit_code in (137, None)
    wait_until(lambda: not engine.container_processes())
    assert bed.output("echo again") == "again"


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def test_endurance_a_stopped_reader_of_the_log_stalls_nobody(bed: Bed) -> None:
    container = bed.shell("yes | head -c 3000000; echo end >&2")
    path = bed.paths.container_log(container.record.id)
    with subprocess.Popen(["tail", "-f", str(path)], stdout=subprocess.PIPE) as reader:
        # Nobody reads its pipe: it stands still.
        assert container.wait().exit_code == 0
        reader.kill()
