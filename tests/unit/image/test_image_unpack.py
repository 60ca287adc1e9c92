"""Layers into directories: right ones come out right, hostile ones do not get out."""

from __future__ import annotations

import os
import random
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackctl.image.pack import Header, header_bytes, pack
from stackctl.image.unpack.failure import BadLayer
from support.tars import END, directory, entry, extract, gz, hard_link, symlink, tar

OPAQUE = "user.overlay.opaque"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "outer" / "root"
    made.mkdir(parents=True)
    return made


def is_whiteout(path: Path) -> bool:
    found = path.lstat()
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def is_opaque(path: Path) -> bool:
    return OPAQUE in os.listxattr(path) and os.getxattr(path, OPAQUE) == b"y"


def test_kinds_modes_and_times(root: Path) -> None:
    raw = tar(
        directory("bin", 0o751),
        entry("bin/tool", b"#!", mode=0o4755, mtime=1_000_000_000),
        symlink("sh", "bin/tool"),
        hard_link("again", "bin/tool"),
        entry("pipe", kind=b"6", mode=0o600),
    )
    extract(raw, root)
    tool = (root / "bin/tool").lstat()
    assert stat.S_IMODE(tool.st_mode) == 0o4755
    assert tool.st_mtime_ns == 1_000_000_000 * 10**9
    assert stat.S_IMODE((root / "bin").stat().st_mode) == 0o751
    assert (root / "sh").readlink() == Path("bin/tool")
    assert (root / "again").lstat().st_ino == tool.st_ino
    assert stat.S_ISFIFO((root / "pipe").lstat().st_mode)


def test_directories_keep_their_own_times(root: Path) -> None:
    made = entry("d/", kind=b"5", mode=0o755, mtime=5)
    extract(tar(made, entry("d/f", b"x", mtime=9)), root)
    assert (root / "d").stat().st_mtime == 5


