"""Layers that fill whatever they are given: refused, and the disk is as it was."""

from __future__ import annotations

import io
import os
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackctl.errors import StackctlError
from stackctl.image.archive import import_root
from stackctl.image.store import Store
from stackctl.image.verify import problems
from stackctl.state.paths import Paths
from support.tars import END, directory, entry, tar
from support.waiting import wait_until

pytestmark = pytest.mark.needs("root")

_SIZE = 32 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small one, and few inodes."""
    place = tmp_path / "disk"
    place.mkdir()
    options = f"size={_SIZE},nr_inodes=2000"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        # Whoever was unpacking and was given up has it open for a moment more.
        umount = ["umount", str(place)]
        wait_until(lambda: subprocess.run(umount, check=False).returncode == 0, 20)


def _bomb(pieces: Iterator[bytes]) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return b"".join([*map(packer.compress, pieces), packer.flush()])


def _files() -> Iterator[bytes]:
    """96 MB in files of one, none of them empty."""
    yield directory("d")
    for number in range(96):
        yield entry(f"d/{number}", b"a" * (1 << 20))
    yield END


def _inodes() -> Iterator[bytes]:
    yield directory("d")
    for number in range(5000):
        yield entry(f"d/{number}")
    yield END


@pytest.mark.parametrize("pieces", [_files, _inodes], ids=["bytes", "inodes"])
def test_a_bomb_is_refused_and_nothing_of_it_stays(disk: Path, pieces) -> None:
    store = Store(Paths(disk / "root", disk / "run"))
    before = os.statvfs(disk)
    handles = len(os.listdir("/proc/self/fd"))

    def take(raw: bytes, name: str) -> None:
        import_root(store, io.BytesIO(raw).read, [name], {}, created="", comment="")

    with pytest.raises((OSError, StackctlError)) as refused:
        take(_bomb(pieces()), "bomb:1")
    assert "space" in str(refused.value).lower()
    store.collect()
    after = os.statvfs(disk)
    assert before.f_bfree - after.f_bfree < 64 and before.f_ffree - after.f_ffree < 32
    assert not store.images() and not list(problems(store))
    assert not [n for n in os.listdir(disk / "root/images/layers") if n.startswith(".")]
    assert len(os.listdir("/proc/self/fd")) == handles
    # The disk is good for others.
    take(tar(entry("small", b"x")), "small:1")
    assert [image.reference for image in store.images()]
