"""The doctor tries things for real, agrees with the machine, and leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stackctl.runtime.doctor import examine, probe
from stackctl.state.paths import Paths

pytestmark = pytest.mark.needs("root")


def traces(root: Path) -> tuple[object, ...]:
    groups = [path for path, _, _ in os.walk("/sys/fs/cgroup") if "stackctl-trial" in path]
    return (sorted(root.iterdir()), groups, Path("/proc/self/mountinfo").read_text())


@pytest.mark.needs("userns", "overlay", "idmap", "cgroup", "nft", "bridge")
def test_everything_is_tried_and_nothing_stays(tmp_path: Path) -> None:
    before = traces(tmp_path)
    found = {finding.name: finding for finding in examine(Paths(tmp_path, tmp_path))}
    assert traces(tmp_path) == before
    for name in ("root", "userns", "netns", "overlay", "idmap", "overlay-userns", "seccomp"):
        assert found[name].ok, str(found[name])
    for name in ("bridge", "veth", "nft"):
        assert found[name].ok, str(found[name])
    assert [finding for finding in found.values() if finding.state == "bad"] == []


def test_one_alone(tmp_path: Path) -> None:
    assert probe("utsns", Paths(tmp_path, tmp_path)).ok