@pytest.mark.parametrize("format", ["gnu", "posix", "v7"])
def test_what_tar_writes(tmp_path: Path, root: Path, format: str) -> None:
    source = tmp_path / "source"
    names = ["short", "d" * 90 + "/" + "f" * 90 if format != "v7" else "middle", "ünï"]
    for name in names:
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    with open(source / "sparse", "wb") as file:
        for at in range(12):
            file.seek(at << 18)
            file.write(b"data%d" % at)
        file.truncate(8 << 20)
    sparse = [] if format == "v7" else ["-S"]
    raw = subprocess.run(
        ["tar", f"--format={format}", *sparse, "-C", str(source), "-cf", "-", "."],
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    extract(gz(raw), root)
    assert not subprocess.run(["diff", "-r", str(source), str(root)], check=False).returncode
    if sparse:
        assert (root / "sparse").stat().st_blocks * 512 < 4 << 20


@pytest.mark.parametrize("version", ["0.0", "0.1", "1.0"])
def test_sparse_files_in_pax_headers(tmp_path: Path, root: Path, version: str) -> None:
    with open(tmp_path / "holes", "wb") as file:
        file.write(b"begin")
        file.seek(1 << 20)
        file.write(b"middle")
        file.truncate(3 << 20)
    command = ["tar", "--format=posix", f"--sparse-version={version}", "-S"]
    raw = subprocess.run(
        [*command, "-C", str(tmp_path), "-cf", "-", "holes"], stdout=subprocess.PIPE, check=True
    ).stdout
    extract(raw, root)
    assert (root / "holes").read_bytes() == (tmp_path / "holes").read_bytes()


class TestWhiteouts:
    def test_a_hidden_name(self, root: Path) -> None:
        extract(tar(directory("d"), entry("d/.wh.gone")), root)
        assert is_whiteout(root / "d/gone")

    def test_an_opaque_directory(self, root: Path) -> None:
        extract(tar(directory("d"), entry("d/.wh..wh..opq"), entry("d/new", b"x")), root)
        assert is_opaque(root / "d")
        assert os.listdir(root / "d") == ["new"]

    def test_a_directory_that_is_hidden_and_made_anew(self, root: Path) -> None:
        for order in (
            (entry(".wh.d"), directory("d"), entry("d/f", b"x")),
            (directory("d"), entry("d/f", b"x"), entry(".wh.d")),
            (entry(".wh.d"), entry("d/f", b"x")),
        ):
            target = root / str(len(os.listdir(root)))
            target.mkdir()
            extract(tar(*order), target)
            assert is_opaque(target / "d")
            assert (target / "d/f").read_bytes() == b"x"

    def test_a_file_that_is_hidden_and_made_anew(self, root: Path) -> None:
        extract(tar(entry(".wh.f"), entry("f", b"new")), root)
        assert (root / "f").read_bytes() == b"new"

    @pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh..."])
    def test_hiding_the_directory_itself_is_refused(self, root: Path, name: str) -> None:
        with pytest.raises(BadLayer):
            extract(tar(entry(f"d/{name}")), root)

    def test_attributes_of_overlayfs_are_not_a_layers_to_give(self, root: Path) -> None:
        raw = entry("d/", kind=b"5", xattrs={OPAQUE: b"y", "user.mine": b"1"})
        extract(tar(raw), root)
        assert os.listxattr(root / "d") == ["user.mine"]


class TestOrder:
    def test_a_hard_link_before_its_target(self, root: Path) -> None:
        extract(tar(hard_link("b", "a"), entry("a", b"x")), root)
        assert (root / "a").stat().st_nlink == 2

    def test_directories_without_an_entry_are_told(self, root: Path) -> None:
        done = extract(tar(entry("usr/bin/x"), directory("usr")), root)
        assert done.implied == {b"usr/bin"}

    def test_the_last_entry_of_a_name_counts(self, root: Path) -> None:
        raw = tar(directory("x"), entry("x/inner", b"1"), entry("x", b"file"), directory("y"))
        extract(raw, root)
        assert (root / "x").read_bytes() == b"file"

    def test_a_directory_replaced_by_a_link_and_used_again(self, root: Path) -> None:
        raw = tar(
            directory("a"),
            entry("a/1", b"1"),
            directory("b"),
            symlink("a", "b"),
            entry("a/2", b"2"),
        )
        extract(raw, root)
        assert (root / "b/2").read_bytes() == b"2"
        assert (root / "a").is_symlink()


#: Layers that want to reach what is beside the root: each is refused, or stays inside.
HOSTILE = {
    "absolute": tar(entry("/outside", b"x")),
    "dots": tar(entry("../outside", b"x")),
    "dots inside": tar(directory("a"), entry("a/../../outside", b"x")),
    "through a link": tar(symlink("l", ".."), entry("l/outside", b"x")),
    "through an absolute link": tar(symlink("l", "/"), entry("l/outside", b"x")),
    "through two links": tar(symlink("a", "b"), symlink("b", "../.."), entry("a/outside", b"x")),
    "over a link": tar(symlink("l", "../secret"), entry("l", b"changed")),
    "hard link out": tar(hard_link("l", "../secret"), entry("l", b"changed")),
    "hard link through a link": tar(symlink("d", ".."), hard_link("l", "d/secret")),
    "hard link to a link, written": tar(
        symlink("s", "../secret"), hard_link("l", "s"), entry("l", b"changed")
    ),
    "directory over a link": tar(symlink("l", ".."), directory("l", 0o777), entry("l/f", b"x")),
    "hard link to the root": tar(hard_link("l", ".")),
    "hard link to a directory": tar(directory("d"), hard_link("l", "d")),
    "whiteout through a link": tar(symlink("l", ".."), entry("l/.wh.secret")),
    "opaque through a link": tar(symlink("l", ".."), entry("l/.wh..wh..opq")),
    "times through a link": tar(directory("d"), symlink("d", "..")),
    "dangling link as parent": tar(symlink("l", "../new"), entry("l/f", b"x")),
    "a device that hides": tar(entry("d", kind=b"3")),
    "a null byte": tar(entry("x", xattrs={"user.a": b"1"})).replace(b"user.a", b"user\0a"),
    "an owner that is none": tar(entry("x", uid=1 << 40)),
    "a long path": tar(entry("a/" * 3000 + "x")),
    "a long name": tar(entry("x" * 300)),
    "a large extended header": header_bytes(Header(name=b"p", kind=b"x", size=1 << 30)),
    "a file as a parent": tar(entry("f", b"x"), entry("f/inner", b"x")),
    "links in a circle": tar(symlink("a", "b"), symlink("b", "a"), entry("a/x", b"x")),
    "many dots": tar(entry("a/./././b/.././../../x", b"x")),
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_nothing_outside_is_touched(root: Path, name: str) -> None:
    outer = root.parent
    (outer / "secret").write_text("unchanged")
    before = (sorted(os.listdir(outer)), outer.stat().st_mtime_ns, os.listxattr(outer))
    handles = len(os.listdir("/proc/self/fd"))
    try:
        extract(HOSTILE[name], root)
    except BadLayer as error:
        assert str(error)
    assert (sorted(os.listdir(outer)), outer.stat().st_mtime_ns, os.listxattr(outer)) == before
    assert (outer / "secret").read_text() == "unchanged"
    assert (outer / "secret").stat().st_nlink == 1
    assert not Path("/outside").exists()
    assert len(os.listdir("/proc/self/fd")) == handles


def test_every_truncation_is_refused_and_leaks_nothing(tmp_path: Path) -> None:
    raw = gz(tar(directory("d"), *(entry(f"d/{n}", os.urandom(300)) for n in range(20))))
    handles = len(os.listdir("/proc/self/fd"))
    for number, length in enumerate(random.Random(5).sample(range(1, len(raw) - 1), 40)):
        target = tmp_path / str(number)
        target.mkdir()
        with pytest.raises(BadLayer):
            extract(raw[:length], target)
    assert len(os.listdir("/proc/self/fd")) == handles


def test_a_plain_tar_that_ends_within_a_file_is_refused(root: Path) -> None:
    with pytest.raises(BadLayer):
        extract(entry("f", bytes(5000))[:2000], root)


def test_damaged_compression_is_refused(root: Path) -> None:
    raw = bytearray(gz(tar(entry("f", os.urandom(100_000)))))
    raw[50_000] ^= 0xFF
    with pytest.raises(BadLayer):
        extract(bytes(raw), root)


def test_a_bomb_of_zeros_takes_no_space(root: Path) -> None:
    extract(gz(tar(entry("zeros", bytes(64 << 20)))), root)
    found = (root / "zeros").stat()
    assert found.st_size == 64 << 20
    assert found.st_blocks * 512 < 8 << 20


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=3000), st.integers(0, 600))
def test_any_bytes_give_files_or_a_clean_refusal(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int
) -> None:
    good = tar(directory("d"), entry("d/f", b"x" * 700))
    raw = good[:at] + noise + good[at + len(noise) :]
    try:
        extract(raw, tmp_path_factory.mktemp("noise"))
    except BadLayer:
        pass
    except OSError as error:
        # Owners and devices that only root may make; never a path outside.
        assert isinstance(error, PermissionError), error


def test_packed_and_unpacked_is_the_same(tmp_path: Path, root: Path) -> None:
    source = tmp_path / "upper"
    (source / "deep" / ("n" * 120)).mkdir(parents=True)
    (source / "deep" / ("n" * 120) / "file").write_bytes(os.urandom(70_000))
    os.link(source / "deep" / ("n" * 120) / "file", source / "linked")
    (source / "gone").symlink_to("../nowhere")
    os.mkfifo(source / "fifo")
    os.mknod(source / "hidden", stat.S_IFCHR, 0)
    os.setxattr(source / "deep", OPAQUE, b"y")
    os.setxattr(source / "deep", "user.kept", b"1")
    (source / "deep").chmod(0o2750)

    def packed(place: Path) -> bytes:
        out = bytearray()
        fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        pack(fd, out.extend)
        os.close(fd)
        return bytes(out)

    first = packed(source)
    extract(first, root)
    assert packed(root) == first
    assert is_whiteout(root / "hidden") and is_opaque(root / "deep")
    assert first.endswith(END)
