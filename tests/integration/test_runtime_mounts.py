"""Volumes, binds and tmpfs inside a container; paths of the image that lead out of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stackctl.errors import ContainerError
from stackctl.linux import mount
from stackctl.model.container import BindMount, Security, TmpfsMount, VolumeMount
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


def test_a_fill_that_was_killed_begins_anew(bed: Bed, volume: Path) -> None:
    (volume / ".stackctl-filling/half").mkdir(parents=True)
    (volume / ".stackctl-filling/half/copied").write_text("x")
    mounts = (VolumeMount(volume="data", target="/etc"),)
    container = bed.shell("ls -A /etc", mounts=mounts, volumes={"data": str(volume)})
    found = container.output().split()
    assert "passwd" in found
    assert not {"half", ".stackctl-filling", ".stackctl-filled"} & set(found)


def test_a_fill_that_was_killed_takes_nothing_of_others_with_it(bed: Bed, volume: Path) -> None:
    """What somebody has written since stays, also where a whole copy would have put its own."""
    (volume / ".stackctl-filling/half").mkdir(parents=True)
    (volume / ".stackctl-filled").mkdir(mode=0o711)
    for name, text in ((".stackctl-filled/a", "image"), (".stackctl-filled/b", "image")):
        (volume / name).write_text(text)
    (volume / "b").write_text("mine")
    mounts = (VolumeMount(volume="data", target="/etc"),)
    volumes = {"data": str(volume)}
    assert bed.shell("true", mounts=mounts, volumes=volumes).output() == ""
    assert {file.name: file.read_text() for file in volume.iterdir() if file.name in "ab"} == {
        "a": "image",
        "b": "mine",
    }
    assert stat.S_IMODE(volume.stat().st_mode) == 0o711
    # Files of these names are nobody's copies.
    for name in (".stackctl-filling", ".stackctl-filled"):
        (volume / name).touch()
    assert bed.shell("true", mounts=mounts, volumes=volumes).output() == ""
    left = {file.name for file in volume.iterdir()}
    assert {"a", "b"} <= left and not any("stackctl" in name for name in left)


def test_a_volume_is_filled_once_also_if_it_is_read_only(bed: Bed, volume: Path) -> None:
    """And stays as somebody has left it since."""
    mounts = (VolumeMount(volume="data", target="/tmp", read_only=True),)
    volumes = {"data": str(volume)}
    container = bed.shell("stat -c %a /tmp; touch /tmp/x", mounts=mounts, volumes=volumes)
    assert container.output() == "1777"
    assert "Read-only file system" in container.output("stderr")
    assert stat.S_IMODE(volume.stat().st_mode) == 0o1777
    os.chown(volume, 33, 34)
    os.chmod(volume, 0o750)
    container.record = replace(container.record, process=None, started_at=1.0)
    container.exit = bed.loop.create_future()
    bed.do(bed.begin(container, volumes))
    assert container.output() == "1777\n750"
    assert volume.stat().st_uid == 33


def test_what_a_volume_holds_is_kept(bed: Bed, volume: Path) -> None:
    (volume / "mine").touch()
    mounts = (VolumeMount(volume="data", target="/etc"),)
    container = bed.shell(
        "ls -A /etc | grep -v ^host", mounts=mounts, volumes={"data": str(volume)}
    )
    assert container.output().split() == ["mine", "resolv.conf"]


def test_attributes_reach_a_fresh_volume(bed: Bed, volume: Path) -> None:
    """A file's capabilities and user attributes come along, as the container sees them."""
    home = bed.create("true", mounts=(VolumeMount(volume="data", target="/srv"),))
    image = bed.do(bed.images.resolve("stackctl/host"))
    bed.do(bed.images.prepare(home.record.id, image.id))
    upper = bed.paths.container(home.record.id) / "rw/0/upper/srv"
    upper.mkdir()
    file = upper / "tool"
    file.write_text("#!/bin/true")
    os.setxattr(file, "user.note", b"kept")
    # cap_net_raw+ep, version 2 (linux/capability.h).
    os.setxattr(file, "security.capability", bytes.fromhex("0100000200200000" + "00" * 12))
    bed.do(bed.begin(home, {"data": str(volume)}))
    home.wait()
    copied = volume / "tool"
    assert os.getxattr(copied, "user.note") == b"kept"
    assert os.getxattr(copied, "security.capability")[4:8] == bytes.fromhex("00200000")


@pytest.mark.parametrize(("propagation", "tag"), [("rprivate", ""), ("rslave", "master")])
def test_what_a_container_mounts_stays_there(
    bed: Bed, engine_dirs: Paths, propagation: str, tag: str
) -> None:
    """A bind of a shared mount must not be in its peer group: CAP_SYS_ADMIN inside would
    mount on the host."""
    source = engine_dirs.root.parent / "shared"
    source.mkdir()
    mount.mount("none", str(source), "tmpfs")
    try:
        mount.mount("none", str(source), "", mount.MS_SHARED)
        mounts = (BindMount(source=str(source), target="/work", propagation=propagation),)
        security = Security(cap_add=("SYS_ADMIN",))
        script = "grep ' /work ' /proc/self/mountinfo; mkdir /work/x; mount -t tmpfs x /work/x"
        line = bed.output(script, mounts=mounts, security=security)
        assert "shared:" not in line
        assert ("master:" in line) == (tag == "master")
        assert not os.path.ismount(source / "x")
    finally:
        mount.umount2(str(source), mount.MNT_DETACH)


def test_a_bind_without_id_maps_is_said(bed: Bed) -> None:
    mounts = (BindMount(source="/sys/kernel", target="/k", read_only=True, recursive=False),)
    assert bed.output("stat -c %U /k", mounts=mounts) == "nobody"
    (told,) = bed.notices
    assert "/sys/kernel" in told
    assert "nobody" in told


def test_a_volumes_subdirectory_cannot_lead_out(bed: Bed, engine_dirs: Paths, volume: Path) -> None:
    os.symlink("/", volume / "link")
    (volume / "sub").mkdir()
    (volume / "sub/file").touch()
    mounts = (VolumeMount(volume="data", target="/data", subpath="sub"),)
    container = bed.shell("ls /data", mounts=mounts, volumes={"data": str(volume)})
    assert container.output() == "file"
    mounts = (VolumeMount(volume="data", target="/data", subpath="link"),)
    container = bed.shell("ls /data", mounts=mounts, volumes={"data": str(volume)})
    assert sorted(container.output().split()) == ["link", "sub"]


def test_a_fresh_volume_stays_empty_on_request(bed: Bed, volume: Path) -> None:
    mounts = (VolumeMount(volume="data", target="/etc", nocopy=True),)
    container = bed.shell("ls /etc | sort", mounts=mounts, volumes={"data": str(volume)})
    # The generated files lie on it, as on any /etc.
    assert container.output().split() == ["hostname", "hosts", "resolv.conf"]


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
