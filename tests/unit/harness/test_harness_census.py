"""The census: what counts as an engine's, and how a difference reads."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from pathlib import Path

from stackctl.state.paths import Paths
from support import census
from support.census import Census, difference
from support.waiting import wait_until


def paths_in(directory: Path) -> Paths:
    return Paths(directory / "root", directory / "run")


def test_no_difference_is_no_text() -> None:
    one = Census(links=frozenset({"sc123456abcdef0"}))
    assert difference(one, one) == ""


def test_a_difference_names_kind_and_direction() -> None:
    before = Census(links=frozenset({"a"}))
    after = Census(links=frozenset({"b"}), mounts=frozenset({"/m"}))
    assert difference(before, after).splitlines() == ["+ mounts: /m", "+ links: b", "- links: a"]


def test_a_process_is_the_engines_when_its_environment_names_its_directory(
    tmp_path: Path,
) -> None:
    paths = paths_in(tmp_path)
    assert census.processes(paths) == []
    sleeper = subprocess.Popen(["sleep", "60"], env={**os.environ, "STACKCTL_RUN": str(paths.run)})
    try:
        found = wait_until(lambda: census.processes(paths))
        assert [(p.pid, p.command) for p in found] == [(sleeper.pid, "sleep 60")]
        assert census.look(paths).namespaces == frozenset()
    finally:
        sleeper.kill()
        sleeper.wait()
    assert census.processes(paths) == []


def test_files_and_rows_are_counted(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    (paths.root / "containers" / "x").mkdir(parents=True)
    connection = sqlite3.connect(paths.database)
    connection.execute("create table leases (address text)")
    connection.execute("insert into leases values ('10.0.0.2')")
    connection.commit()
    connection.close()
    now = census.look(paths)
    assert "root/containers/x" in now.files
    assert now.records == frozenset({"leases: 1"})
    assert now.kernel == Census()
