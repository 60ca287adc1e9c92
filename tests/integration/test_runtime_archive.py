"""cp: files out of and into containers, running or not, and archives that try to get out."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from stackctl.errors import ContainerError, NotFound, StackctlError, UsageError
from stackctl.model.container import VolumeMount
from stackctl.runtime.archive import Archive
from stackctl.state.paths import Paths
from support.runtime_bed import Bed, Container

pytestmark = pytest.mark.needs("root", "userns", "overlay", "cgroup")


@pytest.fixture
def bed(engine_dirs: Paths) -> Iterator[Bed]:
    bed = Bed(engine_dirs)
    yield bed
    bed.close()


def files(bed: Bed, container: Container, volumes: dict[str, str] | None = None) -> Archive:
    async def work() -> Archive:
        image = await bed.images.resolve("stackctl/host")
        snapshot = await bed.images.prepare(container.record.id, image.id)
        return bed.runtime.archive(container.record, snapshot, volumes or {})

    return bed.do(work())


def get(bed: Bed, archive: Archive, path: str) -> tuple[dict[str, Any], tarfile.TarFile]:
    async def work() -> tuple[dict[str, Any], bytes]:
        found, stream = await archive.get(path)
        return found, b"".join([data async for data in stream])

    found, raw = bed.do(work())
    return found, tarfile.open(fileobj=io.BytesIO(raw))


def put(bed: Bed, archive: Archive, path: str, raw: bytes, **options: Any) -> None:
    async def content() -> AsyncIterator[bytes]:
        for start in range(0, len(raw), 5000):
            yield raw[start : start + 5000]

    bed.do(archive.put(path, content(), **options))


def packed(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member, data in members:
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def entry(name: str, **fields: Any) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(member, field, value)
    return member


@pytest.fixture(params=["running", "ended"])
def container(bed: Bed, request: pytest.FixtureRequest) -> Container:
    script = """
    mkdir -p /data/sub && cd /data && echo hello > sub/file && chown 33:34 sub/file
    ln sub/file hard; ln -s sub/file soft; ln -s /data/sub dir; echo ready
    """
    if request.param == "running":
        found = bed.shell(script + "exec sleep 1000")
        session = bed.do(bed.runtime.attach(found.record))
        while not found.log():
            bed.do(session.read())
        return found
    found = bed.shell(script)
    found.wait()
    return found


def test_a_tree_comes_out(bed: Bed, container: Container) -> None:
    found, tar = get(bed, files(bed, container), "/data")
    assert (found["name"], found["linkTarget"]) == ("data", "")
    assert found["mode"] == 1 << 31 | 0o755
    names = {m.name: m for m in tar}
    assert set(names) == {
        "data",
        "data/dir",
        "data/hard",
        "data/soft",
        "data/sub",
        "data/sub/file",
    }
    assert (names["data/hard"].uid, names["data/hard"].gid) == (33, 34)
    assert names["data/sub/file"].islnk()
    assert names["data/soft"].linkname == "sub/file"
    content = tar.extractfile("data/hard")
    assert content is not None
    assert content.read() == b"hello\n"


def test_a_link_is_a_link_unless_its_target_is_asked_for(bed: Bed, container: Container) -> None:
    archive = files(bed, container)
    found, tar = get(bed, archive, "/data/dir")
    assert found["linkTarget"] == "/data/sub"
    assert [m.name for m in tar] == ["dir"]
    found, tar = get(bed, archive, "/data/dir/")
    assert [m.name for m in tar] == ["dir", "dir/file"]


def test_what_is_not_there(bed: Bed, container: Container) -> None:
    archive = files(bed, container)
    for work in (archive.stat("/no/such"), archive.get("/no/such")):
        with pytest.raises(NotFound):
            bed.do(work)
    with pytest.raises(NotFound):
        put(bed, archive, "/no/such", packed())


def test_a_tree_goes_in(bed: Bed, container: Container) -> None:
    raw = packed(
        (entry("in", type=tarfile.DIRTYPE, mode=0o750), b""),
        (entry("in/file", mode=0o640, uid=33, gid=34, mtime=1000), b"x" * 200000),
        (entry("in/link", type=tarfile.SYMTYPE, linkname="/etc/hosts"), b""),
    )
    archive = files(bed, container)
    put(bed, archive, "/data", raw)
    _, tar = get(bed, archive, "/data/in")
    names = {m.name: m for m in tar}
    assert names["in"].mode == 0o750
    file = names["in/file"]
    assert (file.mode, file.uid, file.gid, file.mtime, file.size) == (0o640, 33, 34, 1000, 200000)
    assert names["in/link"].linkname == "/etc/hosts"


@pytest.mark.parametrize(
    ("owner", "ids"), [("0", (0, 0)), ("77:", (77, 0)), (":88", (0, 88)), ("daemon", (1, 1))]
)
def test_owners_are_somebodys_on_request(
    bed: Bed, container: Container, owner: str, ids: tuple[int, int]
) -> None:
    archive = files(bed, container)
    put(bed, archive, "/data", packed((entry("file", uid=1000), b"x")), owner=owner)
    _, tar = get(bed, archive, "/data/file")
    assert (tar.getmembers()[0].uid, tar.getmembers()[0].gid) == ids


def test_an_owner_that_the_container_does_not_know(bed: Bed, container: Container) -> None:
    archive = files(bed, container)
    with pytest.raises(StackctlError, match='no user "nobody-here"'):
        put(bed, archive, "/data", packed((entry("file"), b"x")), owner="nobody-here")


@pytest.mark.parametrize(
    "members",
    [
        [(entry("../../escape"), b"x")],
        [(entry("a/../../../escape"), b"x")],
        [(entry("l", type=tarfile.LNKTYPE, linkname="../../etc/shadow"), b"")],
        [(entry("dev", type=tarfile.CHRTYPE, devmajor=1, devminor=1), b"")],
    ],
)
def test_hostile_archives_are_refused(bed: Bed, members: list[Any]) -> None:
    container = bed.start("sleep", "1000")
    with pytest.raises(StackctlError):
        put(bed, files(bed, container), "/tmp", packed(*members))


def test_links_lead_nowhere_outside(bed: Bed, engine_dirs: Paths) -> None:
    outside = engine_dirs.root.parent / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    container = bed.start("sleep", "1000")
    raw = packed(
        (entry("out", type=tarfile.SYMTYPE, linkname=str(outside)), b""),
        (entry("out/planted"), b"x"),
    )
    archive = files(bed, container)
    with pytest.raises(StackctlError):
        put(bed, archive, "/tmp", raw)
    with pytest.raises(NotFound):
        bed.do(archive.stat("/tmp/out/secret"))
    assert os.listdir(outside) == ["secret"]


def test_garbage_is_refused(bed: Bed) -> None:
    container = bed.start("sleep", "1000")
    with pytest.raises(UsageError):
        put(bed, files(bed, container), "/tmp", b"garbage" * 1000)


def test_kinds_are_kept_on_request(bed: Bed, container: Container) -> None:
    archive = files(bed, container)
    with pytest.raises(ContainerError, match="is a directory"):
        put(bed, archive, "/data", packed((entry("sub"), b"x")), keep_kinds=True)


def test_a_volume_of_a_stopped_container(bed: Bed, engine_dirs: Paths) -> None:
    volume = engine_dirs.volume("data")
    volume.mkdir(parents=True)
    container = bed.create("true", mounts=(VolumeMount(volume="data", target="/data"),))
    archive = files(bed, container, {"data": str(volume)})
    put(bed, archive, "/data", packed((entry("file", uid=5), b"x")))
    assert (volume / "file").stat().st_uid == 5


def test_a_reader_that_leaves_ends_the_copy(bed: Bed) -> None:
    container = bed.start("sleep", "1000")
    archive = files(bed, container)

    async def work() -> None:
        _, stream = await archive.get("/usr/lib")
        async for _ in stream:
            break
        await stream.aclose()  # type: ignore[attr-defined]

    bed.do(work())
    assert not [p for p in Path("/proc").glob("[0-9]*/comm") if "archiver" in _text(p)]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


#: Each round `x` is another thing, or for a moment nothing.
SWAPPER = """
import os, shutil, sys
os.mkdir("/race")
def swap(kind):
    if kind == "dir":
        os.mkdir("/race/.new")
        open("/race/.new/inner", "w").close()
    elif kind == "file":
        open("/race/.new", "w").write("harmless")
    elif kind == "fifo":
        os.mkfifo("/race/.new")
    else:
        os.symlink(sys.argv[1], "/race/.new")
    if os.path.lexists("/race/x"):
        os.rename("/race/x", "/race/.old")
    os.rename("/race/.new", "/race/x")
    if os.path.isdir("/race/.old") and not os.path.islink("/race/.old"):
        shutil.rmtree("/race/.old")
    elif os.path.lexists("/race/.old"):
        os.unlink("/race/.old")
