"""A shim, or the child that it forked, is killed at every so many of its steps.

Whatever the step: the start says so or succeeded, the next engine finds out what is
true, ends what is left, and starts the same container again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from stackctl.errors import StackctlError
from stackctl.model.container import Status
from stackctl.runtime.shims import ShimProgram
from support.census import Process
from support.engine import Engine
from support.failpoints import killed_at
from support.runtime_bed import Bed
from support.waiting import wait_until

pytestmark = pytest.mark.needs("root", "userns", "overlay", "cgroup")


def live(bed: Bed) -> None:
    """Create, start, exec, stop, remove, marking the record as the engine would."""
    container = bed.create("/bin/sh", "-c", "echo said; exec sleep 1000")
    container.record = replace(container.record, status=Status.STARTING)
    bed.do(bed.begin(container))
    container.record = replace(container.record, status=Status.RUNNING)
    # What runs was set up whole: its loopback interface is up.
    flags, _, _ = bed.runs(container, "cat", "/sys/class/net/lo/flags")
    assert flags.strip() == b"0x9"
    bed.do(bed.runtime.kill(container.record))
    container.wait()
    bed.do(bed.runtime.forget(container.record))


def contained(engine: Engine) -> list[Process]:
    return [each for each in engine.container_processes() if each.contained]


def one_life(engine: Engine, step: int) -> bool:
    """With a shim that ends at `step`; whether it got there."""
    mark = engine.home / "killed"
    bed = Bed(engine.paths, ShimProgram(code=killed_at(step, mark, ShimProgram().code)))
    try:
        try:
            live(bed)
        except StackctlError as error:
            assert str(error)
        bed.do(bed.runtime.close())
        bed.program = None
        bed.come_back()
        for container in list(bed.containers.values()):
            bed.do(bed.runtime.forget(container.record))
        wait_until(lambda: not contained(engine), what=lambda: f"{step}: {contained(engine)}")
        assert bed.output("echo again", project="other") == "again"
        bed.do(bed.runtime.close_stack("other"))
    finally:
        bed.close()
    return mark.exists()


def test_a_shim_killed_at_any_step(
    engines: Callable[[], Engine], request: pytest.FixtureRequest
) -> None:
    stride = max(1, 900 // int(request.config.getoption("--cycles")))
    step = 1
    while one_life(engines(), step):
        step += stride
    assert step > 2 * stride
