"""Engine and shim come and go: what runs goes on, what has ended is known, nothing is left."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stackctl.errors import Conflict, ContainerError
from stackctl.model.container import Status
from stackctl.runtime.container import Alive, ExitInfo, Lost
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


def running(container: Container) -> None:
    """Mark it in its record, as the engine would have."""
    container.record = replace(container.record, status=Status.RUNNING)


def lives(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def test_a_container_outlives_its_engine(bed: Bed) -> None:
    container = bed.start("sh", "-c", "echo one; read x; echo two; exit 3", stdin_open=True)
    running(container)
    found = bed.restart()
    assert found == {container.record.id: Alive(process=container.record.process)}
    session = bed.do(bed.runtime.attach(container.record))
    bed.do(session.write(b"\n"))
    assert container.wait().exit_code == 3
    assert [line.text for line in container.log()] == ["one", "two"]
    bed.do(session.close())


def test_an_exit_without_an_engine_is_kept(bed: Bed) -> None:
    container = bed.start("sh", "-c", "read x; exit 42", stdin_open=True)
    running(container)
    session = bed.do(bed.runtime.attach(container.record))
    bed.do(session.write(b"\n"))
    bed.do(session.close())
    bed.do(bed.runtime.close())
    wait_until(lambda: (bed.paths.container_run(container.record.id) / "exit.json").exists())
    found = bed.come_back()[container.record.id]
    assert isinstance(found, ExitInfo)
    assert found.exit_code == 42


def test_a_killed_shim_takes_its_containers_along(bed: Bed, engine: Engine) -> None:
    container = bed.start("sh", "-c", "sleep 1000 & sleep 1000")
    (shim,) = engine.shim_pids()
    os.kill(shim, signal.SIGKILL)
    info = container.wait()
    assert info.exit_code is None
    assert "unknown" in info.error
    wait_until(lambda: not engine.container_processes())


def test_a_killed_shim_is_noticed_by_the_next_engine(bed: Bed, engine: Engine) -> None:
    container = bed.start("sleep", "1000")
    running(container)
    (shim,) = engine.shim_pids()
    bed.do(bed.runtime.close())
    os.kill(shim, signal.SIGKILL)
    assert bed.come_back() == {container.record.id: Lost(container_id=container.record.id)}
    assert not lives(container.pid)


def test_what_no_record_knows_is_ended(bed: Bed) -> None:
    container = bed.start("sleep", "1000")
    bed.do(bed.runtime.close())
    known, bed.containers = bed.containers, {}
    bed.come_back()
    assert not lives(container.pid)
    bed.containers = known


def test_a_new_shim_serves_after_one_was_killed(bed: Bed, engine: Engine) -> None:
    first = bed.start("sleep", "1000")
    os.kill(engine.shim_pids()[0], signal.SIGKILL)
    first.wait()
    assert bed.output("echo again") == "again"


def test_a_spare_shim_becomes_the_next_one_and_its_death_costs_nothing(
    bed: Bed, engine: Engine
) -> None:
    spare = bed.spare(engine)
    bed.start("sleep", "1000")
    assert engine.shim_pids() == [spare]  # under the name of its socket
    spare = bed.spare(engine)
    os.kill(spare, signal.SIGKILL)
    wait_until(lambda: not lives(spare))
    bed.start("sleep", "1000", project="another")
    assert len(engine.shim_pids()) == 2
    bed.spare(engine)
    bed.do(bed.runtime.close())
    wait_until(lambda: not engine.spare_pids())
    bed.come_back()


def test_a_child_forked_ahead_is_the_next_to_work_and_its_death_costs_nothing(
    bed: Bed, engine: Engine
) -> None:
    container = bed.start("sleep", "1000")
    (shim,) = engine.shim_pids()
    (first,) = wait_until(lambda: engine.forked_ahead(shim))
    assert bed.runs(container, "echo", "in order") == (b"in order\n", b"", 0)
    (second,) = wait_until(lambda: engine.forked_ahead(shim))
    assert second != first and not lives(first)
    os.kill(second, signal.SIGKILL)
    wait_until(lambda: not lives(second))
    assert bed.runs(container, "echo", "again") == (b"again\n", b"", 0)
    (third,) = wait_until(lambda: engine.forked_ahead(shim))
    os.kill(third, signal.SIGKILL)
    wait_until(lambda: engine.forked_ahead(shim) not in ([], [third]))
    (fourth,) = engine.forked_ahead(shim)
    os.kill(shim, signal.SIGKILL)
    wait_until(lambda: not lives(fourth))
    container.wait()


def test_an_engine_that_dies_during_a_start_aborts_it(bed: Bed, engine: Engine) -> None:
    container = bed.create("sleep", "1000")

    async def never(process: object) -> None:
        await asyncio.Event().wait()

    bed._attach = never  # type: ignore[method-assign, assignment]

    async def half() -> None:
        task = asyncio.create_task(bed.begin(container))
        while container.record.id not in bed.runtime._ready or not (
            bed.runtime._ready[container.record.id].done()
        ):
            await asyncio.sleep(0.005)
        await bed.runtime.close()
        with pytest.raises((ContainerError, asyncio.CancelledError)):
            task.cancel()
            await task

    bed.do(half())
    wait_until(lambda: not engine.container_processes())
    bed.come_back()


def test_a_start_whose_caller_leaves_at_any_moment_leaves_nothing(bed: Bed) -> None:
    container = bed.create("sleep", "1000")
    given_up = 0

    async def start(patience: float) -> bool:
        """Whether it was started; its caller waits for so many seconds."""
        task = asyncio.create_task(bed.begin(container))
        await asyncio.wait((task,), timeout=patience)
        task.cancel()
        await asyncio.wait((task,))
        if not task.cancelled():
            task.result()
        return not task.cancelled()

    for patience in (0.0, 0.003, 0.006, 0.009, 0.012, 0.015, 0.02, 0.03):
        if bed.do(start(patience)):
            break
        given_up += 1
        assert not bed.runtime.cgroups.processes(bed.paths.cgroup, container.record.id)
    assert given_up
    if container.record.process is None:
        bed.do(bed.begin(container))
    bed.do(bed.runtime.kill(container.record))
    container.wait()


def test_a_shim_with_nothing_to_do_leaves(bed: Bed, engine: Engine) -> None:
    bed.start("true").wait()
    assert engine.shim_pids()
    bed.do(bed.runtime.close())
    wait_until(lambda: not engine.shim_pids(), 15)
    bed.come_back()


def test_signals_reach_only_the_same_process(bed: Bed) -> None:
    container = bed.start("sleep", "1000")
    process = container.record.process
    assert process is not None
    stale = replace(process, start_time=process.start_time + 1)
    bed.runtime._started[container.record.id] = stale
    with pytest.raises(Conflict):
        bed.do(bed.runtime.signal(container.record, signal.SIGKILL))
    assert lives(container.pid)


def test_pause_and_unpause(bed: Bed) -> None:
    container = bed.start("sh", "-c", "while read x; do echo $x; done", stdin_open=True)
    session = bed.do(bed.runtime.attach(container.record))
    bed.do(bed.runtime.pause(container.record))
    bed.do(session.write(b"word\n"))
    assert container.log() == []
    bed.do(bed.runtime.unpause(container.record))
    assert bed.do(session.read()) == (1, b"word\n")
    bed.do(session.close())


def test_top_shows_the_processes(bed: Bed) -> None:
    container = bed.start("sh", "-c", "sleep 1000 & exec sleep 999", user="33")
    wait_until(lambda: len(bed.do(bed.runtime.processes(container.record))) == 2)
    wait_until(
        lambda: (
            {(row.uid, row.command) for row in bed.do(bed.runtime.processes(container.record))}
            == {(33, "sleep 999"), (33, "sleep 1000")}
        )
    )


def test_twenty_start_at_once(bed: Bed) -> None:
    containers = [bed.create("true") for _ in range(20)]

    async def work() -> None:
        await asyncio.gather(*(bed.begin(c) for c in containers))

    bed.do(work())
    assert [c.wait().exit_code for c in containers] == [0] * 20
