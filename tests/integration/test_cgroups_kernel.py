"""Control groups of this kernel: joined, limited, frozen, killed, and gone afterwards."""

from __future__ import annotations

import os
import secrets
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stackctl.linux.bpf import restrict_devices
from stackctl.model.container import Limits, Security
from stackctl.runtime.cgroups.driver import CgroupDriver, driver
from stackctl.runtime.cgroups.tree import Tree
from stackctl.runtime.cgroups.v2 import V2

pytestmark = pytest.mark.needs("root", "cgroup")

MB = 1 << 20
_ID = "c" * 64


@dataclass
class Group:
    """A container's group of this test's own, and what runs in it."""

    cgroups: CgroupDriver
    engine: str
    children: list[int]

    def run(self, limits: Limits, work: Callable[[], object]) -> int:
        """A child that performs the plan as the runtime's does, then `work`; its pid."""
        plan = self.cgroups.plan(self.engine, _ID, limits, Security())
        ready, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                for path in plan.dirs:
                    os.makedirs(path, exist_ok=True)
                for path, text in plan.writes:
                    Path(path).write_text(text)
                for path in plan.procs:
                    Path(path).write_text("0")
                os.write(told, b"+")
                work()
            finally:
                os._exit(1)
        os.close(told)
        self.children.append(pid)
        try:
            assert os.read(ready, 1) == b"+", "the plan could not be performed"
        finally:
            os.close(ready)
        return pid

    def status(self, pid: int) -> int:
        self.children.remove(pid)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def group() -> Iterator[Group]:
    made = Group(driver(), f"stackctl-test-{secrets.token_hex(3)}", [])
    made.cgroups.prepare_engine_group(made.engine)
    yield made
    assert made.cgroups.kill(made.engine, _ID)
    for pid in made.children:
        os.waitpid(pid, 0)
    assert made.cgroups.remove(made.engine, _ID)
    assert made.cgroups.remove_engine_group(made.engine)
    left = [path for path, _, _ in os.walk("/sys/fs/cgroup") if made.engine in path]
    assert left == []


def opens(path: str | Path) -> str:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY))
    except PermissionError:
        return "refused"
    return "open"


def sleep() -> None:
    signal.pause()


def test_processes_are_found(group: Group) -> None:
    pid = group.run(Limits(), sleep)
    assert group.cgroups.processes(group.engine, _ID) == (pid,)
    assert group.cgroups.containers(group.engine) == {_ID}
    # An exec joins by the same files.
    assert len(group.cgroups.join_files(group.engine, _ID)) >= 1


def test_limits_are_in_the_kernel(group: Group) -> None:
    group.run(Limits(memory=64 * MB, pids=20, cpus=0.5, cpuset_cpus="0"), sleep)
    used = group.cgroups.usage(group.engine, _ID)
    assert used.memory_limit == 64 * MB
    assert used.pids == 1
    assert used.cpu is not None


def test_a_frozen_group_stands_still_and_goes_on(group: Group) -> None:
    counter, told = os.pipe()
    os.set_blocking(counter, False)

    def count() -> None:
        while True:
            os.write(told, b"x")
            time.sleep(0.001)

    group.run(Limits(), count)
    os.close(told)
    group.cgroups.freeze(group.engine, _ID)
    while True:
        try:
            os.read(counter, 65536)
        except BlockingIOError:
            break
    os.set_blocking(counter, True)
    group.cgroups.thaw(group.engine, _ID)
    assert os.read(counter, 1) == b"x"
    os.close(counter)


def test_a_frozen_group_can_be_killed(group: Group) -> None:
    pid = group.run(Limits(), sleep)
    group.cgroups.freeze(group.engine, _ID)
    assert group.cgroups.kill(group.engine, _ID)
    assert group.status(pid) == -signal.SIGKILL


def test_a_fork_bomb_is_limited_and_killed(group: Group) -> None:
    def bomb() -> None:
        while True:
            try:
                os.fork()
            except OSError:
                time.sleep(0.001)

    group.run(Limits(pids=64), bomb)
    deadline = time.monotonic() + 20
    while (group.cgroups.usage(group.engine, _ID).pids or 0) < 64:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert group.cgroups.kill(group.engine, _ID, timeout=20)
    assert group.cgroups.processes(group.engine, _ID) == ()


