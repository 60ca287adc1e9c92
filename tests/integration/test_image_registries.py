"""A real registry and other people's tools: images go both ways and stay what they are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from stackctl.image.archive import load_layout, save
from stackctl.image.registry.credentials import Keyring
from stackctl.image.registry.pull import Pulled, Puller
from stackctl.image.registry.settings import Settings
from stackctl.image.store import Store
from stackctl.image.verify import problems
from stackctl.model.reference import parse
from stackctl.state.paths import Paths
from support.docker_registry import (
    CAPABILITY,
    base_layer,
    change_layer,
    docker_registry,
    publish,
    push,
    put_image,
)
from support.tars import entry, tar
from support.waiting import wait_until

pytestmark = pytest.mark.needs("root")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(Paths(tmp_path / "root", tmp_path / "run"))


def pull(store: Store, name: str) -> Pulled:
    return Puller(store, Settings(), Keyring({"HOME": "/nonexistent"})).pull(parse(name))


def skopeo(*arguments: str) -> None:
    done = subprocess.run(
        ["skopeo", "--insecure-policy", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_what_is_pushed_is_pulled(registry: str, store: Store, tmp_path: Path) -> None:
    name = f"{registry}/app:1"
    found = publish(tmp_path, name, base_layer(), change_layer(), command=("sh",))
    pulled = pull(store, name)
    assert pulled.digest == found
    top, base = (Path(path) for path in store.ensure_unpacked(pulled.image.id))
    own = (base / "home/app").stat()
    assert (own.st_uid, own.st_gid, own.st_mode & 0o7777) == (1000, 1000, 0o2750)
    assert (base / "home/app/own").stat().st_mode & 0o7777 == 0o640
    assert (base / "bin/setuid").stat().st_mode & 0o7777 == 0o4755
    assert os.getxattr(base / "bin/server", "security.capability") == CAPABILITY
    assert (base / "node").stat().st_rdev == os.makedev(1, 7)
    assert (top / "etc/removed").stat().st_rdev == 0
    assert not list(problems(store))


def test_skopeo_takes_what_we_push(registry: str, tmp_path: Path) -> None:
    name = f"{registry}/ours:1"
    publish(tmp_path, name, base_layer(), change_layer())
    layout = tmp_path / "layout"
    skopeo("copy", "--src-tls-verify=false", f"docker://{name}", f"oci:{layout}:ours:1")
    other = Store(Paths(tmp_path / "other", tmp_path / "run"))
    (image,) = load_layout(other, layout)
    assert len(other.layers(image.id)) == 2


@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_we_take_what_skopeo_pushes(registry: str, store: Store, tmp_path: Path, form: str) -> None:
    archive = tmp_path / "saved.tar"
    original = put_image(store, "made:1", base_layer(), change_layer())
    with open(archive, "wb") as file:
        save(store, ["made:1"], file.write)
    name = f"{registry}/theirs:{form}"
    skopeo(
        "copy",
        f"--format={form}",
        "--dest-tls-verify=false",
        f"docker-archive:{archive}",
        f"docker://{name}",
    )
    other = Store(Paths(tmp_path / "other", tmp_path / "run"))
    pulled = pull(other, name)
    assert [x.diff_id for x in other.layers(pulled.image.id)] == [
        x.diff_id for x in store.layers(original.id)
    ]
    assert pulled.image.config.labels == {"made": "by a test"}


@pytest.mark.needs("program:buildah")
def test_buildah_takes_ours_and_gives_it_back(registry: str, store: Store, tmp_path: Path) -> None:
    name, back = f"{registry}/lent:1", f"{registry}/returned:1"
    original = put_image(store, name, base_layer(), change_layer(), command=("sh",))
    push(store, name)
    places = ["--root", f"{tmp_path}/b", "--runroot", f"{tmp_path}/b-run"]

    def buildah(*arguments: str) -> None:
        words = ["buildah", *places, "--storage-driver", "vfs", *arguments]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    buildah("pull", "--tls-verify=false", name)
    buildah("push", "--tls-verify=false", name, f"docker://{back}")
    pulled = pull(store, back)
    # The same content under the same id: what it says of itself has not changed on the way.
    assert pulled.image.id == original.id
    other = Store(Paths(tmp_path / "other", tmp_path / "run"))
    assert pull(other, back).image.config.command == ("sh",)
    assert not list(problems(other))


def test_zstd_layers(registry: str, store: Store, tmp_path: Path) -> None:
    publish(tmp_path, f"{registry}/plain:1", base_layer())
    skopeo(
        "copy",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        "--dest-compress-format=zstd",
        "--dest-compress",
        "--format=oci",
        f"docker://{registry}/plain:1",
        f"dir:{tmp_path}/zstd",
    )
    skopeo("copy", "--dest-tls-verify=false", f"dir:{tmp_path}/zstd", f"docker://{registry}/zstd:1")
    pulled = pull(store, f"{registry}/zstd:1")
    (root,) = store.ensure_unpacked(pulled.image.id)
    assert os.path.exists(f"{root}/bin/busybox")


def test_a_blob_that_another_repository_has_is_not_sent_again(registry: str, store: Store) -> None:
    put_image(store, f"{registry}/first:1", base_layer())
    push(store, f"{registry}/first:1")
    image_id, _ = store.find(f"{registry}/first:1") or ("", "")
    store.tag(image_id, f"{registry}/second:1")
    states = []
    from stackctl.image.registry.push import Pusher

    pusher = Pusher(store, Settings(), Keyring({"HOME": "/nonexistent"}))
    pusher.push(parse(f"{registry}/second:1"), lambda progress: states.append(progress.state))
    assert states == ["mounted"]


def test_killed_at_any_moment_the_store_is_right_and_the_next_pull_goes_on(
    registry: str, tmp_path: Path
) -> None:
    """kill -9 while it downloads, while it unpacks, and as soon as something is published."""
    name = f"{registry}/large:1"
    many = tar(*(entry(f"d/{n}", os.urandom(20_000)) for n in range(1500)))
    publish(tmp_path, name, base_layer(), many)
    root = tmp_path / "victim"
    images = root / "images"
    code = (
        "import sys; from pathlib import Path; from stackctl.image.store import Store;"
        "from stackctl.state.paths import Paths; from stackctl.model.reference import parse;"
        "from stackctl.image.registry.pull import Puller;"
        "from stackctl.image.registry.settings import Settings;"
        "from stackctl.image.registry.credentials import Keyring;"
        "s = Store(Paths(Path(sys.argv[1]), Path(sys.argv[1] + '-run')));"
        "Puller(s, Settings(), Keyring({'HOME': '/nonexistent'})).pull(parse(sys.argv[2]))"
    )
    moments = [
        lambda: any((images / "ingest").glob("*.part")),
        lambda: any((images / "layers").glob(".new-*/root/d/*")),
        lambda: any((images / "blobs/sha256").glob("*")),
        lambda: any((images / "layers").glob("*/layer.json")),
    ]
    for moment in moments:
        puller = subprocess.Popen([sys.executable, "-c", code, str(root), name])
        try:
            ready = partial(_reached, moment, puller)
            wait_until(ready, what="it is under way")
        finally:
            puller.send_signal(signal.SIGKILL)
            puller.wait()
        store = Store(Paths(root, tmp_path / "run"))
        wait_until(lambda s=store: _swept(s), what="what was half made goes")
        assert not list(problems(store))
    pulled = pull(store, name)
    assert not list(problems(store))
    assert len(os.listdir(Path(store.ensure_unpacked(pulled.image.id)[0]) / "d")) == 1500
    assert not any((images / "ingest").iterdir())


def test_a_commit_killed_at_any_moment_leaves_what_it_was_made_from(
    registry: str, tmp_path: Path
) -> None:
    """kill -9 while it packs, when the blob is there, when the layer is: then once more."""
    root = tmp_path / "victim"
    images = root / "images"
    upper = root / "upper"
    (upper / "d").mkdir(parents=True)
    for number in range(1500):
        (upper / "d" / str(number)).write_bytes(os.urandom(20_000))
    code = (
        "import sys; from pathlib import Path; from stackctl.image.store import Store;"
        "from stackctl.state.paths import Paths;"
        "s = Store(Paths(Path(sys.argv[1]), Path(sys.argv[1] + '-run')));"
        "layer = s.commit_directory(sys.argv[1] + '/upper');"
        "s.put_image({'architecture': 'amd64', 'os': 'linux', 'config': {},"
        " 'rootfs': {'type': 'layers', 'diff_ids': [layer.diff_id]}}, [layer], ['made:1'])"
    )

    def begin() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", code, str(root)])

    moments = [
        lambda: any((images / "ingest").glob("new-*")),
        lambda: any((images / "blobs/sha256").glob("*")),
        lambda: any((images / "records").glob("*.json")),
    ]
    for moment in moments:
        committing = begin()
        try:
            wait_until(partial(_reached, moment, committing), what="it is under way")
        finally:
            committing.send_signal(signal.SIGKILL)
            committing.wait()
        store = Store(Paths(root, tmp_path / "run"))
        store.sweep()
        assert not list(problems(store))
        assert len(os.listdir(upper / "d")) == 1500
        assert not any((images / "ingest").iterdir())
    assert begin().wait() == 0
    store = Store(Paths(root, tmp_path / "run"))
    image_id, _ = store.find("made:1") or ("", "")
    assert len(os.listdir(Path(store.ensure_unpacked(image_id)[0]) / "d")) == 1500
    assert not list(problems(store))


def _reached(moment: Callable[[], bool], process: subprocess.Popen[bytes]) -> bool:
    return moment() or process.poll() is not None


def _swept(store: Store) -> bool:
    """The unpacking process, which loses its input, may write a moment longer."""
    store.sweep()
    return not any(name.startswith(".") for name in os.listdir(store.unpacked._home))
