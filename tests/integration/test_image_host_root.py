"""stackctl/host on this machine: its root mounted, and real programs started in it."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackctl.image.service import Images
from stackctl.model.image import OverlayMount, Snapshot
from stackctl.state.paths import Paths

pytestmark = pytest.mark.needs("root", "mountns", "overlay")


@pytest.fixture
def snapshot(tmp_path: Path) -> Iterator[Snapshot]:
    images = Images(Paths(tmp_path / "root", tmp_path / "run"))

    async def make() -> Snapshot:
        return await images.prepare("c1", (await images.resolve("stackctl/host")).id)

    yield asyncio.run(make())
    asyncio.run(images.release("c1"))
    assert not (tmp_path / "root/containers/c1/rw").exists()


def run(snapshot: Snapshot, script: str, tmp_path: Path) -> str:
    """Mounts the root in a mount namespace that ends with the script, and runs it in there."""
    merged = tmp_path / "merged"
    merged.mkdir()
    lines = ["set -e"]
    for mount in snapshot.mounts:
        assert isinstance(mount, OverlayMount)
        layers = f"lowerdir={':'.join(mount.lower)},upperdir={mount.upper},workdir={mount.work}"
        lines.append(f"mount -t overlay -o {layers} overlay {merged}{mount.target}")
    lines += [
        f"mount -t proc proc {merged}/proc",
        f"mount --rbind /dev {merged}/dev",
        f"exec chroot {merged} /bin/sh -c '{script}'",
    ]
    done = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--fork", "sh", "-c", "\n".join(lines)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def skeleton_of(snapshot: Snapshot) -> Path:
    mount = snapshot.mounts[0]
    assert isinstance(mount, OverlayMount)
    return Path(mount.lower[0])


def test_no_secret_of_the_machine(snapshot: Snapshot) -> None:
    root = skeleton_of(snapshot)
    for name in ("shadow", "shadow-", "gshadow", "gshadow-", "machine-id", "ssl/private", "ssh"):
        assert not os.path.lexists(root / "etc" / name), name
    for name in ("home", "root", "srv", "opt", "mnt", "media", "tmp", "boot"):
        assert list((root / name).iterdir()) == [], name
    files = [path for path in (root / "var").rglob("*") if not (path.is_dir() or path.is_symlink())]
    assert files == []
    for line in (root / "etc/passwd").read_text().splitlines():
        name, password, uid = line.split(":")[:3]
        assert password == "*", name
        assert int(uid) < 1000 or int(uid) == 65534, name


def test_no_file_that_only_root_may_read_but_shipped_ones(snapshot: Snapshot) -> None:
    """Whatever is private here is byte for byte what the package brought."""
    root = skeleton_of(snapshot)
    status = Path("/var/lib/dpkg/status")
    shipped = status.read_text() if status.exists() else ""
    for path in (root / "etc").rglob("*"):
        if path.is_file() and not path.is_symlink() and not path.stat().st_mode & 0o004:
            assert f" /{path.relative_to(root)} " in shipped


def test_the_root_is_writable_and_the_host_is_not_touched(
    snapshot: Snapshot, tmp_path: Path
) -> None:
    text = run(
        snapshot,
        "echo x > /usr/bin/stackctl-test-mark && echo x > /etc/mark && rm /usr/bin/env"
        " && ls /usr/bin/stackctl-test-mark && stat -c %a /tmp /var/tmp / && id -un",
        tmp_path,
    )
    assert text.split() == ["/usr/bin/stackctl-test-mark", "1777", "1777", "755", "root"]
    assert not Path("/usr/bin/stackctl-test-mark").exists()
    assert Path("/usr/bin/env").exists()
    assert not (skeleton_of(snapshot) / "etc/mark").exists()


def test_python_finds_its_library_and_certificates(snapshot: Snapshot, tmp_path: Path) -> None:
    script = 'python3 -c "import ssl, sqlite3, pwd; print(pwd.getpwuid(0).pw_name)"'
    assert run(snapshot, script, tmp_path) == "root\n"


@pytest.mark.needs("program:nginx")
def test_nginx_takes_its_packaged_configuration(snapshot: Snapshot, tmp_path: Path) -> None:
    run(snapshot, "nginx -t", tmp_path)


@pytest.mark.needs("program:redis-server")
def test_redis_answers(snapshot: Snapshot, tmp_path: Path) -> None:
    script = (
        "redis-server --port 0 --unixsocket /run/r.sock --daemonize yes >/dev/null;"
        " for _ in $(seq 100); do redis-cli -s /run/r.sock ping 2>/dev/null && break; sleep 0.05;"
        " done; redis-cli -s /run/r.sock shutdown nosave"
    )
    assert "PONG" in run(snapshot, script, tmp_path)


@pytest.mark.needs("postgresql")
def test_postgresql_starts_as_its_own_user(snapshot: Snapshot, tmp_path: Path) -> None:
    script = (
        "set -e; bin=$(dirname $(ls /usr/lib/postgresql/*/bin/initdb | tail -1));"
        " data=/var/lib/postgresql/data;"
        ' as() { setpriv --reuid=postgres --regid=postgres --init-groups "$@"; };'
        " as $bin/initdb -D $data -A trust --no-sync >/dev/null;"
        ' as $bin/pg_ctl -D $data -w -l $data/log -o "-c listen_addresses= -F" start >/dev/null;'
        ' as psql -Atc "select 6 * 7"; as $bin/pg_ctl -D $data -w -m fast stop >/dev/null'
    )
    assert run(snapshot, script, tmp_path) == "42\n"
