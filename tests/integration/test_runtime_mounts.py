"""Volumes, binds and tmpfs inside a container; paths of the image that lead out of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackctl.errors import ContainerError
from stackctl.model.container import BindMount, TmpfsMount, VolumeMount
from stackctl.state.paths import Paths
from support.runtime_bed import Bed

pytestmark = pytest.mark.needs("root", "userns", "overlay", "cgroup")


@pytest.fixture
def bed(engine_dirs: Paths) -> Iterator[Bed]:
    bed = Bed(engine_dirs)
    yield bed
    bed.close()


@pytest.fixture
def volume(engine_dirs: Paths) -> Path:
    path = engine_dirs.volume("data")
    path.mkdir(parents=True)
    return path


def test_owners_on_a_volume_are_the_containers(bed: Bed, volume: Path) -> None:
    mounts = (VolumeMount(volume="data", target="/data"),)
    volumes = {"data": str(volume)}
    script = "echo hello > /data/file; chown 33:34 /data/file; stat -c %u:%g /data /data/file"
    first = bed.shell(script, mounts=mounts, volumes=volumes)
    assert first.output() == "0:0\n33:34", first.log()
    status = (volume / "file").stat()
    assert (status.st_uid, status.st_gid) == (33, 34)
    again = bed.shell("cat /data/file; stat -c %u:%g /data/file", mounts=mounts, volumes=volumes)
    assert again.output() == "hello\n33:34"


def test_a_fresh_volume_takes_what_the_image_has(bed: Bed, volume: Path) -> None:
    mounts = (VolumeMount(volume="data", target="/etc"),)
    container = bed.shell("grep ^root /etc/passwd", mounts=mounts, volumes={"data": str(volume)})
    assert container.output().startswith("root:")
    assert (volume / "passwd").exists()


def test_a_fresh_volume_stays_empty_on_request(bed: Bed, volume: Path) -> None:
    mounts = (VolumeMount(volume="data", target="/etc", nocopy=True),)
    container = bed.shell("ls /etc | sort", mounts=mounts, volumes={"data": str(volume)})
    assert container.output().split() == []


def test_a_read_only_volume(bed: Bed, volume: Path) -> None:
    mounts = (VolumeMount(volume="data", target="/data", read_only=True),)
    script = "touch /data/x 2>/dev/null || echo refused"
    assert bed.shell(script, mounts=mounts, volumes={"data": str(volume)}).output() == "refused"


def test_owners_on_a_bind_are_the_hosts(bed: Bed, engine_dirs: Paths) -> None:
    source = engine_dirs.root.parent / "project"
    source.mkdir()
    (source / "mine").write_text("x")
    os.chown(source / "mine", 1000, 1001)
    mounts = (BindMount(source=str(source), target="/work"),)
    script = "stat -c %u:%g /work/mine; touch /work/new; chown 1000 /work/new"
    assert bed.output(script, mounts=mounts) == "1000:1001"
    assert (source / "new").stat().st_uid == 1000


def test_a_file_is_bound(bed: Bed, engine_dirs: Paths) -> None:
    source = engine_dirs.root.parent / "config"
    source.write_text("setting")
    mounts = (BindMount(source=str(source), target="/etc/app/config", read_only=True),)
    assert bed.output("cat /etc/app/config", mounts=mounts) == "setting"


def test_a_missing_bind_source_is_told(bed: Bed) -> None:
    mounts = (BindMount(source="/no/such", target="/data", create_host_path=False),)
    with pytest.raises(ContainerError, match=r"/no/such at /data: No such file"):
        bed.start("true", mounts=mounts)


def test_a_tmpfs_has_its_size_and_mode(bed: Bed) -> None:
    mounts = (TmpfsMount(target="/scratch", size=1 << 20, mode=0o700),)
    script = "stat -c %a /scratch; head -c 2000000 /dev/zero > /scratch/x 2>/dev/null || echo full"
    assert bed.output(script, mounts=mounts).split() == ["700", "full"]


def test_mounts_nest(bed: Bed, volume: Path) -> None:
    mounts = (
        VolumeMount(volume="data", target="/a/b"),
        TmpfsMount(target="/a"),
    )
    container = bed.shell("touch /a/b/x; ls /a", mounts=mounts, volumes={"data": str(volume)})
    assert container.output() == "b"
    assert (volume / "x").exists()


def test_links_in_the_image_stay_in_the_container(
    bed: Bed, engine_dirs: Paths, volume: Path
) -> None:
    outside = engine_dirs.root.parent / "outside"
    outside.mkdir()
    os.symlink(outside, volume / "link")
    os.symlink("../../../../../../../.." + str(outside), volume / "up")
    mounts = (
        VolumeMount(volume="data", target="/data", nocopy=True),
        TmpfsMount(target="/data/link/deep"),
        TmpfsMount(target="/data/up/deep"),
    )
    container = bed.shell("echo fine", mounts=mounts, volumes={"data": str(volume)})
    assert container.output() == "fine"
    assert list(outside.iterdir()) == []


def test_nothing_of_the_host_is_mounted(bed: Bed) -> None:
    container = bed.start("sleep", "1000")
    table = Path(f"/proc/{container.pid}/mountinfo").read_text()
    targets = [line.split()[4] for line in table.splitlines()]
    assert targets.count("/") == 1
    assert not [t for t in targets if t.startswith(str(bed.paths.root))]
