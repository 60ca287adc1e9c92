"""Directories of RUN's caches: kept while they are used, gone when nobody does."""

from __future__ import annotations

import os
from pathlib import Path

from stackctl.image.build.cache_mounts import CacheMounts
from stackctl.image.build.mounts import RunMount


def cache(name: str) -> RunMount:
    owner = {"uid": os.getuid(), "gid": os.getgid()}
    return RunMount(type="cache", target="/c", id=name, mode=0o750, **owner)


def test_they_stay_while_they_are_used(tmp_path: Path) -> None:
    mounts = CacheMounts(tmp_path / "mounts")
    assert mounts.known() == []
    place, first = mounts.take(cache("a"))
    again, second = mounts.take(cache("a"))
    other, third = mounts.take(cache("a"), "unique")
    assert place == again != other and place.stat().st_mode & 0o777 == 0o750
    (place / "kept").mkdir()
    (place / "kept/file").write_text("x")
    assert not mounts.remove(place.name)
    os.close(first)
    assert not mounts.remove(place.name) and (place / "kept/file").exists()
    os.close(second)
    assert {known.name for known in mounts.known()} == {place.name, other.name}
    assert mounts.remove(place.name) and not mounts.remove(place.name)
    assert os.listdir(tmp_path / "mounts") == [other.name]
    os.close(third)


def test_what_was_being_removed_goes_at_the_next_start(tmp_path: Path) -> None:
    mounts = CacheMounts(tmp_path)
    (tmp_path / ".gone-1234/below").mkdir(parents=True)
    assert mounts.known() == []
    mounts.sweep()
    assert not list(tmp_path.iterdir())
