"""Devices, sysctls, groups, and namespaces that are shared with the host or a container."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stackctl.errors import ContainerError, UsageError
from stackctl.model.container import Device, Logging, Security
from stackctl.runtime.bundle import Partner
from stackctl.state.paths import Paths
from support.runtime_bed import Bed, Container
from support.waiting import wait_until

pytestmark = pytest.mark.needs("root", "userns", "overlay", "cgroup")


@pytest.fixture
def bed(engine_dirs: Paths) -> Iterator[Bed]:
    bed = Bed(engine_dirs)
    yield bed
    bed.close()


def namespace(pid: int | str, kind: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{kind}")


@pytest.mark.parametrize("kind", ["ipc", "pid", "uts"])
def test_a_namespace_of_the_host(bed: Bed, kind: str) -> None:
    container = bed.start("sleep", "1000", **{kind: "host"})
    assert namespace(container.pid, kind) == namespace("self", kind)
    assert namespace(container.pid, "user") != namespace("self", "user")
    assert bed.runs(container, "true")[2] == 0


def share(bed: Bed, first: Container, *argv: str, **config: str) -> Container:
    process = first.record.process
    assert process is not None
    container = bed.create(*argv, **config)
    partner = Partner(process=process, id_base=first.record.id_base)
    partners = dict.fromkeys(("network" if k == "network_mode" else k for k in config), partner)
    bed.do(bed.begin(container, partners=partners))
    return container


def test_namespaces_of_another_container(bed: Bed) -> None:
    first = bed.shell("echo there > /dev/shm/note; exec sleep 1000")
    words = dict.fromkeys(("ipc", "pid", "uts", "network_mode"), "service:first")
    second = share(bed, first, "sleep", "1000", **words)
    for kind in ("ipc", "pid", "uts", "net", "user"):
        assert namespace(second.pid, kind) == namespace(first.pid, kind), kind
    for kind in ("mnt", "cgroup"):
        assert namespace(second.pid, kind) != namespace(first.pid, kind), kind
    out, err, code = bed.runs(second, "sh", "-c", "cat /dev/shm/note; cat /proc/1/comm; id -u")
    assert (out.split(), err, code) == ([b"there", b"sleep", b"0"], b"", 0)


def test_what_shares_pids_ends_completely_and_alone(bed: Bed) -> None:
    first = bed.start("sleep", "1000")
    second = share(bed, first, "sh", "-c", "sleep 999 & exec sleep 1000", pid="service:first")
    wait_until(lambda: len(bed.do(bed.runtime.processes(second.record))) == 2)
    bed.do(bed.runtime.kill(second.record))
    assert second.wait().exit_code == 137
    wait_until(lambda: not bed.do(bed.runtime.processes(second.record)))
    assert Path(f"/proc/{first.pid}/comm").read_text() == "sleep\n"
    assert not first.exit.done()


def test_whose_process_is_another_one_by_now_is_not_joined(bed: Bed) -> None:
    first = bed.start("sleep", "1000")
    process = first.record.process
    assert process is not None
    first.record = replace(first.record, process=replace(process, start_time=1))
    with pytest.raises(ContainerError, match="has ended"):
        share(bed, first, "true", ipc="service:first")


def test_a_device_can_be_used_and_others_cannot(bed: Bed) -> None:
    device = Device(source="/dev/full", target="/dev/mine", permissions="r")
    container = bed.shell(
        "stat -c '%t:%T %u' /dev/mine; head -c 1 /dev/mine | wc -c; cat /dev/kmsg",
        devices=(device,),
    )
    assert container.output().split() == ["1:7", "0", "1"]
    assert "/dev/kmsg" in container.output("stderr")


def test_what_is_no_device_is_refused(bed: Bed) -> None:
    with pytest.raises(ContainerError, match="is no device"):
        bed.start("true", devices=(Device(source="/etc/passwd", target="/dev/x"),))


def test_privileged_has_the_hosts_devices(bed: Bed) -> None:
    found = bed.output("ls /dev", security=Security(privileged=True)).split()
    assert {"null", "kmsg", "pts", "shm"} <= set(found)


def test_sysctls_of_its_own_namespaces(bed: Bed) -> None:
    wanted = {"kernel.shmmax": "123456", "net.ipv4.ip_forward": "1"}
    before = Path("/proc/sys/kernel/shmmax").read_text()
    script = "cat /proc/sys/kernel/shmmax /proc/sys/net/ipv4/ip_forward"
    assert bed.output(script, sysctls=wanted).split() == ["123456", "1"]
    assert Path("/proc/sys/kernel/shmmax").read_text() == before


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("kernel.core_pattern", {}),
        ("vm.swappiness", {}),
        ("net.ipv4.ip_forward", {"network_mode": "host"}),
        ("kernel.shmmax", {"ipc": "host"}),
        ("net.../../kernel/core_pattern", {}),
    ],
)
def test_sysctls_of_the_machine_are_refused(bed: Bed, name: str, config: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="sysctl"):
        bed.start("true", sysctls={name: "1"}, **config)


def test_further_groups_at_start_and_in_exec(bed: Bed) -> None:
    container = bed.start("sleep", "1000", group_add=("4242", "staff"), user="33")
    out, _, _ = bed.runs(container, "id", "-G")
    assert set(out.split()) == {b"33", b"4242", b"50"}
    assert set(container.status("Groups").split()) == {
        str(container.record.id_base + group) for group in (4242, 50)
    }


def test_a_log_has_the_size_that_was_asked_for(bed: Bed) -> None:
    logging = Logging(max_size=20_000, max_file=2)
    container = bed.shell("yes line | head -n 5000", logging=logging)
    container.wait()
    logs = sorted(container.log_path.parent.glob("log.json*"))
    assert [path.name for path in logs] == ["log.json", "log.json.1"]


def test_no_log_on_request(bed: Bed) -> None:
    container = bed.shell("echo something", logging=Logging(driver="none"))
    assert container.wait().exit_code == 0
    assert not container.log_path.exists()