print("ready", flush=True)
while True:
    for kind in ("dir", "link", "file", "fifo", "link"):
        swap(kind)
"""


def test_names_that_are_swapped_while_they_are_copied_lead_nowhere(
    bed: Bed, tmp_path: Path
) -> None:
    (tmp_path / "inner").write_text("the host's secret")
    container = bed.start("python3", "-c", SWAPPER, str(tmp_path), init=True)
    session = bed.do(bed.runtime.attach(container.record))
    while not container.log():
        bed.do(session.read())
    archive = files(bed, container)
    kinds = set()
    for _ in range(25):
        _, tar = get(bed, archive, "/race")
        for member in tar:
            kinds |= {member.type} if member.name == "race/x" else set()
            content = tar.extractfile(member) if member.isreg() else None
            assert content is None or b"secret" not in content.read()
        for path in ("/race/x/inner", "/race/x/"):
            with contextlib.suppress(StackctlError):
                _, tar = get(bed, archive, path)
                assert b"secret" not in tar.fileobj.getvalue()  # type: ignore[union-attr]
        with contextlib.suppress(StackctlError):
            put(bed, archive, "/race/x", packed((entry("planted"), b"x")))
    assert len(kinds) > 1, container.log()
    assert [p.name for p in tmp_path.iterdir()] == ["inner"]


def test_directories_nested_too_deeply_are_refused_with_a_sentence(bed: Bed) -> None:
    script = "import os\nfor i in range(3000): os.mkdir('d'); os.chdir('d')\nprint('ready')"
    container = bed.start("sh", "-c", f'cd /srv && python3 -c "{script}"; exec sleep 1000')
    session = bed.do(bed.runtime.attach(container.record))
    while not container.log():
        bed.do(session.read())
    with pytest.raises(StackctlError, match=r"nested too deeply|[Tt]oo many open files"):
        get(bed, files(bed, container), "/srv")
