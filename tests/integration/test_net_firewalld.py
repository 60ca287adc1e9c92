"""Beside a real firewalld: it rejects what it does not know, and reloads all it has."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stackctl.net import nft
from stackctl.net import nftexpr as x
from stackctl.net.netlink import NETLINK_NETFILTER, NetlinkSocket
from stackctl.state.paths import Paths
from support.netengine import Lab, crossing, passes
from support.netlab import run
from support.waiting import wait_until

pytestmark = pytest.mark.needs(
    "root", "netns", "bridge", "program:firewalld", "program:dbus-daemon"
)

NOTE = "here before"
_TABLE, _CHAIN = nft.Table(nft.FAMILY_INET, "firewalld"), "filter_FORWARD"
_BUS = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type><listen>unix:path={bus}</listen><auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*"/><allow own="*"/><allow receive_sender="*"/>
  </policy>
</busconfig>
"""


@contextmanager
def firewalld(directory: Path) -> Iterator[dict[str, str]]:
    """A firewalld of this network namespace, on a bus of its own; gives its environment."""
    bus = directory / "bus"
    (directory / "bus.conf").write_text(_BUS.format(bus=bus))
    shutil.copytree("/etc/firewalld", directory / "etc")
    environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={bus}"}
    log = (directory / "log").open("wb")
    daemons = [
        ["dbus-daemon", f"--config-file={directory}/bus.conf", "--nofork", "--nopidfile"],
        ["firewalld", "--nofork", "--nopid", "--system-config", str(directory / "etc")],
    ]
    daemons[1] += ["--log-file", str(directory / "firewalld.log")]
    running = []
    try:
        for argv, is_up in zip(
            daemons, (bus.exists, lambda: _rejects() and _says(environment, "--state")), strict=True
        ):
            running.append(subprocess.Popen(argv, env=environment, stdout=log, stderr=log))
            wait_until(is_up, 30, what=(directory / "log").read_text)
        yield environment
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait(20)
        log.close()


def _says(environment: dict[str, str], *arguments: str) -> bool:
    done = subprocess.run(["firewall-cmd", *arguments], env=environment, capture_output=True)
    return done.returncode == 0


def _rejects() -> bool:
    with NetlinkSocket(NETLINK_NETFILTER) as link:
        return any(c.table == "firewalld" and c.name == _CHAIN for c in nft.chains(link))


def _comments() -> list[str]:
    """Of the rules in firewalld's chain; none while it has no chain."""
    try:
        with NetlinkSocket(NETLINK_NETFILTER) as link:
            return [rule.comment for rule in nft.rules(link, _TABLE, _CHAIN)]
    except OSError:
        return []


def _leave_a_note() -> None:
    """A rule that the next reload throws away: with it go ours."""
    with NetlinkSocket(NETLINK_NETFILTER) as link:
        nft.commit(link, [_TABLE.rule(_CHAIN, [x.counter()], comment=NOTE, insert=True)])


def test_with_a_real_firewalld_both_ways_stay_open_and_its_reload_is_noticed(
    tmp_path: Path,
) -> None:
    async def scenario(paths: Paths) -> None:
        # A socket's path must be short.
        with tempfile.TemporaryDirectory(prefix="scf-") as d, firewalld(Path(d)) as environment:
            async with Lab(paths) as it:
                await crossing(it)

                def is_let_through() -> bool:
                    return _comments().count(paths.nft_table) == 2

                await asyncio.to_thread(wait_until, is_let_through, 15)
                await passes(it)
                _leave_a_note()
                assert await asyncio.to_thread(_says, environment, "--reload")
                await asyncio.to_thread(wait_until, is_let_through, 15)
                assert NOTE not in _comments()
                await passes(it)
                texts = [finding.text for finding in await it.net.findings()]
                assert any("firewalld's chain" in text for text in texts)
            assert _rejects() and paths.nft_table not in _comments()

    run(scenario, tmp_path)
