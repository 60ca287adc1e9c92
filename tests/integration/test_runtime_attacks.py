"""Known attacks on container runtimes, tried on ours (docs/security.md names each)."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackctl.errors import ContainerError
from stackctl.model.container import BindMount, Security, VolumeMount
from stackctl.model.image import DirectoryMount, Snapshot
from stackctl.runtime.shims import ShimProgram
from stackctl.state.paths import Paths
from support.runtime_bed import Bed

pytestmark = pytest.mark.needs("root", "userns", "overlay", "cgroup")


@pytest.fixture
def bed(engine_dirs: Paths) -> Iterator[Bed]:
    bed = Bed(engine_dirs)
    yield bed
    bed.close()


@pytest.fixture
def rootfs(bed: Bed, engine_dirs: Paths) -> Path:
    """An image of the attacker's: /usr of the host and links of his own."""
    root = engine_dirs.root.parent / "image"
    for name in ("usr", "etc", "tmp"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        os.symlink(f"usr/{name}", root / name)

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
    return root


def interpreter() -> str:
    return hashlib.sha256(Path(os.path.realpath(sys.executable)).read_bytes()).hexdigest()


def test_the_engines_interpreter_cannot_be_overwritten(bed: Bed, rootfs: Path) -> None:
    """CVE-2019-5736: an entrypoint that is /proc/self/exe."""
    before = interpreter()
    script = rootfs / "evil"
    script.write_text("#!/proc/self/exe\n")
    script.chmod(0o755)
    try:
        bed.start("/evil").wait()
    except ContainerError:
        pass  # not executing it is fine as well
    victim = bed.start("/bin/sh", "-c", "sleep 1000")
    attack = """
    for exe in /proc/[0-9]*/exe; do (echo x >> $exe) 2>/dev/null && echo "wrote $exe"; done
    i=0; while [ $i -lt 200 ]; do
        for exe in /proc/[0-9]*/exe; do
            case $(readlink $exe) in *python*) (echo x >> $exe) 2>/dev/null && echo wrote;; esac
        done; i=$((i+1))
    done &
    wait
    """
    session = bed.exec(victim, "/bin/sh", "-c", attack)
    for _ in range(5):
        bed.runs(victim, "/bin/sh", "-c", "true")
    out, _, _ = bed.collect(session)
    assert out == b""
    assert interpreter() == before


def test_root_of_the_host_cannot_change_the_interpreter_either(engine_dirs: Paths) -> None:
    """CVE-2019-5736 with `userns_mode: host`: the container's root owns the very file.

    The interpreter is a copy, so that a flaw would hurt nobody. Changing its mode needs
    no closed file (a file that is being executed refuses to be opened for writing).
    """
    home = engine_dirs.root.parent
    home.mkdir(parents=True, exist_ok=True)
    copy = home / "python3"
    shutil.copy(os.path.realpath(sys.executable), copy)
    before = copy.stat(), hashlib.sha256(copy.read_bytes()).hexdigest()
    attack = home / "attack"
    attack.mkdir()
    (attack / "run").write_text(
        "#!/proc/self/exe\n"
        "import os\n"
        "def go(name, act):\n"
        "    try: act(); print(name, 'worked')\n"
        "    except OSError as error: print(name, error.errno)\n"
        "exe = '/proc/self/exe'\n"
        "held = '/proc/self/fd/%d' % os.open(exe, os.O_PATH)\n"
        "for path in (exe, held):\n"
        "    go('chmod', lambda: os.chmod(path, 0o4777))\n"
        "    go('chown', lambda: os.chown(path, 1, 1))\n"
        "    go('utime', lambda: os.utime(path, (1, 1)))\n"
        "    go('truncate', lambda: os.open(path, os.O_WRONLY | os.O_TRUNC))\n"
        "    go('xattr', lambda: os.setxattr(path, 'user.x', b'y'))\n"
    )
    (attack / "run").chmod(0o755)
    bed = Bed(engine_dirs, ShimProgram(interpreter=str(copy)))
    try:
        container = bed.start(
            "/attack/run",
            mounts=(BindMount(source=str(attack), target="/attack", read_only=True),),
            security=Security(userns="host"),
        )
        lines = container.output().splitlines()
        assert len(lines) == 10, container.output("stderr")
        assert {line.split()[1] for line in lines} == {str(errno.EROFS)}
        victim = bed.start("sleep", "1000", security=Security(userns="host"))
        script = """
        i=0; while [ $i -lt 30 ]; do
            for exe in /proc/[0-9]*/exe; do
                case $(readlink $exe) in *python*) chmod 0 $exe;; esac
            done; i=$((i+1))
        done
        """
        session = bed.exec(victim, "sh", "-c", script)
        for _ in range(5):
            bed.runs(victim, "true")
        bed.collect(session)
    finally:
        bed.close()
    after = copy.stat()
    assert (after.st_mode, after.st_uid, after.st_mtime_ns) == (
        before[0].st_mode,
        before[0].st_uid,
        before[0].st_mtime_ns,
    )
    assert hashlib.sha256(copy.read_bytes()).hexdigest() == before[1]


@pytest.mark.parametrize("number", [3, 4, 5, 6, 7, 8, 9, 10])
def test_no_working_directory_leads_to_the_host(bed: Bed, rootfs: Path, number: int) -> None:
    """CVE-2024-21626: WORKDIR /proc/self/fd/N."""
    place = f"/proc/self/fd/{number}"
    with pytest.raises(ContainerError):
        bed.start("/bin/sh", "-c", "true", working_dir=place)
    victim = bed.start("/bin/sh", "-c", "sleep 1000")
    with pytest.raises(ContainerError):
        bed.exec(victim, "/bin/sh", "-c", "true", working_dir=place)


@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
def test_links_for_kernel_file_systems_are_refused(bed: Bed, rootfs: Path, name: str) -> None:
    """CVE-2019-19921, CVE-2026-41579: /proc, /sys or /dev is a link in the image."""
    os.symlink("/tmp", rootfs / name)
    with pytest.raises(ContainerError, match="symbolic link"):
        bed.start("/bin/sh", "-c", "true")


def test_a_resolver_link_of_the_image_stays_inside(bed: Bed, rootfs: Path) -> None:
    """Debian's /etc/resolv.conf is a link into /run, which is empty in an image."""
    os.symlink("../run/systemd/resolve/stub", rootfs / "etc/resolv.conf")
    container = bed.shell("cat /etc/resolv.conf")
    assert container.output() == "nameserver 127.0.0.11"
    assert not Path("/run/systemd/resolve/stub").exists()


def test_names_that_are_numbers_are_not_looked_up(bed: Bed, rootfs: Path) -> None:
    """CVE-2026-46680: a passwd entry whose name is a number."""
    (rootfs / "etc/passwd").write_text("1000:x:0:0::/:/bin/sh\n")
    container = bed.start("/bin/sh", "-c", "exec sleep 1000", user="1000")
    assert container.status("Uid").split()[0] == str(container.record.id_base + 1000)


def test_exec_has_the_groups_of_the_start(bed: Bed, rootfs: Path) -> None:
    """CVE-2022-36109: supplementary groups must be the same both ways."""
    (rootfs / "etc/passwd").write_text("web:x:33:34::/:/bin/sh\n")
    (rootfs / "etc/group").write_text("a:x:44:web\nb:x:29:web\n")
    container = bed.start("/bin/sh", "-c", "id -G; exec sleep 1000", user="web")
    out, _, _ = bed.runs(container, "id", "-G")
    assert out.split() == [b"34", b"29", b"44"]  # the kernel sorts them
    while not container.log():
        bed.runs(container, "true")
    assert container.log()[0].text.encode().split() == out.split()


def test_nothing_of_the_image_runs_on_the_engines_behalf(bed: Bed, rootfs: Path) -> None:
    """CVE-2019-14271: no name service module, no Python module of the image is loaded."""
    marker = rootfs / "tmp/loaded"
    (rootfs / "etc/nsswitch.conf").write_text("passwd: evil\ngroup: evil\nhosts: evil\n")
    evil = rootfs / "evil"
    evil.mkdir()
    for module in ("pwd", "grp", "encodings", "tarfile", "warnings", "traceback"):
        (evil / f"{module}.py").write_text(f"open({'/tmp/loaded'!r}, 'w')\n")
    container = bed.start(
        "/bin/sh", "-c", "exec sleep 1000", working_dir="/evil", env=("PYTHONPATH=/evil",)
    )
    bed.runs(container, "/bin/sh", "-c", "true", working_dir="/evil")
    with pytest.raises(ContainerError):
        bed.exec(container, "/no/such/program", working_dir="/evil")
    assert not marker.exists()


def test_an_images_null_device_masks_nothing(bed: Bed, rootfs: Path) -> None:
    """CVE-2025-31133: what the image calls /dev/null is bound over secrets, or leads to sysctls."""
    (rootfs / "dev").mkdir()
    os.symlink("/proc/sys/kernel/core_pattern", rootfs / "dev/null")
    os.symlink("/proc/sys/kernel/core_pattern", rootfs / "dev/console")
    script = """
    stat -c '%F %t:%T' /dev/null /proc/timer_list
    (echo x > /proc/sys/kernel/core_pattern) 2>/dev/null && echo wrote
    (echo x > /proc/timer_list) 2>/dev/null; cat /proc/timer_list
    """
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    words = bed.shell(script).output().splitlines()
    assert set(words) == {"character special file 1:3"}
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


def test_a_false_null_device_is_refused(bed: Bed, rootfs: Path, engine_dirs: Paths) -> None:
    """CVE-2025-31133: a mount over /dev/null would be what hides /proc/timer_list."""
    false = engine_dirs.root.parent / "false"
    false.write_text("x")
    mounts = (BindMount(source=str(false), target="/dev/null"),)
    with pytest.raises(ContainerError, match="not the null device"):
        bed.shell("true", mounts=mounts)


def test_a_console_of_the_image_leads_nowhere(bed: Bed, rootfs: Path) -> None:
    """CVE-2025-52565: /dev/console is bound from our own terminal, by descriptor."""
    (rootfs / "dev/pts").mkdir(parents=True)
    os.symlink("/proc/sys/kernel/core_pattern", rootfs / "dev/console")
    os.symlink("/proc/sys/kernel/core_pattern", rootfs / "dev/pts/0")
    container = bed.create("/bin/sh", "-c", "tty; stat -c %t /dev/console /dev/pts/0", tty=True)
    bed.do(bed.begin(container))
    assert container.output().split() == ["/dev/pts/0", "88", "88"]


def test_a_huge_group_file_is_refused(bed: Bed, rootfs: Path) -> None:
    """CVE-2026-47262: 1 GB of /etc/group would be read by the engine, as root."""
    (rootfs / "etc/passwd").write_text("web:x:33:34::/:/bin/sh\n")
    with (rootfs / "etc/group").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(ContainerError, match="larger than"):
        bed.shell("true", user="web")


@pytest.mark.parametrize("name", ["passwd", "group"])
def test_a_pipe_for_a_file_holds_up_nobody(bed: Bed, rootfs: Path, name: str) -> None:
    (rootfs / "etc/passwd").write_text("web:x:33:34::/:/bin/sh\n")
    (rootfs / f"etc/{name}").unlink(missing_ok=True)
    os.mkfifo(rootfs / f"etc/{name}")
    with pytest.raises(ContainerError, match="not a regular file"):
        bed.shell("true", user="web")


def test_a_variable_without_a_value_brings_none_of_the_hosts(
    bed: Bed, rootfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STACKCTL_CANARY", "secret")
    container = bed.shell("/usr/bin/env", env=("STACKCTL_CANARY", "A=b"))
    assert "CANARY" not in container.output()
    assert "A=b" in container.output()


def test_no_call_gets_through_by_the_old_gate(bed: Bed) -> None:
    """CVE-2026-31431: socket(AF_ALG) by int 0x80 and with high bits set; x86-64 only."""
    script = """
import ctypes, mmap, os, platform
libc = ctypes.CDLL(None, use_errno=True)
for high in (0, 1 << 32, 0xdead << 32):
    print(libc.syscall(ctypes.c_long(41 if platform.machine() == 'x86_64' else 198),
                       ctypes.c_long(high | 38), ctypes.c_long(5), ctypes.c_long(0)))
if platform.machine() == 'x86_64':
    code = mmap.mmap(-1, 4096, prot=7)
    # mov eax, 359; mov ebx, 38; mov ecx, 5; xor edx, edx; int 0x80; ret
    code.write(bytes.fromhex('53b867010000bb26000000b90500000031d2cd805bc3'))
    call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
    pid = os.fork()
    if pid == 0:
        os._exit(0 if call() >= 0 else 7)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    lines = bed.start("/usr/bin/python3", "-I", "-c", script).output().splitlines()
    assert lines[:3] == ["-1", "-1", "-1"]
    # Refused, killed by the filter, or (no 32-bit calls in this kernel) by a fault.
    assert all(line not in ("0",) for line in lines[3:])


def test_the_hosts_network_shows_no_socket_of_ours(bed: Bed) -> None:
    """CVE-2020-15257: a container on the host's network sees abstract sockets; none is ours."""
    container = bed.shell("cat /proc/net/unix", network_mode="host")
    assert "@stackctl" not in container.output()


def test_no_socket_of_ours_is_abstract(bed: Bed) -> None:
    """CVE-2020-15257: the shim listens on a path, not in a namespace that containers share."""
    bed.start("sleep", "1000")
    table = Path("/proc/net/unix").read_text()
    assert "@stackctl" not in table


def test_swapped_volume_paths_stay_inside(bed: Bed, engine_dirs: Paths) -> None:
    """CVE-2021-30465: a second container's mount target is swapped for a link meanwhile."""
    outside = engine_dirs.root.parent / "outside"
    outside.mkdir()
    shared, other = engine_dirs.volume("shared"), engine_dirs.volume("other")
    for path in (shared, other):
        path.mkdir(parents=True)
    volumes = {"shared": str(shared), "other": str(other)}
    swapper = f"""
    cd /shared; mkdir a; ln -s {outside} b
    while :; do mv a c; mv -T b a; mv -T a b; mv c a; done 2>/dev/null
    """
    mounts = (VolumeMount(volume="shared", target="/shared"),)
    bed.shell(swapper, mounts=mounts, volumes=volumes)
    nested = (*mounts, VolumeMount(volume="other", target="/shared/a/deep"))
    for _ in range(30):
        try:
            bed.start("true", mounts=nested, volumes=volumes).wait()
        except ContainerError:
            pass  # the target was away for a moment
    assert list(outside.iterdir()) == []


#: A thread takes the process's parent for its tracer and ends: only a tracer's wait frees it.
TRACED = """
import ctypes, os, threading, time
libc = ctypes.CDLL(None)
thread = threading.Thread(target=lambda: libc.ptrace(0, 0, 0, 0))
thread.start(); thread.join()
print("ready", flush=True)
time.sleep({seconds})
os._exit(5)
"""


def test_a_thread_that_is_traced_by_its_parent_keeps_nothing_alive(bed: Bed) -> None:
    ends = bed.start("python3", "-c", TRACED.format(seconds=0))
    assert ends.wait().exit_code == 5
    stays = bed.start("python3", "-c", TRACED.format(seconds=1000))
    session = bed.do(bed.runtime.attach(stays.record))
    while not stays.log():
        bed.do(session.read())
    out, err, code = bed.runs(stays, "python3", "-c", TRACED.format(seconds=0))
    assert (out, code) == (b"ready\n", 5), err
    bed.do(bed.runtime.kill(stays.record))
    assert stays.wait().exit_code == 137


@pytest.mark.parametrize("user", ["65536", "0:65536"])
def test_ids_beyond_the_containers_are_told_as_such(bed: Bed, user: str) -> None:
    with pytest.raises(ContainerError, match="is beyond the container's 65536 ids"):
        bed.start("true", user=user)
    running = bed.start("sleep", "1000")
    with pytest.raises(ContainerError, match="is beyond the container's 65536 ids"):
        bed.runs(running, "true", user=user)
