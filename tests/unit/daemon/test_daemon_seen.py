"""What the engine remembers, and what it tells of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stackctl.daemon.inspection import inspected
from stackctl.daemon.verbs.show import container_row
from stackctl.model.container import (
    BindMount,
    ContainerConfig,
    ImageMount,
    Status,
    TmpfsMount,
    VolumeMount,
)
from stackctl.model.network import PublishedPort
from stackctl.model.record import ContainerRecord


def test_ports_that_are_only_exposed_are_listed_as_long_as_it_runs() -> None:
    expose = ("9000/tcp", "80/tcp", "81/tcp", "53/udp")
    config = ContainerConfig(name="c", image="x", image_id="", argv=("true",), expose=expose)
    port = PublishedPort(
        host_ip="0.0.0.0", host_port=8000, container_port=9000, protocol="tcp", container_id="0"
    )
    record = ContainerRecord(
        id="0" * 64, config=config, created_at=1.0, status=Status.RUNNING, ports=(port,)
    )
    row = container_row(record)
    assert row["Ports"] == "0.0.0.0:8000->9000/tcp, 53/udp, 80-81/tcp"
    assert [(p["URL"], p["TargetPort"], p["PublishedPort"]) for p in row["Publishers"]] == [
        ("0.0.0.0", 9000, 8000),
        ("", 53, 0),
        ("", 80, 0),
        ("", 81, 0),
    ]
    ended = container_row(replace(record, status=Status.EXITED, ports=()))
    assert (ended["Ports"], ended["Publishers"]) == ("", [])


def test_mounts_are_listed_by_what_is_mounted_and_labels_by_name_on_request() -> None:
    mounts = (
        BindMount(source="/srv/site", target="/a"),
        VolumeMount(volume="data", target="/b"),
        TmpfsMount(target="/c"),
        ImageMount(image="tools:1", target="/d"),
    )
    labels = {"a": "1,b=2"}
    config = ContainerConfig(
        name="c", image="x", image_id="", argv=("true",), mounts=mounts, labels=labels
    )
    record = ContainerRecord(id="0" * 64, config=config, created_at=1.0)
    row = container_row(record)
    assert (row["Mounts"], row["LocalVolumes"]) == (["/srv/site", "data", "tools:1"], 1)
    assert row["Labels"] == "a=1,b=2"
    assert "LabelMap" not in row
    assert container_row(record, labels=True)["LabelMap"] == labels


@pytest.mark.parametrize(
    ("status", "finished_at", "restarts", "seen"),
    [
        (Status.STARTING, 0.0, 0, "created"),
        (Status.STARTING, 5.0, 0, "exited"),
        (Status.STARTING, 5.0, 2, "restarting"),
        (Status.RUNNING, 5.0, 2, "running"),
        (Status.CREATED, 0.0, 0, "created"),
    ],
)
def test_what_is_being_started_has_not_started(
    status: Status, finished_at: float, restarts: int, seen: str
) -> None:
    config = ContainerConfig(name="c", image="x", image_id="", argv=("true",))
    record = ContainerRecord(
        id="0" * 64,
        config=config,
        created_at=1.0,
        status=status,
        finished_at=finished_at,
        restart_count=restarts,
    )
    assert record.seen_status == seen
    state = inspected(record, directory=Path(), log=Path(), volume_path=lambda _: "")["State"]
    assert (state["Status"], state["Running"]) == (seen, seen in ("running", "restarting"))
    row = container_row(record)
    assert row["State"] == seen
    assert row["Status"].lower().split()[0] == {"running": "up"}.get(seen, seen)
