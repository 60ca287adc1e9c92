"""What a container is, asserted by the kernel's own account of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackctl.errors import ContainerError
from stackctl.model.container import Security
from stackctl.state.paths import Paths
from support.runtime_bed import Bed
from support.waiting import wait_until

pytestmark = pytest.mark.needs("root", "userns", "overlay", "cgroup")


@pytest.fixture
def bed(engine_dirs: Paths) -> Iterator[Bed]:
    bed = Bed(engine_dirs)
    yield bed
    bed.close()


def test_exit_code_and_output_arrive(bed: Bed) -> None:
    container = bed.shell("echo out; echo err >&2; exit 7")
    info = container.wait()
    assert (info.exit_code, info.signal, info.oom_killed, info.error) == (7, 0, False, "")
    assert [(e.stream, e.text) for e in container.log()] == [("stdout", "out"), ("stderr", "err")]


def test_death_by_signal_is_128_and_its_number(bed: Bed) -> None:
    container = bed.start("sleep", "1000")
    bed.do(bed.runtime.kill(container.record))
    info = container.wait()
    assert (info.exit_code, info.signal) == (137, 9)


def test_namespaces_are_its_own(bed: Bed) -> None:
    container = bed.start("sleep", "1000")
    for name in ("mnt", "pid", "net", "ipc", "uts", "cgroup", "user"):
        inside = os.readlink(f"/proc/{container.pid}/ns/{name}")
        assert inside != os.readlink(f"/proc/self/ns/{name}"), name
    assert container.status("NSpid").split()[-1] == "1"
    assert [ref.pid for ref in bed.attached] == [container.pid]


def test_root_inside_is_nobody_outside(bed: Bed) -> None:
    container = bed.start("sleep", "1000")
    base = container.record.id_base
    maps = Path(f"/proc/{container.pid}/uid_map").read_text().split()
    assert maps == ["0", str(base), "65536"]
    assert container.status("Uid").split() == [str(base)] * 4
    assert Path(f"/proc/{container.pid}/setgroups").read_text() == "allow\n"


def test_rights_are_the_default_ones(bed: Bed) -> None:
    container = bed.start("sleep", "1000")
    assert int(container.status("CapEff"), 16) == 0xA80425FB
    assert int(container.status("CapPrm"), 16) == 0xA80425FB
    assert int(container.status("CapBnd"), 16) == 0xA80425FB
    assert int(container.status("CapInh"), 16) == 0
    assert int(container.status("CapAmb"), 16) == 0
    assert container.status("Seccomp") == "2"
    assert container.status("NoNewPrivs") == "0"


def test_a_user_has_no_capabilities(bed: Bed) -> None:
    security = Security(no_new_privileges=True)
    container = bed.start("sleep", "1000", user="33:34", security=security)
    base = container.record.id_base
    assert container.status("Uid").split() == [str(base + 33)] * 4
    assert container.status("Gid").split() == [str(base + 34)] * 4
    assert int(container.status("CapEff"), 16) == 0
    assert int(container.status("CapPrm"), 16) == 0
    assert container.status("Seccomp") == "2"
    assert container.status("NoNewPrivs") == "1"


def test_only_three_descriptors_are_there(bed: Bed) -> None:
    assert bed.output("cd /proc/self/fd && echo *").split()[:3] == ["0", "1", "2"]
    container = bed.start("sleep", "1000")
    # For a moment its loader has the library open that it maps.
    wait_until(lambda: sorted(os.listdir(f"/proc/{container.pid}/fd")) == ["0", "1", "2"])


def test_signals_are_as_a_fresh_process_has_them(bed: Bed) -> None:
    container = bed.start("sleep", "1000")
    assert int(container.status("SigIgn"), 16) == 0
    assert int(container.status("SigBlk"), 16) == 0


def test_stdout_can_be_opened_again_by_any_user(bed: Bed) -> None:
    assert bed.output("echo hello > /dev/stdout", user="33") == "hello"


def test_generated_files_are_bound(bed: Bed) -> None:
    script = "cat /etc/hosts /etc/resolv.conf /etc/hostname; hostname; stat -c %u /etc/hosts"
    lines = bed.output(script, hostname="box").splitlines()
    assert lines == ["127.0.0.1\tlocalhost", "nameserver 127.0.0.11", "box", "box", "0"]


def test_proc_and_sys_are_protected(bed: Bed) -> None:
    script = """
    for path in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /sys/kernel/uevent_helper; do
        if (echo x > $path) 2>/dev/null; then echo "$path is writable"; fi
    done
    test -s /proc/kcore && echo kcore
    test -s /proc/keys && echo keys
    ls /sys/firmware /proc/acpi
    true
    """
    assert bed.output(script).split() == ["/proc/acpi:", "/sys/firmware:"]


def test_the_six_devices_work(bed: Bed) -> None:
    script = """
    echo x > /dev/null && head -c 3 /dev/zero | od -An -tx1 && head -c 4 /dev/urandom | wc -c
    (echo > /dev/full) 2>/dev/null || echo full
    mknod /dev/extra c 1 3 2>/dev/null || echo refused
    """
    assert bed.output(script).split() == ["00", "00", "00", "4", "full", "refused"]


def test_working_directory_is_made(bed: Bed) -> None:
    assert bed.output("pwd; stat -c %u .", working_dir="/made/for/it").split() == [
        "/made/for/it",
        "0",
    ]


def test_environment_is_what_was_given(bed: Bed) -> None:
    text = bed.output("env | sort", env=("A=1", "EMPTY=", "PATH=/usr/bin:/bin", "BARE"))
    names = {line.partition("=")[0] for line in text.splitlines()}
    assert names - {"PWD", "_", "OLDPWD", "SHLVL"} == {
        "A",
        "EMPTY",
        "HOME",
        "HOSTNAME",
        "PATH",
    }


@pytest.mark.parametrize(
    ("argv", "code"),
    [(("no-such-program",), 127), (("/etc/hosts",), 126), (("/no/such",), 127), (("/tmp",), 126)],
)
def test_what_cannot_be_executed_is_told(bed: Bed, argv: tuple[str, ...], code: int) -> None:
    with pytest.raises(ContainerError) as caught:
        bed.start(*argv)
    assert caught.value.exit_code == code
    assert argv[0] in str(caught.value)


def test_an_unknown_user_is_told(bed: Bed) -> None:
    with pytest.raises(ContainerError, match='no user "nobody-knows"'):
        bed.start("true", user="nobody-knows")


@pytest.mark.parametrize("user", ["4294967296", "4294967295", "70000", "0:70000"])
def test_ids_out_of_range_are_refused(bed: Bed, user: str) -> None:
    with pytest.raises(ContainerError):
        bed.start("true", user=user)


def test_a_read_only_root_has_writable_tmpfs(bed: Bed) -> None:
    script = "touch /x 2>/dev/null || echo refused; touch /dev/shm/x && echo shm"
    assert bed.output(script, read_only=True).split() == ["refused", "shm"]


def test_host_ids_on_request(bed: Bed) -> None:
    container = bed.start("sleep", "1000", security=Security(userns="host"))
    assert os.readlink(f"/proc/{container.pid}/ns/user") == os.readlink("/proc/self/ns/user")
    assert container.status("Uid").split() == ["0"] * 4
    assert int(container.status("CapEff"), 16) == 0xA80425FB


def test_init_reaps_and_forwards(bed: Bed) -> None:
    script = """
    trap 'echo got; exit 3' TERM
    (sleep 0 & exec sleep 0)
    echo ready
    while :; do sleep 0.05; done
    """
    container = bed.shell(script, init=True)
    session = bed.do(bed.runtime.attach(container.record))
    while not container.log():
        bed.do(session.read())
    bed.do(bed.runtime.signal(container.record, 15))
    assert container.wait().exit_code == 3
    assert container.output().split() == ["ready", "got"]


def test_init_is_a_process_of_the_container_like_any_other(bed: Bed) -> None:
    """The same ids, rights and filters; nothing of the engine in it, so that who may look at
    it sees nothing else, and its output can be written to (`>/proc/1/fd/1`)."""
    same = ["Uid", "Gid", "Groups", "CapBnd", "CapEff", "CapPrm", "CapInh", "NoNewPrivs", "Seccomp"]
    for user, security in (
        ("", Security(cap_drop=("ALL",))),
        ("", Security(cap_drop=("NET_RAW",), no_new_privileges=True)),
        ("1234:5", Security()),
    ):
        container = bed.start("sleep", "1000", init=True, user=user, security=security)
        script = "cat /proc/1/maps >/dev/null && echo seen >/proc/1/fd/1; cat /proc/2/status"
        out, err, code = bed.runs(container, "sh", "-c", script)
        assert (err, code) == (b"", 0)
        wait_until(lambda c=container: [line.text for line in c.log()] == ["seen"])
        child = dict(line.split(":", 1) for line in out.decode().splitlines())
        assert child["Name"].strip() == "sleep"
        seen = bed.runs(container, "cat", "/proc/1/status")[0].decode()
        first = dict(line.split(":", 1) for line in seen.splitlines())
        assert {name: first[name] for name in same} == {name: child[name] for name in same}
        assert first["Seccomp"].strip() == "2"
        shown = Path(f"/proc/{container.pid}/cmdline").read_bytes()
        assert shown == b"stackctl-init\0--\0sleep\x001000\0"
        assert int(first["VmRSS"].split()[0]) < 200  # kB
        # Its file can be changed by nobody, whatever he may.
        assert bed.runs(container, "sh", "-c", "echo >/proc/1/exe")[2] != 0


def test_a_failed_network_gives_up_the_start(bed: Bed) -> None:
    async def refuse(process: object) -> None:
        raise RuntimeError("no network")

    bed._attach = refuse  # type: ignore[method-assign, assignment]
    with pytest.raises(RuntimeError, match="no network"):
        bed.start("true")
