"""The content store: what is published is whole, what is used stays, what is not goes."""

from __future__ import annotations

import io
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from stackctl.errors import Conflict, ImageError, NotFound, UsageError
from stackctl.image.archive import history, import_root, load, save
from stackctl.image.changes import apply_changes
from stackctl.image.compress import compressed
from stackctl.image.content import OCI_TAR_GZIP, Layer
from stackctl.image.describe import rows
from stackctl.image.drivers import Copies, Part
from stackctl.image.registry.manifest import Platform
from stackctl.image.store import Store
from stackctl.image.verify import problems, repair
from stackctl.model.image import DirectoryMount, Image
from stackctl.state.paths import Paths
from support.registries import digest
from support.tars import directory, entry, gz, symlink, tar


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "root", tmp_path / "run")


@pytest.fixture
def store(paths: Paths) -> Store:
    return Store(paths)


def made(store: Store, *tars: bytes, names: tuple[str, ...] = ()) -> Image:
    layers = []
    for raw in tars:
        found = store.put_blob(gz(raw))
        layers.append(
            Layer(
                digest=found.digest, diff_id=digest(raw), size=found.size, media_type=OCI_TAR_GZIP
            )
        )
    config = {"os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest(t) for t in tars]}}
    return store.put_image(config, layers, names)


BASE = tar(directory("tmp", 0o777), directory("etc"), entry("etc/a", b"1"), entry("etc/b", b"2"))
CHANGE = tar(entry("etc/.wh.a"), entry("etc/c", b"3"))


def content(store: Store) -> set[str]:
    return set(store.blobs.all())


class TestBlobs:
    def test_what_is_not_the_expected_content_is_not_kept(self, store: Store) -> None:
        with pytest.raises(ImageError):
            store.put_blob(b"x", expected=digest(b"y"))
        assert not content(store)
        assert not os.listdir(store.blobs._ingest)

    def test_an_interrupted_blob_leaves_nothing(self, store: Store) -> None:
        def pieces() -> object:
            yield b"begin"
            raise OSError(5, "gone")

        with pytest.raises(OSError):
            store.put_blob(pieces())  # type: ignore[arg-type]
        assert not content(store) and not os.listdir(store.blobs._ingest)

    @pytest.mark.parametrize("text", ["sha256:" + "../" * 21 + "x", "sha256:AB", "md5:x", ""])
    def test_digests_are_checked_before_they_become_paths(self, store: Store, text: str) -> None:
        with pytest.raises(ImageError):
            store.open_blob(text)


class TestNames:
    def test_found_by_name_id_and_beginning(self, store: Store) -> None:
        image = made(store, BASE, names=("app:1", "app"))
        for text in (
            "app",
            "app:1",
            image.id,
            image.id[7:],
            image.id[7:19],
            f"{parse_name('app')}",
        ):
            assert store.find(text) is not None and store.find(text)[0] == image.id  # type: ignore[index]
        assert store.find("other") is None

    def test_a_name_moves(self, store: Store) -> None:
        first, second = made(store, BASE, names=("app",)), made(store, CHANGE)
        store.tag(second.id, "app")
        assert store.find("app") == (second.id, parse_name("app"))
        assert store.names(first.id) == {}

    def test_the_built_in_image_keeps_its_name(self, store: Store) -> None:
        with pytest.raises(ImageError):
            store.tag(made(store, BASE).id, "stackctl/host")

    def test_the_same_image_again_is_not_written_again(self, store: Store, paths: Paths) -> None:
        image = made(store, BASE, names=("app",))
        records = paths.images / "records"
        before = {entry.name: entry.stat().st_ino for entry in records.iterdir()}
        assert made(store, BASE).id == image.id
        assert {entry.name: entry.stat().st_ino for entry in records.iterdir()} == before
        raw = store.blobs.open(image.id).read()
        store.put_image(raw, store.layers(image.id), parent="sha256:" + "1" * 64)
        assert {entry.name: entry.stat().st_ino for entry in records.iterdir()} != before
        assert Store(paths).record(image.id).parent == "sha256:" + "1" * 64

    def test_the_same_name_again_is_written_when_its_age_changes(self, store: Store) -> None:
        image = made(store, BASE, names=("app",))
        given = store.index.names()[parse_name("app")]
        store.tag(image.id, "app")
        assert store.index.names()[parse_name("app")] is given
        for known in (replace(given, at=given.at - 3600), replace(given, digest=image.id)):
            store.index.rename(lambda names, it=known: names.update({parse_name("app"): it}))
            store.tag(image.id, "app")
            now = store.index.names()[parse_name("app")]
            assert now.at >= given.at and not now.digest

    def test_another_process_sees_the_same(self, store: Store, paths: Paths) -> None:
        image = made(store, BASE, names=("app",))
        assert Store(paths).find("app") == (image.id, parse_name("app"))


def parse_name(text: str) -> str:
    from stackctl.model.reference import parse

    return str(parse(text))


class TestRemoval:
    def test_by_the_last_name(self, store: Store) -> None:
        image = made(store, BASE, names=("a", "b"))
        assert store.remove("a").deleted == ()
        assert store.remove("b").deleted == (image.id,)
        assert not content(store) and not store.unpacked.usage()

    def test_digests_go_with_the_last_tag_of_their_repository(self, store: Store) -> None:
        at = f"@sha256:{'1' * 64}"
        names = ("r/a:1", "r/a:2", f"r/a:1{at}", f"r/a{at}", "r/b:1")
        made(store, BASE, names=names)
        shown = [(row["repository"], row["tag"]) for row in rows(store)]
        assert sorted(shown) == [("r/a", "1"), ("r/a", "2"), ("r/b", "1")]
        assert store.remove(f"r/a{at}").untagged == (parse_name(f"r/a{at}"),)
        assert store.remove("r/a:1").untagged == (parse_name("r/a:1"),)
        assert store.remove("r/a:2").untagged == (parse_name("r/a:2"), parse_name(names[2]))
        assert set(store.names()) == {parse_name("r/b:1")}

    def test_what_is_shared_stays(self, store: Store) -> None:
        made(store, BASE, names=("a",))
        other = made(store, BASE, CHANGE, names=("b",))
        store.ensure_unpacked(other.id)
        store.remove("a")
        assert len(store.ensure_unpacked(other.id)) >= 2
        assert not list(problems(store))

    def test_an_image_in_use_stays(self, store: Store) -> None:
        image = made(store, BASE, names=("a",))
        with pytest.raises(Conflict):
            store.remove("a", in_use=frozenset({image.id}))
        store.remove("a", in_use=frozenset({image.id}), force=True)
        assert store.image(image.id) and store.names() == {}
        assert not store.prune(in_use=frozenset({image.id}), all=True).deleted
        assert store.prune().deleted == (image.id,)

    def test_several_names_by_id_need_force(self, store: Store) -> None:
        image = made(store, BASE, names=("a", "b"))
        with pytest.raises(Conflict):
            store.remove(image.id)
        assert store.remove(image.id, force=True).deleted == (image.id,)

    def test_unknown(self, store: Store) -> None:
        with pytest.raises(NotFound):
            store.remove("nothing")

    def test_a_lease_keeps_what_nothing_refers_to_yet(self, store: Store) -> None:
        with store.lease():
            found = store.put_blob(b"layer")
            store.collect()
            assert store.blobs.has(found.digest)
        store.collect()
        assert not store.blobs.has(found.digest)

    def test_pulls_and_collections_at_once(self, store: Store) -> None:
        """Whoever removes meanwhile, an image that was put is whole."""
        stop = threading.Event()

        def remove() -> None:
            while not stop.is_set():
                store.prune()

        remover = threading.Thread(target=remove)
        remover.start()
        try:
            for number in range(30):
                with store.lease():
                    image = made(store, tar(entry("n", b"%d" % number)), names=("app",))
                assert all(store.blobs.has(layer.digest) for layer in store.layers(image.id))
        finally:
            stop.set()
            remover.join()
        assert not list(problems(store))


class TestUnpacked:
    def test_once_for_all_images(self, store: Store) -> None:
        first = store.ensure_unpacked(made(store, BASE).id)
        second = store.ensure_unpacked(made(store, BASE, CHANGE).id)
        assert second[-1] == first[0]

    def test_a_half_made_layer_is_swept_and_made_again(self, store: Store, paths: Paths) -> None:
        image = made(store, BASE, names=("a",))
        half = paths.images / "layers" / ".new-x" / "root"
        half.mkdir(parents=True)
        (half / "file").write_text("x")
        damaged = paths.images / "layers" / digest(BASE)[7:] / "root"
        damaged.mkdir(parents=True)
        again = Store(paths)
        again.sweep()
        assert not half.exists()
        (root,) = again.ensure_unpacked(image.id)
        assert (Path(root) / "etc/a").read_text() == "1"

    def test_implied_directories_look_as_below(self, store: Store) -> None:
        image = made(store, BASE, tar(entry("tmp/x", b"1")))
        top = store.ensure_unpacked(image.id)[0]
        assert os.stat(f"{top}/tmp").st_mode & 0o7777 == 0o777
        assert os.listdir(top) == ["tmp"]

    def test_a_committed_directory_is_the_layer(self, store: Store, tmp_path: Path) -> None:
        base = made(store, BASE)
        upper = tmp_path / "root" / "upper"
        (upper / "etc").mkdir(parents=True)
        (upper / "etc/new").write_text("x")
        layer = store.commit_directory(upper, base.id, adopt=True)
        assert not upper.exists()
        ids = [*(x.diff_id for x in store.layers(base.id)), layer.diff_id]
        image = store.put_image(
            {"rootfs": {"diff_ids": ids}}, [*store.layers(base.id), layer], ["committed"]
        )
        top = Path(store.ensure_unpacked(image.id)[0])
        assert (top / "etc/new").read_text() == "x"
        assert not list(problems(store))

    def test_the_first_of_equal_commits_stays(self, store: Store, tmp_path: Path) -> None:
        # Two builds of one Dockerfile end with the same layer; a container may run on the
        # first, and its being put on the disk goes on while the second is thrown away.
        base = made(store, BASE)

        def commit(number: int) -> Layer:
            upper = tmp_path / "root" / f"upper-{number}"
            upper.mkdir(parents=True)
            os.utime(upper, ns=(0, 0))
            return store.commit_directory(upper, base.id, adopt=True)

        with ThreadPoolExecutor(8) as pool:
            layers = set(pool.map(commit, range(64)))
        assert len(layers) == 1
        place = store.unpacked.root(layers.pop().diff_id)
        first = place.stat().st_ino
        commit(64)
        assert place.stat().st_ino == first
        assert not [n for n in os.listdir(place.parent.parent) if n.startswith(".")]

    def test_vfs_copies_what_an_overlay_would_show(self, store: Store, tmp_path: Path) -> None:
        change = tar(entry("etc/.wh.a"), entry("etc/c", b"3"), symlink("l", "etc"))
        image = made(store, BASE, change)
        part = Part("/", store.ensure_unpacked(image.id))
        (mount,) = Copies().prepare(tmp_path / "c", [part]).mounts
        assert isinstance(mount, DirectoryMount)
        assert sorted(os.listdir(f"{mount.source}/etc")) == ["b", "c"]
        assert os.readlink(f"{mount.source}/l") == "etc"
        assert os.stat(f"{mount.source}/tmp").st_mode & 0o7777 == 0o777


def test_vfs_does_not_copy_the_machine(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="stackctl/host"):
        Copies().prepare(tmp_path / "c", [Part("/", ("/x",)), Part("/usr", ("/usr",))])
    assert not (tmp_path / "c").exists()


class TestVerify:
    def test_a_flipped_bit_is_found_and_repaired(self, store: Store) -> None:
        image = made(store, BASE, names=("a",))
        made(store, CHANGE, names=("b",))
        path = store.blobs.path(store.layers(image.id)[0].digest)
        raw = bytearray(path.read_bytes())
        raw[20] ^= 1
        path.write_bytes(raw)
        found = list(problems(store))
        assert len(found) == 1 and "damaged" in found[0].text
        assert repair(store, found)
        assert not list(problems(store))
        assert [*store.names()] == [parse_name("b")]

    def test_a_missing_blob_is_found(self, store: Store) -> None:
        image = made(store, BASE, names=("a",))
        store.blobs.remove(store.layers(image.id)[0].digest)
        assert any("lacks" in problem.text for problem in problems(store))


class TestArchives:
    def saved(self, store: Store, *names: str) -> bytes:
        out = io.BytesIO()
        save(store, names, out.write)
        return out.getvalue()

    def test_saved_and_loaded(self, store: Store, tmp_path: Path) -> None:
        one = made(store, BASE, CHANGE, names=("one:1", "one:2"))
        two = made(store, BASE, names=("two",))
        raw = self.saved(store, "one:1", "one:2", "two")
        other = Store(Paths(tmp_path / "other", tmp_path / "run"))
        assert {image.id for image in load(other, io.BytesIO(gz(raw)).read)} == {one.id, two.id}
        assert set(other.names()) == {parse_name(n) for n in ("one:1", "one:2", "two")}
        assert other.layers(one.id) == store.layers(one.id)
        assert not list(problems(other))
        with pytest.raises(NotFound, match="s390x"):
            load(other, io.BytesIO(raw).read, Platform.parse("s390x"))

    def test_an_archive_of_an_older_docker(self, store: Store) -> None:
        rootfs = {"diff_ids": [digest(BASE), digest(BASE)]}
        config = json.dumps({"architecture": "arm", "rootfs": rootfs}).encode()
        listed = [
            {"Config": "c.json", "RepoTags": ["old:1"], "Layers": ["1/layer.tar", "2/layer.tar"]}
        ]
        raw = tar(
            directory("1"),
            entry("1/layer.tar", BASE),
            symlink("2/layer.tar", "../1/layer.tar"),
            entry("c.json", config),
            entry("manifest.json", json.dumps(listed).encode()),
        )
        with pytest.raises(NotFound, match="s390x"):
            load(store, io.BytesIO(raw).read, Platform.parse("s390x"))
        assert not store.names()
        (image,) = load(store, io.BytesIO(raw).read, Platform.parse("arm"))
        assert store.find("old:1") == (image.id, parse_name("old:1"))
        assert len(store.layers(image.id)) == 2

    def test_a_refused_image_is_not_there_and_takes_no_name(self, store: Store) -> None:
        good = made(store, BASE, names=("app:1",))
        broken = BASE[:-700]  # in the middle of an entry
        config = json.dumps({"rootfs": {"diff_ids": [digest(broken)]}}).encode()
        listed = [{"Config": "c.json", "RepoTags": ["app:1"], "Layers": ["l.tar"]}]
        raw = tar(
            entry("l.tar", broken),
            entry("c.json", config),
            entry("manifest.json", json.dumps(listed).encode()),
        )
        with pytest.raises(ImageError):
            load(store, io.BytesIO(raw).read)
        assert store.find("app:1") == (good.id, parse_name("app:1"))
        assert set(store.index.records()) == {good.id}
        assert not list(problems(store))

    @pytest.mark.parametrize("raw", [b"", b"not a tar" * 100, tar(entry("x", b"1"))])
    def test_what_is_no_archive_is_refused(self, store: Store, raw: bytes) -> None:
        with pytest.raises(ImageError):
            load(store, io.BytesIO(raw).read)
        assert not content(store)

    def test_imported(self, store: Store) -> None:
        config = apply_changes({}, ["CMD echo hi", "ENV A=1 B=2", "EXPOSE 80"])
        image = import_root(
            store,
            io.BytesIO(gz(BASE)).read,
            ["imp"],
            config,
            created="2025-01-01T00:00:00Z",
            comment="imported",
        )
        assert image.config.command == ("/bin/sh", "-c", "echo hi")
        assert image.config.env == ("A=1", "B=2")
        assert image.config.exposed_ports == ("80/tcp",)
        (row,) = history(store, image.id)
        assert row["Comment"] == "imported" and row["ID"] == image.id
        assert not list(problems(store))


def test_compression_is_reproducible_and_changes_no_id(store: Store, tmp_path: Path) -> None:
    upper = tmp_path / "upper"
    upper.mkdir()
    (upper / "f").write_bytes(os.urandom(100) * 1000)
    layer = store.commit_directory(upper)
    image = store.put_image({"rootfs": {"diff_ids": [layer.diff_id]}}, [layer], ["a"])
    compressed(store, image.id)
    (packed,) = store.layers(image.id)
    assert packed.media_type == OCI_TAR_GZIP and packed.size < layer.size
    assert store.image(image.id).id == image.id
    compressed(store, image.id)
    assert store.layers(image.id) == (packed,)
    store.collect()
    assert not list(problems(store))
