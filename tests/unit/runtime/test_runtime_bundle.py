"""The bundle and its list of mounts: pure data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stackctl.errors import ContainerError
from stackctl.linux.mount import MOUNT_ATTR_RDONLY
from stackctl.linux.process import CLONE_NEWNET
from stackctl.model.container import (
    BindMount,
    ContainerConfig,
    Security,
    TmpfsMount,
    VolumeMount,
)
from stackctl.model.image import DirectoryMount, OverlayMount, Snapshot
from stackctl.model.record import ContainerRecord
from stackctl.runtime.bundle import StartRequest, bundle, shim_name
from stackctl.runtime.rootfs import (
    Bind,
    Directory,
    FileSystem,
    Mask,
    Overlay,
    ReadOnly,
    Volume,
    rootfs,
)
from stackctl.runtime.shim import protocol
from stackctl.state.paths import Paths

SNAPSHOT = Snapshot(
    mounts=(
        OverlayMount(target="/", lower=("/l2", "/l1"), upper="/rw/upper", work="/rw/work"),
        DirectoryMount(target="/usr", source="/usr"),
    )
)


@dataclass(frozen=True)
class Plan:
    dirs: tuple[str, ...] = ("/cg/a",)
    writes: tuple[tuple[str, str], ...] = (("/cg/a/pids.max", "5"),)
    procs: tuple[str, ...] = ("/cg/a/tasks",)
    into: str = ""
    devices: bytes = b""
    version: int = 1
    hierarchies: tuple[tuple[str, tuple[str, ...]], ...] = (("pids", ("pids",)),)


def config(**values: Any) -> ContainerConfig:
    return ContainerConfig(name="c", image="i", image_id="i", **{"argv": ("true",), **values})


def lowered(**values: Any) -> dict[str, Any]:
    record = ContainerRecord(
        id="ab" * 32, config=config(**values), created_at=0.0, id_base=1_000_000
    )
    request = StartRequest(record=record, snapshot=SNAPSHOT, hosts="h", volumes={"v": "/vol"})
    return bundle(request, Paths(Path("/root"), Path("/run")), Plan(), 7, b"filter")


def mounts(**values: Any) -> tuple[Any, ...]:
    return rootfs(
        SNAPSHOT,
        config(**values),
        volumes={"v": "/vol"},
        generated={"/etc/hosts": "/g/hosts"},
    )


def test_a_bundle_travels_as_it_is() -> None:
    made = lowered()
    assert protocol.decode(protocol.encode(made)) == {
        **made,
        "mounts": protocol.decode(protocol.encode({"m": made["mounts"]}))["m"],
    }


def test_ids_are_mapped_unless_the_hosts_are_wanted() -> None:
    assert lowered()["userns"] == ["0 1000000 65536\n"] * 2
    assert lowered()["id_base"] == 1_000_000
    for security in (Security(userns="host"), Security(privileged=True)):
        assert lowered(security=security)["userns"] is None
        assert lowered(security=security)["id_base"] == 0


def test_host_network_has_no_namespace_of_its_own() -> None:
    assert lowered()["namespaces"] & CLONE_NEWNET
    assert not lowered(network_mode="host")["namespaces"] & CLONE_NEWNET


def test_no_command_is_an_error() -> None:
    with pytest.raises(ContainerError, match="no command"):
        lowered(argv=())


def test_the_root_comes_first_and_protections_last() -> None:
    made = mounts()
    assert made[0] == Overlay(target="/", lower=("/l2", "/l1"), upper="/rw/upper", work="/rw/work")
    assert made[1] == Directory(target="/usr", source="/usr")
    kinds = [type(m) for m in made]
    first = min(kinds.index(Mask), kinds.index(ReadOnly))
    assert set(kinds[first:]) == {Mask, ReadOnly}
    targets = {m.target for m in made[first:]}
    assert {"/proc/kcore", "/proc/keys", "/proc/sys", "/sys/firmware"} <= targets


def test_privileged_is_not_protected() -> None:
    made = mounts(security=Security(privileged=True))
    assert not [m for m in made if isinstance(m, Mask | ReadOnly)]
    (sys,) = (m for m in made if m.target == "/sys")
    assert not sys.attributes & MOUNT_ATTR_RDONLY


def test_sys_with_the_hosts_network_is_bound() -> None:
    (sys,) = (m for m in mounts(network_mode="host") if m.target == "/sys")
    assert sys == Bind(target="/sys", source="/sys", read_only=True, plain=True)
    (own,) = (m for m in mounts() if m.target == "/sys")
    assert isinstance(own, FileSystem)


def test_shallow_targets_are_mounted_first() -> None:
    made = mounts(
        mounts=(
            VolumeMount(volume="v", target="/a/b/c"),
            TmpfsMount(target="/a"),
            BindMount(source="/s", target="/a/b/"),
        )
    )
    order = [m.target for m in made if m.target.startswith("/a")]
    assert order == ["/a", "/a/b/", "/a/b/c"]


def test_a_subpath_is_not_filled() -> None:
    made = mounts(mounts=(VolumeMount(volume="v", target="/d", subpath="x"),))
    (volume,) = (m for m in made if isinstance(m, Volume))
    assert not volume.copy
    with pytest.raises(ContainerError):
        mounts(mounts=(VolumeMount(volume="other", target="/d"),))


def test_a_single_container_has_a_shim_of_its_own() -> None:
    record = ContainerRecord(id="ab" * 32, config=config(), created_at=0.0)
    assert shim_name(record) == record.id
    stack = ContainerRecord(id="cd" * 32, config=config(project="p"), created_at=0.0)
    assert shim_name(stack) == "p"
