"""What a start would refuse is told by a check that makes nothing."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stackctl.errors import StackctlError
from stackctl.model.container import ContainerConfig, Device, DeviceLimit, Limits, Security
from stackctl.model.record import ContainerRecord
from stackctl.runtime.cgroups.driver import driver
from stackctl.runtime.preparation import check
from stackctl.state.paths import Paths

CONFIG = ContainerConfig(name="c", image="i", image_id="i", argv=("x",))


def checked(directory: Path, **changes: Any) -> None:
    """On a machine whose control groups limit processors."""
    root = directory / "cgroup"
    for name, text in (("controllers", "cpu cpuset io"), ("subtree_control", "cpu cpuset io")):
        root.mkdir(exist_ok=True)
        (root / f"cgroup.{name}").write_text(f"{text}\n")
    (root / "cpuset.cpus.effective").write_text("0-3\n")
    there = sorted(directory.rglob("*"))
    record = ContainerRecord(id="c1", config=replace(CONFIG, **changes), created_at=1.0)
    try:
        check(record, Paths(directory / "root", directory / "run"), driver(str(root)))
    finally:
        assert sorted(directory.rglob("*")) == there


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"argv": ()}, '"c" has no command to run'),
        ({"limits": Limits(cpuset_cpus="0-99")}, "asks for cpus that are not there"),
        ({"limits": Limits(cpus=1.0, cpu_quota=5000)}, "say the same in two ways"),
        (
            {"limits": Limits(device_write_iops=(DeviceLimit(path="/dev/null", value=1),))},
            "which is no block device",
        ),
        ({"devices": (Device(source="/dev/nope", target=""),)}, "/dev/nope: No such file"),
        ({"devices": (Device(source="/etc/passwd", target=""),)}, "is no device"),
        ({"sysctls": {"kernel.panic": "1"}}, "belongs to the machine"),
        ({"security": Security(seccomp="{}")}, "profile"),
    ],
)
def test_what_a_start_would_refuse(tmp_path: Path, changes: Any, said: str) -> None:
    with pytest.raises(StackctlError, match=said):
        checked(tmp_path, **changes)


def test_what_a_start_would_do(tmp_path: Path) -> None:
    limits = Limits(cpus=0.5, cpuset_cpus="1-2")
    devices = (Device(source=os.devnull, target="/dev/null"),)
    checked(tmp_path, limits=limits, devices=devices)