def test_out_of_memory_is_told(group: Group) -> None:
    def hog() -> None:
        held = [bytearray(MB) for _ in range(256)]
        sys.exit(len(held))

    pid = group.run(Limits(memory=32 * MB, memory_swap=32 * MB), hog)
    assert group.status(pid) == -signal.SIGKILL
    assert group.cgroups.oom_killed(group.engine, _ID)


def test_what_ended_by_itself_was_not_short_of_memory(group: Group) -> None:
    pid = group.run(Limits(memory=64 * MB), lambda: os._exit(3))
    assert group.status(pid) == 3
    assert not group.cgroups.oom_killed(group.engine, _ID)


def test_groups_that_a_container_made_go_too(group: Group) -> None:
    group.run(Limits(), sleep)
    for path in group.cgroups.join_files(group.engine, _ID):
        (Path(path).parent / "inner").mkdir()
    assert group.cgroups.kill(group.engine, _ID)


def test_leaving_the_callers_groups(group: Group) -> None:
    """A process that moved out survives what is done to the group it came from."""
    ready, told = os.pipe()

    def leave() -> None:
        stuck = driver().move_self_out(group.engine)
        os.write(told, b"-" if stuck else b"+")
        os._exit(0)

    pid = group.run(Limits(), leave)
    assert os.read(ready, 1) == b"+"
    assert group.status(pid) == 0
    os.close(ready)
    os.close(told)


@pytest.mark.needs("cgroup-v2")
class TestUnified:
    """The v2 driver on the v2 tree of this machine, be it the only one or beside v1."""

    @pytest.fixture
    def group(self) -> Iterator[Group]:
        base = "/sys/fs/cgroup"
        if not os.path.exists(f"{base}/cgroup.controllers"):
            base = f"{base}/unified"
        made = Group(V2(Tree(base, {}, base)), f"stackctl-test-{secrets.token_hex(3)}", [])
        made.cgroups.prepare_engine_group(made.engine)
        yield made
        made.cgroups.kill(made.engine, _ID)
        for pid in made.children:
            os.waitpid(pid, 0)
        assert made.cgroups.remove(made.engine, _ID)
        assert made.cgroups.remove_engine_group(made.engine)
        assert not os.path.exists(f"{base}/{made.engine}")

    def test_freeze_kill_and_events(self, group: Group) -> None:
        pid = group.run(Limits(), sleep)
        assert group.cgroups.processes(group.engine, _ID) == (pid,)
        group.cgroups.freeze(group.engine, _ID)
        assert group.cgroups.kill(group.engine, _ID)
        assert group.status(pid) == -signal.SIGKILL

    def test_devices(self, group: Group, tmp_path: Path) -> None:
        """The usual ones open; others, whether nodes exist or are made, do not."""
        plan = group.cgroups.plan(group.engine, _ID, Limits(), Security())
        for path in plan.dirs:
            os.makedirs(path, exist_ok=True)
        restrict_devices(plan.into, plan.devices)
        answer, told = os.pipe()
        kmsg, disk = tmp_path / "kmsg", tmp_path / "disk"
        os.mknod(kmsg, 0o600 | stat.S_IFCHR, os.makedev(1, 11))

        def look() -> None:
            found = [opens("/dev/null"), opens("/dev/urandom"), opens("/dev/ptmx"), opens(kmsg)]
            try:
                os.mknod(disk, 0o600 | stat.S_IFBLK, os.makedev(8, 0))
            except PermissionError:
                found.append("refused")
            os.write(told, " ".join(found).encode())

        pid = group.run(Limits(), look)
        os.close(told)
        with open(answer) as text:
            assert text.read() == "open open open refused refused"
        group.status(pid)

    def test_thaw(self, group: Group) -> None:
        pid = group.run(Limits(), sleep)
        group.cgroups.freeze(group.engine, _ID)
        group.cgroups.thaw(group.engine, _ID)
        os.kill(pid, signal.SIGTERM)
        assert group.status(pid) == -signal.SIGTERM
