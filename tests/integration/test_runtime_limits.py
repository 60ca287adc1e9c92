"""Limits, usage, pause and kill of real containers, on whichever control groups there are.

Also run in a machine with cgroup v2 by `make vmtest`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackctl.errors import Conflict, MachineError, UsageError
from stackctl.model.container import DeviceLimit, Limits
from stackctl.state.paths import Paths
from support.runtime_bed import Bed
from support.waiting import wait_until

pytestmark = pytest.mark.needs("root", "userns", "overlay", "cgroup")

MB = 1 << 20
#: Where a container sees its own limits: v1, v2.
MEMORY = ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max")
CPU = ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu.max")
PIDS = ("/sys/fs/cgroup/pids/pids.max", "/sys/fs/cgroup/pids.max")


@pytest.fixture
def bed(engine_dirs: Paths) -> Iterator[Bed]:
    bed = Bed(engine_dirs)
    yield bed
    bed.close()


def shown(paths: tuple[str, str]) -> str:
    return f"cat {paths[0]} 2>/dev/null || cat {paths[1]}"


def test_a_container_sees_its_own_limits(bed: Bed) -> None:
    limits = Limits(memory=256 * MB, cpus=0.5, pids=77)
    script = "; ".join(shown(paths) for paths in (MEMORY, CPU, PIDS))
    words = bed.output(script, limits=limits).split()
    assert words[0] == "268435456"
    assert words[1] == "50000"
    assert words[-1] == "77"


def test_its_control_groups_cannot_be_changed_from_inside(bed: Bed) -> None:
    """CVE-2022-0492: neither files of the group nor a release agent can be written."""
    script = """
    for file in $(find /sys/fs/cgroup -name release_agent -o -name memory.limit_in_bytes \
        -o -name memory.max -o -name pids.max -o -name notify_on_release); do
        (echo 1 > $file) 2>/dev/null && echo wrote $file
    done
    mkdir /sys/fs/cgroup/x /sys/fs/cgroup/*/x 2>/dev/null && echo made
    mkdir /tmp/cg; mount -t cgroup -o memory none /tmp/cg 2>/dev/null && echo mounted
    mount -t cgroup2 none /tmp/cg 2>/dev/null && echo mounted2
    echo done
    """
    assert bed.output(script) == "done"


def test_limits_change_while_it_runs(bed: Bed) -> None:
    container = bed.start("sleep", "1000", limits=Limits(memory=64 * MB))
    for memory in (256 * MB, 32 * MB):  # up, then down: v1 wants another order for each
        wanted = Limits(memory=memory, cpus=0.25, pids=50, cpu_shares=512)
        bed.do(bed.runtime.update(container.record, wanted))
        used = bed.do(bed.runtime.stats(container.record)).usage
        assert used.memory_limit == memory
    out, _, _ = bed.runs(container, "sh", "-c", shown(PIDS))
    assert out == b"50\n"


def test_an_update_that_cannot_be_changes_nothing(bed: Bed) -> None:
    container = bed.start("sleep", "1000", limits=Limits(memory=64 * MB))
    with pytest.raises(UsageError):
        bed.do(bed.runtime.update(container.record, Limits(memory=2 * MB, memory_swap=MB)))
    with pytest.raises((MachineError, UsageError)):
        bed.do(bed.runtime.update(container.record, Limits(cpuset_cpus="100000")))
    assert bed.do(bed.runtime.stats(container.record)).usage.memory_limit == 64 * MB


def test_what_has_ended_has_no_stats(bed: Bed) -> None:
    container = bed.start("true")
    container.wait()
    with pytest.raises(Conflict):
        bed.do(bed.runtime.stats(container.record))


def test_stats_follow_what_it_does(bed: Bed) -> None:
    script = "head -c 20000000 /dev/zero > /dev/shm/x; i=0; while [ $i -lt 50000 ]; do i=$((i+1)); \
        done; echo ready; exec sleep 1000"
    container = bed.shell(script)
    wait_until(container.log)
    found = bed.do(bed.runtime.stats(container.record))
    assert found.usage.memory is not None and found.usage.memory >= 20_000_000
    assert found.usage.cpu is not None and 0 < found.usage.cpu < found.system_cpu
    assert found.usage.pids == 1
    assert found.interfaces == ()  # the bed attaches no network: only loopback is there


def test_a_memory_hog_is_killed_and_it_is_told(bed: Bed) -> None:
    hog = "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo survived"
    container = bed.shell(hog, limits=Limits(memory=32 * MB, memory_swap=32 * MB))
    info = container.wait()
    assert (info.exit_code, info.oom_killed) == (137, True)


def test_a_second_run_starts_with_a_clean_slate(bed: Bed) -> None:
    """The group of a run that was short of memory must not mark the next one."""
    limits = Limits(memory=32 * MB, memory_swap=32 * MB)
    script = "test -e /once && exit 5; touch /once; x=$(head -c 200000000 /dev/zero | tr '\\0' x)"
    container = bed.shell(script, limits=limits)
    assert container.wait().oom_killed
    container.exit = bed.loop.create_future()
    bed.do(bed.begin(container))
    info = container.wait()
    assert (info.exit_code, info.oom_killed) == (5, False)


def test_a_fork_bomb_stays_small_and_dies(bed: Bed) -> None:
    # Each shell waits for its two: nothing of it ends by itself.
    bomb = "cat > /b <<'E'\nsh /b & sh /b & wait; sleep 1000\nE\nsh /b 2>/dev/null; sleep 1000"
    container = bed.shell(bomb, limits=Limits(pids=64))
    stats = bed.runtime.stats
    wait_until(lambda: (bed.do(stats(container.record)).usage.pids or 0) >= 60)
    assert (bed.do(stats(container.record)).usage.pids or 0) <= 64
    bed.do(bed.runtime.kill(container.record))
    assert container.wait().exit_code == 137
    wait_until(lambda: not bed.runtime.cgroups.processes(bed.paths.cgroup, container.record.id))


def test_a_paused_container_is_killed(bed: Bed) -> None:
    container = bed.start("sh", "-c", "sleep 1000 & sleep 1000")
    bed.do(bed.runtime.pause(container.record))
    bed.do(bed.runtime.kill(container.record))
    bed.do(bed.runtime.kill_group(container.record))
    assert container.wait().exit_code == 137


def test_a_rate_of_a_device_is_set(bed: Bed) -> None:
    """Blocks of the disk that holds the root, if there is one to be limited."""
    number = os.stat("/").st_dev
    name = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve()
    disk = name.parent.name if (name / "partition").exists() else name.name
    path = f"/dev/{disk}"
    assert Path(path).exists(), path
    limits = Limits(device_write_bps=(DeviceLimit(path=path, value=5 * MB),))
    script = "cat /sys/fs/cgroup/blkio/blkio.throttle.write_bps_device 2>/dev/null \
        || cat /sys/fs/cgroup/io.max"
    assert str(5 * MB) in bed.output(script, limits=limits)


def test_a_weight_of_block_devices_is_set_or_told(bed: Bed) -> None:
    script = "cat /sys/fs/cgroup/blkio/blkio.*weight /sys/fs/cgroup/io.*weight 2>/dev/null; true"
    shown = bed.output(script, limits=Limits(blkio_weight=300))
    said = "blkio weights have no effect" in " ".join(bed.notices)
    assert ("300" in shown) is not said


def test_a_limit_on_what_is_no_disk_is_refused(bed: Bed) -> None:
    limits = Limits(device_read_bps=(DeviceLimit(path="/dev/null", value=1),))
    with pytest.raises(UsageError, match="no block device"):
        bed.start("true", limits=limits)
