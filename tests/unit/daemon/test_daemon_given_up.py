"""A start that nobody wants any more leaves the container as it was."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from stackctl.daemon.containers import Containers
from stackctl.daemon.events import Events
from stackctl.daemon.parts import Machine, Parts
from stackctl.daemon.registry import Registry
from stackctl.model.container import ContainerConfig, Status
from stackctl.model.record import ContainerRecord
from stackctl.state.paths import Paths
from stackctl.state.records import Store


class Nobody:
    """In place of who watches containers."""

    def ending(self, container_id: str) -> None: ...


class Never(Containers):
    """Containers whose starts go on for ever."""

    async def _run(self, record: ContainerRecord, size: tuple[int, int] | None) -> ContainerRecord:
        await asyncio.Event().wait()
        return record


@pytest.mark.parametrize(
    "before",
    [
        {"status": Status.CREATED},
        {"status": Status.EXITED, "exit_code": 3, "error": "why", "finished_at": 2.0},
        {"status": Status.EXITED, "exit_code": 137, "oom_killed": True, "stopped_by_user": True},
        {"status": Status.RESTARTING, "exit_code": 1, "restart_count": 2},
    ],
)
def test_a_start_that_is_given_up_changes_nothing(tmp_path: Path, before: dict[str, Any]) -> None:
    paths, none = Paths(tmp_path / "root", tmp_path / "run"), cast(Any, None)
    registry = Registry(Store.open(paths))
    parts = Parts(
        paths=paths,
        registry=registry,
        runtime=none,
        net=none,
        images=none,
        volumes=none,
        events=Events(),
        machine=Machine(boot_id="boot", resolver_lines=(), publish_address=""),
    )
    config = ContainerConfig(name="one", image="i", image_id="sha256:0", argv=("x",))
    record = ContainerRecord(id="1" * 64, config=config, created_at=1.0, **before)
    registry.put(record)

    async def scenario() -> None:
        starting = asyncio.create_task(Never(parts, cast(Any, Nobody())).start(record.id))
        await registry.wait(record.id, lambda r: r is not None and r.status is Status.STARTING)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting

    asyncio.run(scenario())
    # Nobody is about to restart it any more, either.
    wanted = Status.EXITED if record.status is Status.RESTARTING else record.status
    assert registry.get(record.id) == replace(record, boot_id="boot", status=wanted)
