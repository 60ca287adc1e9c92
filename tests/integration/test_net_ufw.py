"""Beside a real ufw: it drops what is forwarded, and makes its chains anew on a reload."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from stackctl.net import nft
from stackctl.net.netlink import NETLINK_NETFILTER, NetlinkSocket
from stackctl.state.paths import Paths
from support.netengine import Lab, crossing, passes
from support.netlab import run
from support.waiting import wait_until

pytestmark = pytest.mark.needs("root", "netns", "bridge", "program:ufw")

_FILTER = nft.Table(nft.FAMILY_IP, "filter")


class Ufw:
    """The ufw of this network namespace, with files of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        shutil.copytree("/etc/ufw", directory / "etc/ufw")
        (directory / "etc/default").mkdir()
        shutil.copy("/etc/default/ufw", directory / "etc/default/ufw")
        (directory / "lib/ufw").mkdir(parents=True)  # its lock

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            ["ufw", "--rootdir=/", f"--datadir={self._directory}", "--force", *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def _drops() -> bool:
    with NetlinkSocket(NETLINK_NETFILTER) as link:
        chains = nft.chains(link)
    return any((c.table, c.name, c.policy) == ("filter", "FORWARD", 0) for c in chains)


def _openings(paths: Paths) -> int:
    """How many of our rules are first in its chain."""
    with NetlinkSocket(NETLINK_NETFILTER) as link:
        rules = nft.rules(link, _FILTER, "FORWARD") if _drops() else []
    return [rule.comment for rule in rules[:2]].count(paths.nft_table)


def test_with_a_real_ufw_both_ways_stay_open_and_its_reload_is_noticed(tmp_path: Path) -> None:
    async def scenario(paths: Paths) -> None:
        ufw = Ufw(tmp_path / "ufw")

        async def let_through() -> None:
            await asyncio.to_thread(wait_until, lambda: _openings(paths) == 2, 15)
            await passes(it)

        async with Lab(paths) as it:
            # Networks first, then the firewall: it is noticed.
            await crossing(it)
            assert "active" in await asyncio.to_thread(ufw, "enable")
            assert _drops()
            await let_through()
            await asyncio.to_thread(ufw, "reload")
            await let_through()
            texts = [finding.text for finding in await it.net.findings()]
            assert any("chain FORWARD drops forwarded packets" in text for text in texts)
        assert _drops() and _openings(paths) == 0

    run(scenario, tmp_path)
