"""Paths below a directory that somebody else filled never lead out of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackctl.linux import files


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    fd = os.open(tmp_path / "root", os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def path_of(fd: int) -> str:
    return os.readlink(f"/proc/self/fd/{fd}")


def test_directories_are_made_with_their_parents(root: int, tmp_path: Path) -> None:
    fd = files.make_directories(root, "/a/b/../c//d/.")
    assert path_of(fd) == str(tmp_path / "root/a/c/d")
    os.close(fd)


def test_a_file_is_made_where_nothing_is(root: int, tmp_path: Path) -> None:
    os.close(files.make_file(root, "/etc/hosts"))
    assert (tmp_path / "root/etc/hosts").read_bytes() == b""
    (tmp_path / "root/etc/hosts").write_text("kept")
    os.close(files.make_file(root, "/etc/hosts"))
    assert (tmp_path / "root/etc/hosts").read_text() == "kept"


@pytest.mark.parametrize("target", ["/run/real", "../run/real", "../../../../run/real"])
def test_links_to_nothing_are_made_inside(root: int, tmp_path: Path, target: str) -> None:
    (tmp_path / "root/etc").mkdir()
    os.symlink(target, tmp_path / "root/etc/resolv.conf")
    os.close(files.make_file(root, "/etc/resolv.conf"))
    assert (tmp_path / "root/run/real").is_file()


def test_links_out_stay_inside(root: int, tmp_path: Path) -> None:
    os.symlink(tmp_path / "outside", tmp_path / "root/link")
    fd = files.make_directories(root, "/link/deep")
    assert path_of(fd).startswith(str(tmp_path / "root/"))
    os.close(fd)
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_circle_of_links_ends(root: int, tmp_path: Path) -> None:
    os.symlink("b", tmp_path / "root/a")
    os.symlink("a", tmp_path / "root/b")
    with pytest.raises(OSError, match="symbolic links"):
        files.make_directories(root, "/a/x")


def test_a_file_in_the_way_is_told(root: int, tmp_path: Path) -> None:
    (tmp_path / "root/file").touch()
    with pytest.raises(NotADirectoryError):
        files.make_directories(root, "/file/x")


def test_reading_is_limited(root: int, tmp_path: Path) -> None:
    (tmp_path / "root/big").write_bytes(b"x" * 101)
    assert files.read_in_root(root, "/big", 101) == b"x" * 101
    with pytest.raises(OSError, match="larger"):
        files.read_in_root(root, "/big", 100)


def test_a_fifo_does_not_block(root: int, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "root/fifo")
    with pytest.raises(OSError, match="not a regular file"):
        files.read_in_root(root, "/fifo", 100)


PARTS = st.sampled_from(["a", "b", "..", ".", "", "up", "abs", "self"])


@settings(max_examples=200)
@given(parts=st.lists(PARTS, max_size=8))
def test_no_path_leads_out(root: int, tmp_path: Path, parts: list[str]) -> None:
    inside = tmp_path / "root"
    for name, target in (("up", "../../.."), ("abs", "/"), ("self", ".")):
        if not (inside / name).is_symlink():
            os.symlink(target, inside / name)
    fd = files.make_directories(root, "/".join(parts))
    assert (path_of(fd) + "/").startswith(f"{inside}/")
    os.close(fd)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["outside", "root"]
