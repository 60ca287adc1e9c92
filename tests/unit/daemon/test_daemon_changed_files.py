"""Whether what a job mounts of the host has changed since it ended."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from stackctl.daemon import changed_files
from stackctl.model.container import BindMount, ContainerConfig, Status, VolumeMount
from stackctl.model.record import ContainerRecord
from support.waiting import wait_until


def ended(*sources: Path) -> ContainerRecord:
    mounts = tuple(BindMount(source=str(s), target=f"/{i}") for i, s in enumerate(sources))
    config = ContainerConfig(
        name="c",
        image="i",
        image_id="i",
        argv=("x",),
        mounts=(*mounts, VolumeMount(volume="v", target="/v")),
    )
    now = time.time()
    # The clock of files goes in ticks: what comes next is later by it, too.
    probe = sources[0].parent / "clock"
    wait_until(lambda: probe.touch() or probe.stat().st_ctime > now)
    return ContainerRecord(
        id="1", config=config, created_at=1.0, status=Status.EXITED, finished_at=now, exit_code=0
    )


def changed(record: ContainerRecord) -> str:
    return asyncio.run(changed_files.since_end([record])).get("1", "")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "m/deep").mkdir(parents=True)
    (tmp_path / "m/deep/1.sql").write_text("1")
    (tmp_path / "m/link").symlink_to("/proc")
    return tmp_path / "m"


def test_any_change_is_seen_and_named(tree: Path) -> None:
    file = tree / "deep/1.sql"
    assert changed(ended(tree, tree.parent / "gone")) == ""
    changes = [
        (lambda: file.write_text("2"), file),
        (lambda: os.utime(file, (1, 1)), file),
        (lambda: file.chmod(0o600), file),
        (lambda: (tree / "deep/2.sql").touch(), tree / "deep"),
        (lambda: (tree / "deep/2.sql").unlink(), tree / "deep"),
    ]
    for change, where in changes:
        record = ended(tree)
        assert changed(record) == ""
        change()
        assert changed(record) == f"{where} has changed since"
    # A single file, by a link of the user's.
    (tree.parent / "one").symlink_to(file)
    record = ended(tree.parent / "one")
    assert changed(record) == ""
    file.write_text("3")
    assert changed(record) == f"{tree.parent / 'one'} has changed since"


def test_too_many_files_count_as_changed(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changed_files, "_MOST", 3)
    assert changed(ended(tree)) == f"{tree} has too many files to tell whether they have changed"
