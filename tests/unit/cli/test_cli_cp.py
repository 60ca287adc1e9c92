"""cp: names on both sides, and archives that want to get out."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackctl.cli.archive import Chunks, UnsafeArchive, pack, unpack
from stackctl.cli.commands.cp import _place
from stackctl.errors import Conflict, RemoteError, StackctlError

_DIRECTORY = 1 << 31


def _tar(*members: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for member, data in members:
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    stream.seek(0)
    return stream


def _member(name: str, kind: bytes = tarfile.REGTYPE, **fields: Any) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.mode = fields.pop("mode", 0o644)
    for key, value in fields.items():
        setattr(member, key, value)
    return member


def _tree(root: Path) -> dict[str, Any]:
    """What is below: text of files, targets of links, None for directories."""
    found: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = os.readlink(path)
        else:
            found[name] = None if path.is_dir() else path.read_text()
    return found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "inner").mkdir(parents=True)
    (root / "a.txt").write_text("a" * 1000)
    (root / "inner" / "b.txt").write_text("")
    (root / "inner" / "run.sh").write_text("#!/bin/sh\n")
    (root / "inner" / "run.sh").chmod(0o755)
    (root / "link").symlink_to("/etc/hostname")
    os.link(root / "a.txt", root / "z-hard")
    return root


def test_a_tree_round_trips(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    assert unpack(Chunks(pack(source, "source")), target, rename="copy") == []
    assert _tree(target / "copy") == _tree(source)
    assert (target / "copy" / "inner" / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (target / "copy" / "a.txt").samefile(target / "copy" / "z-hard")
    again = unpack(Chunks(pack(source, "source")), target, rename="copy")  # overwrites
    assert (again, _tree(target / "copy")) == ([], _tree(source))


def test_contents_only(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    unpack(Chunks(pack(source, "source")), target, rename="")
    assert _tree(target) == _tree(source)


def test_the_stream_is_what_other_readers_expect(source: Path) -> None:
    stream = io.BytesIO(b"".join(pack(source, "")))
    with tarfile.open(fileobj=stream) as archive:
        names = archive.getnames()
        assert archive.getmember("a.txt").uid == 0
    assert names == ["a.txt", "inner", "inner/b.txt", "inner/run.sh", "link", "z-hard"]


@pytest.mark.parametrize(
    "members",
    [
        [(_member("../evil"), b"x")],
        [(_member("d/../../evil"), b"x")],
        [(_member("/evil"), b"x")],
        [(_member("d", tarfile.SYMTYPE, linkname="../outside"), b""), (_member("d/evil"), b"x")],
        [(_member("d/l", tarfile.SYMTYPE, linkname="/"), b""), (_member("d/l/evil"), b"x")],
        [
            (_member("d/l", tarfile.SYMTYPE, linkname="../../outside/secret"), b""),
            (_member("d/h", tarfile.LNKTYPE, linkname="d/l/../secret"), b""),
        ],
        [(_member("d/h", tarfile.LNKTYPE, linkname="../outside/secret"), b"")],
        [(_member("d/h", tarfile.LNKTYPE, linkname="/etc/passwd"), b"")],
    ],
    ids=["dotdot", "inner-dotdot", "absolute", "link", "root-link", "via-link", "hard", "abs-hard"],
)
def test_hostile_names_stay_inside(
    tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]]
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises((UnsafeArchive, Conflict)):
        unpack(_tar(*members), target, rename=None)
    assert _tree(outside) == {"secret": "secret"}
    assert not Path("/evil").exists()


def test_a_link_is_replaced_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    target = tmp_path / "target"
    target.mkdir()
    members = [
        (_member("f", tarfile.SYMTYPE, linkname="../secret"), b""),
        (_member("f"), b"new"),
    ]
    unpack(_tar(*members), target, rename=None)
    assert (tmp_path / "secret").read_text() == "secret"
    assert _tree(target) == {"f": "new"}


def test_set_id_bits_and_devices_do_not_come_out(tmp_path: Path) -> None:
    members = [
        (_member("su", mode=0o6755), b"x"),
        (_member("disk", tarfile.BLKTYPE, devmajor=8, devminor=0), b""),
    ]
    assert unpack(_tar(*members), tmp_path, rename=None) == ["disk"]
    assert (tmp_path / "su").stat().st_mode & 0o7777 == 0o755
    assert not (tmp_path / "disk").exists()


@given(st.binary(max_size=2000))
def test_any_bytes_are_an_archive_or_an_error(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        try:
            unpack(io.BytesIO(data), Path(directory), rename=None)
        except (StackctlError, tarfile.TarError, OSError):
            pass


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("web:/x", ("web", "/x")),
        ("./web:/x", ("", "./web:/x")),
        ("/a:b", ("", "/a:b")),
        ("file", ("", "file")),
        ("-", ("", "-")),
        (":x", ("", ":x")),
    ],
)
def test_places(text: str, place: tuple[str, str]) -> None:
    assert _place(text) == place


class _Content(io.BytesIO):
    pass


def _serve(engine: Any, tree: dict[str, Any], archive: bytes = b"") -> list[tuple[str, bytes]]:
    """Archive calls of a client whose container has these paths; what was put there."""
    put: list[tuple[str, bytes]] = []

    def stat(container: str, path: str) -> dict[str, Any]:
        if path not in tree:
            raise RemoteError({"kind": "not-found", "message": f"no such path: {path}"})
        return {"mode": 0, "linkTarget": "", **tree[path]}

    engine.archive_stat = stat
    engine.archive_get = lambda container, path: (stat(container, path), _Content(archive))
    engine.archive_put = lambda container, path, content: put.append(
        (path, b"".join(iter(content.read, b"")))
    )
    return put


def _names(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return archive.getnames()


@pytest.mark.parametrize(
    ("target", "directory", "name"),
    [
        ("/dir", "/dir", "a.txt"),
        ("/dir/new", "/dir", "new"),
        ("/file", "/", "file"),
        ("/link", "/dir", "a.txt"),
        ("/", "/", "a.txt"),
    ],
)
def test_a_file_into_a_container(
    cli: Any, engine: Any, rows: Any, source: Path, target: str, directory: str, name: str
) -> None:
    engine.answers["ps"] = [rows[1], rows[2]]
    tree = {
        "/": {"mode": _DIRECTORY},
        "/dir": {"mode": _DIRECTORY},
        "/file": {},
        "/link": {"linkTarget": "dir"},
    }
    put = _serve(engine, tree)
    assert cli("cp", str(source / "a.txt"), f"web:{target}").code == 0
    ((path, data),) = put
    assert (path, _names(data)) == (directory, [name])


def test_a_directory_into_a_container(cli: Any, engine: Any, rows: Any, source: Path) -> None:
    engine.answers["ps"] = [rows[1], rows[2]]
    put = _serve(engine, {"/dir": {"mode": _DIRECTORY}, "/file": {}})
    assert cli("cp", f"{source}/.", "web:/dir").code == 0
    assert cli("cp", str(source), "web:/dir").code == 0
    assert cli("cp", str(source), "web:/new").code == 0
    assert [(path, _names(data)[0]) for path, data in put] == [
        ("/dir", "a.txt"),
        ("/dir", "source"),
        ("/", "new"),
    ]
    assert "a directory cannot go there" in cli("cp", str(source), "web:/file").err
    assert "has no directory" in cli("cp", str(source / "a.txt"), "web:/none/").err


def test_out_of_a_container(cli: Any, engine: Any, rows: Any, source: Path, tmp_path: Path) -> None:
    engine.answers["ps"] = [rows[1], rows[2]]
    _serve(engine, {"/source": {"mode": _DIRECTORY}}, b"".join(pack(source, "source")))
    there = tmp_path / "there"
    there.mkdir()
    for target, expected in (("there", "there/source"), ("new", "new")):
        assert cli("cp", "web:/source", str(tmp_path / target)).code == 0
        assert _tree(tmp_path / expected) == _tree(source)
    assert cli("cp", "web:/source/.", str(tmp_path / "contents")).code == 0
    assert _tree(tmp_path / "contents") == _tree(source)
    assert "there is no directory" in cli("cp", "web:/source", str(tmp_path / "no" / "x")).err
    assert cli("cp", "web:/missing", str(there)).err.startswith("error: no such path")


def test_a_service_without_a_container(cli: Any, engine: Any) -> None:
    outcome = cli("cp", "web:/x", ".")
    assert outcome.err == 'error: service "web" has no container\n'


def test_one_of_several_replicas(cli: Any, engine: Any, rows: Any, tmp_path: Path) -> None:
    label = "com.docker.compose.container-number="
    rows = [{**rows[1], "Labels": f"x=y,{label}{n}", "FullID": f"id{n}"} for n in (1, 2)]
    engine.answers["ps"] = [*rows, {"type": "result"}]
    asked: list[str] = []
    (tmp_path / "f").write_text("x")
    engine.archive_stat = lambda container, path: {"mode": _DIRECTORY}
    engine.archive_put = lambda container, path, content: asked.append(container)
    cli("cp", str(tmp_path / "f"), "web:/")
    assert asked == ["id1", "id2"]  # as compose: into all
    cli("cp", "--index", "2", str(tmp_path / "f"), "web:/")
    assert asked[2:] == ["id2"]
    assert cli("cp", "--index", "3", str(tmp_path / "f"), "web:/").code == 1
