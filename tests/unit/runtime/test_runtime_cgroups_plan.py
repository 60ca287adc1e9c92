"""Limits as writes, on directories that look like a v1, a v2 and a hybrid tree."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stackctl.errors import MachineError, UsageError
from stackctl.model.container import DeviceLimit, Limits, Security
from stackctl.runtime.cgroups.driver import driver
from stackctl.runtime.cgroups.plan import CgroupPlan, limit_writes, plan, weight
from stackctl.runtime.cgroups.tree import find

MB = 1 << 20
NO_DEVICE = DeviceLimit(path="/dev/nope", value=MB)
V1 = ("blkio", "cpu,cpuacct", "cpuset", "devices", "freezer", "memory", "pids")


def v1_tree(root: Path, controllers: tuple[str, ...] = V1, swap: bool = True) -> Path:
    for names in controllers:
        (root / names).mkdir()
        (root / names / "tasks").touch()
        for name in names.split(","):
            if name != names:
                (root / name).symlink_to(names)
    if "cpuset" in controllers:
        (root / "cpuset/cpuset.cpus").write_text("0-3\n")
        (root / "cpuset/cpuset.mems").write_text("0\n")
    if swap and "memory" in controllers:
        (root / "memory/memory.memsw.limit_in_bytes").touch()
    (root / "systemd").mkdir()
    (root / "systemd/tasks").touch()
    return root


def v2_tree(root: Path, enabled: str = "cpu cpuset io memory pids") -> Path:
    (root / "cgroup.controllers").write_text("cpu cpuset io memory pids\n")
    (root / "cgroup.subtree_control").write_text(f"{enabled}\n")
    (root / "cpuset.cpus.effective").write_text("0-3\n")
    (root / "cpuset.mems.effective").write_text("0\n")
    return root


def planned(root: Path, limits: Limits, security: Security | None = None) -> CgroupPlan:
    return plan(find(str(root)), "engine", "c1", limits, security or Security())


def written(root: Path, limits: Limits) -> dict[str, str]:
    """By path below the root, device rules left out."""
    made = planned(root, limits, Security(privileged=True))
    return {path.removeprefix(f"{root}/"): text for path, text in made.writes}


@pytest.mark.parametrize(
    ("version", "name", "expected"),
    [
        (1, "blkio.bfq.weight", "300"),
        (1, "blkio.weight", "300"),
        (2, "io.bfq.weight", "default 300"),
        (2, "io.weight", "default 2930"),
    ],
)
def test_weights_of_block_devices_have_the_schedulers_name(
    tmp_path: Path, version: int, name: str, expected: str
) -> None:
    """Only groups below the top have the file; without it the container runs, and it is said."""
    root = v1_tree(tmp_path) if version == 1 else v2_tree(tmp_path)
    top = root / ("blkio" if version == 1 else "")
    limits = Limits(blkio_weight=300)
    without = planned(root, limits)
    assert [text for _, text in without.writes if "300" in text] == []
    assert without.notices == (
        "this kernel gives block devices no weights: blkio weights have no effect",
    )
    with pytest.raises(MachineError, match="no weights"):
        limit_writes(find(str(root)), "engine", "c1", limits)
    (top / "engine").mkdir()
    (top / "engine" / name).touch()
    made = planned(root, limits)
    assert (f"{top}/engine/c1/{name}", expected) in made.writes
    assert made.notices == ()


class TestV1:
    def test_no_limits_joins_and_restricts_devices_only(self, tmp_path: Path) -> None:
        made = planned(v1_tree(tmp_path), Limits())
        tops = ["devices", "freezer", "memory", "cpu,cpuacct", "pids", "blkio"]
        assert made.procs == tuple(f"{tmp_path}/{top}/engine/c1/tasks" for top in tops)
        assert made.dirs == tuple(f"{tmp_path}/{top}/engine/c1" for top in tops)
        assert made.into == ""
        group = f"{tmp_path}/devices/engine/c1"
        assert made.writes[0] == (f"{group}/devices.deny", "a")
        assert (f"{group}/devices.allow", "c 1:3 rwm") in made.writes
        assert all("devices" in path for path, _ in made.writes)

    def test_privileged_keeps_all_devices(self, tmp_path: Path) -> None:
        assert planned(v1_tree(tmp_path), Limits(), Security(privileged=True)).writes == ()

    def test_memory_comes_before_swap(self, tmp_path: Path) -> None:
        made = list(written(v1_tree(tmp_path), Limits(memory=64 * MB)).items())
        group = "memory/engine/c1/memory"
        assert made == [
            (f"{group}.limit_in_bytes", str(64 * MB)),
            (f"{group}.memsw.limit_in_bytes", str(128 * MB)),
        ]

    def test_swap_that_nobody_asked_for_is_left_out_where_it_is_not_counted(
        self, tmp_path: Path
    ) -> None:
        root = v1_tree(tmp_path, swap=False)
        assert list(written(root, Limits(memory=MB))) == ["memory/engine/c1/memory.limit_in_bytes"]
        with pytest.raises(MachineError, match="account swap"):
            written(root, Limits(memory=MB, memory_swap=2 * MB))

    @pytest.mark.parametrize(("asked", "text"), [(-1, "-1"), (3 * MB, str(3 * MB))])
    def test_swap_as_asked(self, tmp_path: Path, asked: int, text: str) -> None:
        made = written(v1_tree(tmp_path), Limits(memory=2 * MB, memory_swap=asked))
        assert made["memory/engine/c1/memory.memsw.limit_in_bytes"] == text

    def test_all_the_rest(self, tmp_path: Path) -> None:
        limits = Limits(
            memory_reservation=MB, memory_swappiness=10, cpus=1.5, cpu_shares=512, pids=64
        )
        assert written(v1_tree(tmp_path), limits) == {
            "memory/engine/c1/memory.soft_limit_in_bytes": str(MB),
            "memory/engine/c1/memory.swappiness": "10",
            "cpu,cpuacct/engine/c1/cpu.cfs_period_us": "100000",
            "cpu,cpuacct/engine/c1/cpu.cfs_quota_us": "150000",
            "cpu,cpuacct/engine/c1/cpu.shares": "512",
            "pids/engine/c1/pids.max": "64",
        }

    def test_cpuset_is_filled_from_above(self, tmp_path: Path) -> None:
        root = v1_tree(tmp_path)
        assert written(root, Limits(cpuset_cpus="1,3")) == {
            "cpuset/engine/cpuset.cpus": "0-3",
            "cpuset/engine/c1/cpuset.cpus": "1,3",
            "cpuset/engine/cpuset.mems": "0",
            "cpuset/engine/c1/cpuset.mems": "0",
        }
        assert f"{root}/cpuset/engine/c1/tasks" in planned(root, Limits(cpuset_cpus="1")).procs

    def test_cpus_that_are_not_there(self, tmp_path: Path) -> None:
        root = v1_tree(tmp_path)
        # The last would be a milliard of numbers, were they counted.
        for wanted in ("2-4", "0,4", "4-5,0", "0-999999999", "0-4999999," * 8):
            with pytest.raises(UsageError, match=r"this machine has 0-3$") as raised:
                written(root, Limits(cpuset_cpus=wanted))
            assert len(str(raised.value)) < 200
        for wanted in ("two", "1-0", "1-", "9" * 5000):
            with pytest.raises(UsageError, match="not a list"):
                written(root, Limits(cpuset_cpus=wanted))
        assert written(root, Limits(cpuset_cpus="2-3,0-1"))

    def test_more_cpus_than_there_are_is_told(self, tmp_path: Path) -> None:
        there = os.cpu_count() or 1
        root = v1_tree(tmp_path)
        assert planned(root, Limits(cpus=float(there))).notices == ()
        [notice] = planned(root, Limits(cpus=there + 0.5)).notices
        assert notice == f"cpus {there + 0.5:g} is no limit: this machine has {there}"

    def test_unlimited_pids(self, tmp_path: Path) -> None:
        made = written(v1_tree(tmp_path), Limits(pids=-1))
        assert made == {"pids/engine/c1/pids.max": "max"}

    @pytest.mark.parametrize(
        ("limits", "name"),
        [
            (Limits(memory=MB), "memory"),
            (Limits(cpus=1.0), "cpu"),
            (Limits(pids=1), "pids"),
            (Limits(cpuset_cpus="0"), "cpuset"),
        ],
    )
    def test_a_limit_without_its_controller_is_told(
        self, tmp_path: Path, limits: Limits, name: str
    ) -> None:
        root = v1_tree(tmp_path, ("devices", "freezer"))
        assert planned(root, Limits()).procs
        with pytest.raises(MachineError, match=f"a {name} limit"):
            planned(root, limits)

    def test_a_hybrid_has_a_v2_group_to_start_in(self, tmp_path: Path) -> None:
        root = v1_tree(tmp_path)
        (root / "unified").mkdir()
        (root / "unified/cgroup.controllers").touch()
        made = planned(root, Limits())
        assert made.into == f"{root}/unified/engine/c1"
        assert made.into in made.dirs
        assert not any(path.startswith(f"{root}/unified") for path in made.procs)


class TestV2:
    def test_no_limits(self, tmp_path: Path) -> None:
        made = planned(v2_tree(tmp_path), Limits())
        group = f"{tmp_path}/engine/c1"
        assert made.dirs == (group,)
        assert made.writes == (
            (f"{tmp_path}/engine/cgroup.subtree_control", "+cpu +cpuset +io +memory +pids"),
        )
        assert made.procs == (f"{group}/cgroup.procs",)
        assert made.into == group

    def test_all_limits(self, tmp_path: Path) -> None:
        limits = Limits(
            memory=4 * MB,
            memory_swap=6 * MB,
            memory_reservation=MB,
            cpus=0.25,
            cpu_shares=1024,
            cpuset_cpus="0-1",
            pids=10,
        )
        made = written(v2_tree(tmp_path), limits)
        assert {k.removeprefix("engine/c1/"): v for k, v in made.items() if "c1" in k} == {
            "cpuset.cpus": "0-1",
            "memory.max": str(4 * MB),
            "memory.swap.max": str(2 * MB),
            "memory.low": str(MB),
            "cpu.max": "25000 100000",
            "cpu.weight": "100",
            "pids.max": "10",
        }

    def test_devices_are_restricted_unless_privileged(self, tmp_path: Path) -> None:
        root = v2_tree(tmp_path)
        assert planned(root, Limits()).devices
        assert not planned(root, Limits(), Security(privileged=True)).devices

    def test_a_controller_that_is_not_switched_on(self, tmp_path: Path) -> None:
        root = v2_tree(tmp_path, enabled="pids")
        with pytest.raises(MachineError, match="memory limit"):
            planned(root, Limits(memory=MB))

    def test_swappiness_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(MachineError, match="mem_swappiness"):
            planned(v2_tree(tmp_path), Limits(memory_swappiness=0))


@pytest.mark.parametrize(("shares", "expected"), [(2, 1), (1024, 100), (262144, 10000), (0, 1)])
def test_shares_become_weights(shares: int, expected: int) -> None:
    assert weight(shares) == expected


def test_a_tiny_share_of_a_cpu_is_what_the_kernel_takes(tmp_path: Path) -> None:
    made = written(v1_tree(tmp_path), Limits(cpus=0.001))
    assert made["cpu,cpuacct/engine/c1/cpu.cfs_quota_us"] == "1000"


def test_swap_needs_memory_and_is_no_less(tmp_path: Path) -> None:
    root = v1_tree(tmp_path)
    with pytest.raises(UsageError, match="needs a memory limit"):
        planned(root, Limits(memory_swap=MB))
    with pytest.raises(UsageError, match="less than memory"):
        planned(root, Limits(memory=2 * MB, memory_swap=MB))


def test_cpus_are_said_in_one_way(tmp_path: Path) -> None:
    root = v1_tree(tmp_path)
    for more in (Limits(cpus=1.0, cpu_quota=5000), Limits(cpus=1.0, cpu_period=5000)):
        with pytest.raises(UsageError, match=r"cpus and cpu_(quota|period) say the same"):
            planned(root, more)
    lifted = written(root, Limits(cpus=1.0, cpu_quota=-1))
    assert lifted["cpu,cpuacct/engine/c1/cpu.cfs_quota_us"] == "-1"


def test_limits_are_checked_before_there_is_a_container(tmp_path: Path) -> None:
    cgroups = driver(str(v1_tree(tmp_path)))
    cgroups.check(Limits(cpuset_cpus="0-3", memory=MB, device_read_bps=(NO_DEVICE,)))
    for limits in (Limits(cpuset_cpus="0-99"), Limits(memory_swap=MB)):
        with pytest.raises(UsageError):
            cgroups.check(limits)
    with pytest.raises(UsageError, match=r"/dev/nope: No such file") as raised:
        planned(tmp_path, Limits(device_read_bps=(NO_DEVICE,)))
    assert "blkio_config" in raised.value.hint


def test_nothing_mounted(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="no control groups"):
        driver(str(tmp_path))


def test_the_driver_fits_the_tree(tmp_path: Path) -> None:
    assert driver(str(v1_tree(tmp_path))).version == 1
    (tmp_path / "two").mkdir()
    two = driver(str(v2_tree(tmp_path / "two")))
    assert (two.version, two.controllers) == (2, {"cpu", "cpuset", "io", "memory", "pids"})


class TestReaders:
    def test_v1(self, tmp_path: Path) -> None:
        files = {
            "memory/memory.usage_in_bytes": "5000",
            "memory/memory.limit_in_bytes": str(MB),
            "memory/memory.stat": "cache 4000\ntotal_inactive_file 1000\n",
            "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
            "cpu,cpuacct/cpuacct.usage": "1500000000",
            "cpu,cpuacct/cpu.stat": "nr_periods 3\nnr_throttled 1\nthrottled_time 250000000\n",
            "pids/pids.current": "3",
            "blkio/blkio.throttle.io_service_bytes": "8:0 Read 10\n8:0 Write 20\n8:16 Read 1\n",
        }
        cgroups = driver(str(fill(v1_tree(tmp_path), files)))
        used = cgroups.usage("engine", "c1")
        assert (used.memory, used.memory_limit, used.pids) == (4000, MB, 3)
        assert (used.cpu, used.cpu_throttled) == (1.5, 0.25)
        assert (used.read, used.written) == (11, 20)
        assert cgroups.oom_killed("engine", "c1")
        assert cgroups.containers("engine") == {"c1"}

    def test_v2(self, tmp_path: Path) -> None:
        files = {
            "memory.current": "5000",
            "memory.max": "max",
            "memory.stat": "anon 4000\ninactive_file 1000\n",
            "memory.events": "low 0\noom 1\noom_kill 1\n",
            "cpu.stat": "usage_usec 1500000\nthrottled_usec 250000\n",
            "pids.current": "3",
            "io.stat": "8:0 rbytes=10 wbytes=20 rios=1\n8:16 rbytes=1 wbytes=0\n",
        }
        root = v2_tree(tmp_path)
        cgroups = driver(str(fill(root, {f"/{name}": text for name, text in files.items()})))
        used = cgroups.usage("engine", "c1")
        assert (used.memory, used.memory_limit, used.pids) == (4000, None, 3)
        assert (used.cpu, used.cpu_throttled) == (1.5, 0.25)
        assert (used.read, used.written) == (11, 20)
        assert cgroups.oom_killed("engine", "c1")

    def test_a_group_that_is_not_there(self, tmp_path: Path) -> None:
        for cgroups in (driver(str(v1_tree(tmp_path))), driver(str(second(tmp_path)))):
            assert cgroups.processes("engine", "gone") == ()
            assert cgroups.usage("engine", "gone").memory is None
            assert not cgroups.oom_killed("engine", "gone")
            assert cgroups.join_files("engine", "gone") == ()
            assert cgroups.containers("nobody") == frozenset()
            assert cgroups.kill("engine", "gone")
            assert cgroups.remove("engine", "gone")
            assert cgroups.remove_engine_group("nobody")


def fill(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        top, _, file = name.rpartition("/")
        path = root / top.lstrip("/") / "engine" / "c1" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def second(tmp_path: Path) -> Path:
    (tmp_path / "v2").mkdir()
    return v2_tree(tmp_path / "v2")
