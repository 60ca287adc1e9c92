"""Where the machine has less: layers without id-mapped mounts, limits that root may not raise."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackctl.linux import mount, process
from stackctl.model.container import Security, Ulimit
from stackctl.model.image import DirectoryMount, Snapshot
from stackctl.state.paths import Paths
from support.runtime_bed import Bed
from support.waiting import wait_until

pytestmark = pytest.mark.needs("root", "userns", "overlay", "cgroup")


@pytest.fixture
def bed(engine_dirs: Paths) -> Iterator[Bed]:
    bed = Bed(engine_dirs)
    yield bed
    bed.close()


@pytest.fixture
def on_overlay(bed: Bed, engine_dirs: Paths) -> Iterator[Path]:
    """An image whose root lies on an overlay, which has no id-mapped mounts."""
    home = engine_dirs.root.parent
    for name in ("lower/usr", "lower/etc", "lower/tmp", "upper", "work", "image"):
        (home / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        os.symlink(f"usr/{name}", home / "lower" / name)
    (home / "lower/etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    root = home / "image"
    options = f"lowerdir={home}/lower,upperdir={home}/upper,workdir={home}/work"
    mount.mount("overlay", str(root), "overlay", 0, options)

    async def prepare(container_id: str, image: object) -> Snapshot:
        return Snapshot(
            mounts=(
                DirectoryMount(target="/", source=str(root)),
                DirectoryMount(target="/usr", source="/usr"),
            )
        )

    async def release(container_id: str) -> None:
        return None

    bed.images.prepare = prepare  # type: ignore[method-assign, assignment]
    bed.images.release = release  # type: ignore[method-assign]
    try:
        yield root
    finally:
        mount.umount2(str(root), mount.MNT_DETACH)


def test_layers_that_cannot_be_mapped_have_the_hosts_ids_and_it_is_said(
    bed: Bed, on_overlay: Path
) -> None:
    container = bed.shell("touch /tmp/made; chown 33:34 /tmp/made; exec sleep 1000")
    (notice,) = bed.notices
    assert str(on_overlay) in notice
    assert "ids are the host's" in notice
    made = on_overlay / "tmp/made"
    wait_until(lambda: made.exists() and made.stat().st_uid == 33)
    user = f"/proc/{container.pid}/ns/user"
    assert os.readlink(user) != os.readlink("/proc/self/ns/user")
    assert Path(f"/proc/{container.pid}/uid_map").read_text().split() == ["0", "0", "65536"]
    script = """
    stat -c %u:%g /etc/passwd /usr/bin/env /tmp/made
    (echo 1 > /proc/sys/kernel/core_pattern) 2>/dev/null && echo wrote
    mount -t tmpfs none /tmp 2>/dev/null && echo mounted
    echo heard > /dev/stderr
    """
    out, err, code = bed.runs(container, "sh", "-c", script)
    assert (out.split(), err, code) == ([b"0:0", b"0:0", b"33:34"], b"heard\n", 0)
    assert (made.stat().st_uid, made.stat().st_gid) == (33, 34)


def test_a_limit_that_root_may_not_raise_is_said(bed: Bed) -> None:
    _, highest = process.getrlimit(7)
    wanted = min(highest + 1000, 1 << 20)
    limits = (Ulimit(name="nofile", soft=wanted, hard=wanted),)
    shown = int(bed.output("ulimit -n", ulimits=limits))
    if shown < wanted:  # without CAP_SYS_RESOURCE
        assert shown == highest
        (notice,) = bed.notices
        assert f"ulimit nofile: {wanted}" in notice
    else:
        assert bed.notices == []


def test_the_daemons_own_limit_is_no_containers(bed: Bed) -> None:
    assert bed.output("ulimit -Sn") == "1024"


def test_ulimits_are_set_for_exec_too(bed: Bed) -> None:
    limits = (
        Ulimit(name="nofile", soft=100, hard=200),
        Ulimit(name="core", soft=0, hard=0),
        Ulimit(name="nproc", soft=50, hard=60),
    )
    container = bed.start("sleep", "1000", ulimits=limits)
    found = Path(f"/proc/{container.pid}/limits").read_text()
    assert process_limit(found, "Max open files") == ["100", "200"]
    assert process_limit(found, "Max core file size") == ["0", "0"]
    assert process_limit(found, "Max processes") == ["50", "60"]
    out, _, _ = bed.runs(container, "sh", "-c", "ulimit -Sn; ulimit -Hn; ulimit -c")
    assert out.split() == [b"100", b"200", b"0"]


def process_limit(text: str, name: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.startswith(name))
    return line.removeprefix(name).split()[:2]


def test_an_oom_score_is_set_or_it_is_said(bed: Bed) -> None:
    container = bed.start("sleep", "1000", oom_score_adj=500)
    assert Path(f"/proc/{container.pid}/oom_score_adj").read_text().strip() == "500"
    assert bed.notices == []
    spared = bed.start("sleep", "1000", oom_score_adj=-500)
    score = Path(f"/proc/{spared.pid}/oom_score_adj").read_text().strip()
    assert score == "-500" or "oom_score_adj" in bed.notices[0]


def test_capabilities_that_root_lacks_are_said(bed: Bed) -> None:
    _, permitted, _ = process.capget()
    container = bed.start("sleep", "1000", security=Security(privileged=True))
    assert int(container.status("CapEff"), 16) & ~permitted == 0
    lacks = bin(permitted).count("1") < 41
    assert bool(bed.notices) == lacks
