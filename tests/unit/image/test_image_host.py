"""The built-in image of a made-up host: what is shown, what is not, and when it changes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from pathlib import Path

import pytest

from stackctl.errors import ImageError, NotFound
from stackctl.image import host_files, skeleton
from stackctl.image.drivers import Overlay
from stackctl.image.host import HostImage
from stackctl.image.host_accounts import accounts
from stackctl.image.service import Images
from stackctl.model.image import OverlayMount
from stackctl.state.paths import Paths

PASSWD = """\
root:x:0:0:root:/root:/bin/bash
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
postgres:x:101:104::/var/lib/postgresql:/bin/bash
alice:x:1000:1000:Alice,,,:/home/alice:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
# a comment
+::::::
"""
GROUP = """\
root:x:0:
www-data:x:33:alice,postgres
postgres:x:104:
alice:x:1000:
nogroup:x:65534:
"""
SHIPPED = "worker_processes auto;\n"


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


@pytest.fixture
def host(tmp_path: Path) -> Path:
    root = tmp_path / "host"
    files = {
        "etc/passwd": PASSWD,
        "etc/group": GROUP,
        "etc/shadow": "root:$6$secret:1:0:99999:7:::\n",
        "etc/shadow-": "root:$6$secret:1:0:99999:7:::\n",
        "etc/machine-id": "0123\n",
        "etc/hosts": "127.0.0.1 host\n",
        "etc/environment": "TOKEN=secret\n",
        "etc/services": "http 80/tcp\n",
        "etc/nginx/nginx.conf": SHIPPED,
        "etc/app/app.conf": "password=secret\n",
        "etc/app/token": "secret\n",
        "etc/ssl/certs/ca.pem": "-----BEGIN CERTIFICATE-----\n",
        "etc/ssl/certs/mixed.pem": "-----BEGIN PRIVATE KEY-----\nsecret\n",
        "etc/ssl/private/key.pem": "-----BEGIN PRIVATE KEY-----\nsecret\n",
        "etc/profile": "PATH=/bin\n",
        "usr/lib/os-release": "ID=test\n",
        "usr/bin/vi": "",
        "usr/lib/tmpfiles.d/postgresql.conf": (
            "# comment\n"
            "d /run/postgresql 2775 postgres postgres - -\n"
            "d /var/run/other 0750 root root -\n"
            "d /run/user/%U 0700 - - -\n"
            "d /run/alice 0700 alice alice -\n"
            "d /etc/evil 0777 root root -\n"
        ),
        "var/lib/dpkg/status": (
            "Package: nginx\nConffiles:\n"
            f" /etc/nginx/nginx.conf {md5(SHIPPED)}\n"
            f" /etc/app/app.conf {md5('other')}\n"
        ),
        "var/lib/dpkg/info/nginx.list": "/.\n/var\n/var/lib\n/var/lib/nginx\n/usr/sbin/nginx\n",
        "var/lib/nginx/state": "secret\n",
        "var/lib/secret/file": "secret\n",
        "home/alice/.ssh/id": "secret\n",
        "root/.bashrc": "secret\n",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "bin").symlink_to("usr/bin")
    (root / "lib").mkdir()
    (root / "etc/os-release").symlink_to("../usr/lib/os-release")
    (root / "etc/alternatives").mkdir()
    (root / "etc/alternatives/editor").symlink_to("/usr/bin/vi")
    (root / "etc/nginx/enabled").symlink_to("nginx.conf")
    (root / "etc/nginx/twice").symlink_to("enabled")
    (root / "etc/leak").symlink_to("/root/.bashrc")
    (root / "etc/dangling").symlink_to("app/token")
    return root


@pytest.fixture
def image(tmp_path: Path, host: Path) -> HostImage:
    return HostImage(tmp_path / "images", host, chown=None)


def shown(host: Path) -> dict[str, skeleton.Entry]:
    return {entry.path: entry for entry in host_files.entries(host)}


class TestWhatIsShown:
    def test_nothing_secret(self, host: Path) -> None:
        for entry in host_files.entries(host):
            if isinstance(entry, skeleton.File):
                assert b"secret" not in entry.content, entry.path
        assert not {"etc/shadow", "etc/shadow-", "etc/machine-id", "etc/app/app.conf"} & set(
            shown(host)
        )

    def test_people_and_their_directories_stay_out(self, host: Path) -> None:
        found = shown(host)
        assert not [path for path in found if path.startswith(("home/", "root/"))]
        passwd = found["etc/passwd"]
        assert isinstance(passwd, skeleton.File)
        assert b"alice" not in passwd.content
        assert b"postgres:*:101:104" in passwd.content
        group = found["etc/group"]
        assert isinstance(group, skeleton.File)
        assert b"www-data:*:33:postgres\n" in group.content

    def test_configuration_as_shipped(self, host: Path) -> None:
        assert "etc/nginx/nginx.conf" in shown(host)
        (host / "etc/nginx/nginx.conf").write_text("changed by hand\n")
        assert "etc/nginx/nginx.conf" not in shown(host)

    def test_what_all_programs_need(self, host: Path) -> None:
        found = shown(host)
        assert {"etc/services", "etc/profile", "etc/ssl/certs/ca.pem"} <= set(found)
        (host / "etc/services").chmod(0o600)
        assert "etc/services" not in shown(host)

    def test_links_that_lead_somewhere(self, host: Path) -> None:
        found = shown(host)
        for name in ("os-release", "alternatives/editor", "nginx/enabled", "nginx/twice"):
            assert isinstance(found[f"etc/{name}"], skeleton.Link), name
        assert "etc/leak" not in found
        assert "etc/dangling" not in found

    def test_top_level(self, host: Path) -> None:
        found = shown(host)
        assert found["bin"] == skeleton.Link("bin", "usr/bin")
        assert found["lib"] == skeleton.Directory("lib")
        assert found["tmp"] == skeleton.Directory("tmp", 0o1777)
        assert found["root"] == skeleton.Directory("root", 0o700)
        for name in ("dev", "proc", "sys", "run", "home", "usr", "var/tmp", "var/log"):
            assert isinstance(found[name], skeleton.Directory), name

    def test_directories_of_packages_are_empty(self, host: Path) -> None:
        found = shown(host)
        assert found["run/postgresql"] == skeleton.Directory("run/postgresql", 0o2775, 101, 104)
        assert found["run/other"] == skeleton.Directory("run/other", 0o750)
        assert "var/lib/nginx" in found
        assert not {"var/lib/nginx/state", "etc/evil", "run/alice"} & set(found)
        assert not [path for path in found if path.startswith("run/user")]

    def test_placeholders_are_empty(self, host: Path) -> None:
        found = shown(host)
        for name in ("hosts", "hostname", "resolv.conf"):
            assert found[f"etc/{name}"] == skeleton.File(f"etc/{name}", b"")


class TestImage:
    def test_the_skeleton_is_as_described(self, image: HostImage, host: Path) -> None:
        current = image.current()
        root = Path(image.parts(current)[0].layers[0])
        assert os.stat(root).st_mode & 0o7777 == 0o755
        assert os.stat(root / "tmp").st_mode & 0o7777 == 0o1777
        assert (root / "etc/nginx/nginx.conf").read_text() == SHIPPED
        rows = skeleton.rows(host_files.entries(host))
        assert skeleton.intact(rows, root, owners=False)
        assert [part.target for part in image.parts(current)] == ["/", "/usr", "/lib"]
        assert current.config.command == ("/bin/sh",)

    def test_the_same_host_is_the_same_image(
        self, image: HostImage, tmp_path: Path, host: Path
    ) -> None:
        first = image.current()
        assert image.current() == first
        assert HostImage(tmp_path / "images", host, chown=None).current().id == first.id
        os.utime(host / "etc/services", (1, 1))
        assert image.current().id == first.id

    def test_a_changed_input_is_another_image(self, image: HostImage, host: Path) -> None:
        first = image.current()
        (host / "etc/services").write_text("https 443/tcp\n")
        second = image.current()
        assert second.id != first.id
        assert image.get(first.id) is not None
        image.sweep(frozenset({first.id}))
        assert image.get(first.id) is not None
        image.sweep(frozenset())
        assert image.get(first.id) is None
        assert image.get(second.id) is not None

    def test_what_is_not_shown_changes_nothing(self, image: HostImage, host: Path) -> None:
        first = image.current()
        (host / "etc/shadow").write_text("root:other\n")
        (host / "etc/app/token").write_text("other\n")
        (host / "usr/bin/new").touch()
        assert image.current().id == first.id

    def test_damage_is_repaired(self, image: HostImage, tmp_path: Path, host: Path) -> None:
        first = image.current()
        root = Path(image.parts(first)[0].layers[0])
        (root / "etc/services").write_text("")
        again = HostImage(tmp_path / "images", host, chown=None)
        assert again.get(first.id) is None
        assert again.current().id == first.id
        assert (root / "etc/services").read_text() == "http 80/tcp\n"

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"signature": 1}'])
    def test_a_torn_index_is_made_anew(
        self, image: HostImage, tmp_path: Path, host: Path, text: str
    ) -> None:
        first = image.current()
        (tmp_path / "images/host/index.json").write_text(text)
        assert HostImage(tmp_path / "images", host, chown=None).current().id == first.id

    def test_half_made_skeletons_are_swept(self, image: HostImage, tmp_path: Path) -> None:
        current = image.current()
        (tmp_path / "images/host/.new-1-abcd/root/etc").mkdir(parents=True)
        image.sweep(frozenset())
        names = {entry.name for entry in (tmp_path / "images/host").iterdir()}
        assert names == {current.id.removeprefix("sha256:"), "index.json"}

    @pytest.mark.parametrize("image_id", ["", "sha256:", "../../etc", "sha256:../x", "a" * 64])
    def test_ids_are_never_paths(self, image: HostImage, image_id: str) -> None:
        assert image.get(image_id) is None


class TestService:
    @pytest.fixture
    def images(self, tmp_path: Path, image: HostImage) -> Images:
        return Images(Paths(tmp_path, tmp_path / "run"), Overlay(), image)

    def test_a_caller_that_leaves_while_it_is_made_does_not_have_it_made_twice(
        self, images: Images, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The second would take the first one's skeleton away from under who mounts it."""
        begun, go_on = threading.Event(), threading.Event()
        written: list[Path] = []
        write = skeleton.write

        def slow(entries: tuple[skeleton.Entry, ...], root: Path, chown: object) -> None:
            written.append(root)
            begun.set()
            assert go_on.wait(10)
            write(entries, root, None)

        monkeypatch.setattr(skeleton, "write", slow)

        async def scenario() -> None:
            first = asyncio.create_task(images.resolve("stackctl/host"))
            assert await asyncio.to_thread(begun.wait, 10)
            first.cancel()
            second = asyncio.create_task(images.resolve("stackctl/host"))
            await asyncio.wait((second,), timeout=0.2)
            go_on.set()
            await second

        asyncio.run(scenario())
        assert len(written) == 1

    def test_prepare_and_release(self, images: Images, tmp_path: Path) -> None:
        async def scenario() -> None:
            found = await images.resolve("stackctl/host")
            snapshot = await images.prepare("c1", found.id)
            first = snapshot.mounts[0]
            assert isinstance(first, OverlayMount)
            assert [mount.target for mount in snapshot.mounts] == ["/", "/usr", "/lib"]
            home = tmp_path / "containers/c1/rw"
            assert first.upper == str(home / "0/upper")
            assert os.stat(first.upper).st_mode & 0o7777 == 0o755
            (Path(first.upper) / "kept").touch()
            assert await images.prepare("c1", found.id) == snapshot
            assert (Path(first.upper) / "kept").exists()
            await images.release("c1")
            assert not home.exists()
            await images.release("c1")

        asyncio.run(scenario())

    def test_what_is_not_here(self, images: Images) -> None:
        with pytest.raises(NotFound) as caught:
            asyncio.run(images.resolve("nginx:1"))
        assert "'nginx:1'" in caught.value.brief
        assert "stackctl/host" in caught.value.hint
        assert images.exists("stackctl/host")
        assert not images.exists("nginx")
        with pytest.raises(ImageError):
            asyncio.run(images.resolve("NGINX"))
        with pytest.raises(NotFound):
            asyncio.run(images.get("sha256:" + "0" * 64))

    def test_a_look_is_shared_for_a_moment(
        self, tmp_path: Path, host: Path, image: HostImage
    ) -> None:
        now = 100.0
        images = Images(Paths(tmp_path, tmp_path), host=image, clock=lambda: now)

        async def scenario() -> None:
            nonlocal now
            first = await images.resolve("stackctl/host")
            (host / "etc/services").write_text("new\n")
            assert await images.resolve("stackctl/host") is first
            now += 1
            assert (await images.resolve("stackctl/host")).id != first.id

        asyncio.run(scenario())


def test_accounts_drop_lines_that_are_no_entries() -> None:
    found = accounts("a:b\nx:y:z:0:::\nroot:x:0:0:::\n", "g:x:many:\nroot:x:0:ghost\n")
    assert found.passwd == "root:*:0:0:::\n"
    assert found.group == "root:*:0:\n"
    assert found.uids == {"root": 0}
