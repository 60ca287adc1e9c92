"""Beside a real dockerd: its FORWARD policy drops, and we get through all the same."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from stackctl.net import bridge, nft
from stackctl.net.netlink import NETLINK_NETFILTER, NetlinkSocket
from stackctl.state.paths import Paths
from support.netengine import Lab, crossing, passes
from support.netlab import run

pytestmark = pytest.mark.needs("root", "netns", "bridge")


def dockerd(directory: Path) -> subprocess.Popen[bytes]:
    """A dockerd of this network namespace with directories of its own."""
    return subprocess.Popen(
        [
            *("/usr/sbin/dockerd", "--data-root", str(directory / "root"), "--storage-driver"),
            *("vfs", "--exec-root", str(directory / "exec"), "--pidfile", str(directory / "pid")),
            *("--host", f"unix://{directory}/socket"),
        ],
        stdout=(directory / "log").open("wb"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


async def until_dropping(process: subprocess.Popen[bytes], log: Path) -> None:
    """Until dockerd's FORWARD policy is drop and its API answers."""
    async with asyncio.timeout(25):
        while not (_drops() and b"API listen on" in log.read_bytes()):
            assert process.poll() is None, log.read_text()
            await asyncio.sleep(0.1)


def _drops() -> bool:
    with NetlinkSocket(NETLINK_NETFILTER) as link:
        chains = nft.chains(link)
    return any(c.name == "FORWARD" and c.policy == 0 for c in chains)


async def both_ways(paths: Paths) -> None:
    async with Lab(paths) as it:
        await crossing(it)
        await passes(it)
        assert _drops()
        texts = [finding.text for finding in await it.net.findings()]
        assert any("dockerd's chain DOCKER-USER" in text for text in texts)
        assert _marked(paths) != []
    assert _marked(paths) == []


def _marked(paths: Paths) -> list[nft.FoundRule]:
    """Our rules in dockerd's table."""
    with NetlinkSocket(NETLINK_NETFILTER) as link:
        rules = nft.rules(link, nft.Table(nft.FAMILY_IP, "filter"))
    return [rule for rule in rules if rule.comment == paths.nft_table]


def test_with_a_real_dockerd_both_ways_stay_open(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        # A socket's path must be short.
        with tempfile.TemporaryDirectory(prefix="scd-") as short:
            directory = Path(short)
            # First: it drops only when it is the one that turns forwarding on.
            bridge.write_setting("ipv4/ip_forward", "0")
            process = dockerd(directory)
            try:
                await until_dropping(process, directory / "log")
                await both_ways(paths)
            finally:
                process.terminate()
                process.wait(20)
                _end_session(process.pid)

    run(scenario, tmp_path)


def _end_session(leader: int) -> None:
    """What dockerd left (containerd) is of its session."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getsid(int(entry.name)) == leader:
                    os.kill(int(entry.name), signal.SIGKILL)
            except ProcessLookupError:
                continue
