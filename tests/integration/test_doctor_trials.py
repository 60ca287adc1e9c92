"""The doctor tries things for real, agrees with the machine, and leaves nothing behind."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from stackctl.linux import mount, ns
from stackctl.runtime.doctor import examine, probe
from stackctl.state.paths import Paths
from support.netlab import run

pytestmark = pytest.mark.needs("root")


def traces(root: Path) -> tuple[object, ...]:
    """What trials could leave: files, mounts, links; control groups whose maker has ended."""
    groups = [path for path, _, _ in os.walk("/sys/fs/cgroup") if "stackctl-trial-" in path]
    left = [path for path in groups if not Path("/proc", path.rpartition("-")[2]).exists()]
    mounts = Path("/proc/self/mountinfo").read_text()
    return sorted(root.iterdir()), left, mounts, socket.if_nameindex()


@pytest.mark.needs("userns", "overlay", "idmap", "cgroup", "nft", "bridge")
def test_everything_is_tried_and_nothing_stays(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        # Tests beside this one mount and unmount, too.
        ns.unshare(ns.CLONE_NEWNS)
        mount.mount("none", "/", "", mount.MS_REC | mount.MS_PRIVATE)
        before = traces(tmp_path)
        found = {finding.name: finding for finding in examine(Paths(tmp_path, tmp_path))}
        assert traces(tmp_path) == before
        kernel = ("root", "userns", "netns", "overlay", "idmap", "overlay-userns", "seccomp")
        for name in (*kernel, "bridge", "veth", "nft"):
            assert found[name].ok, str(found[name])
        assert [finding for finding in found.values() if finding.state == "bad"] == []

    run(scenario, tmp_path)


def test_one_alone(tmp_path: Path) -> None:
    assert probe("utsns", Paths(tmp_path, tmp_path)).ok
