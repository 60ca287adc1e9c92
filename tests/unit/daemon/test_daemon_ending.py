"""What a user ends in the moment in which it starts, ends by itself or is about to come back."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from stackctl.daemon.containers import Containers
from stackctl.daemon.events import Events
from stackctl.daemon.parts import Machine, Parts
from stackctl.daemon.registry import Registry
from stackctl.daemon.supervisor import Supervisor
from stackctl.errors import Conflict
from stackctl.model.container import ContainerConfig, RestartMode, RestartPolicy, Status
from stackctl.model.network import PublishedPort
from stackctl.model.record import ContainerRecord, ProcessRef
from stackctl.runtime.container import ExitInfo
from stackctl.state.paths import Paths
from stackctl.state.records import Store

PORT = PublishedPort(
    container_id="c", protocol="tcp", container_port=80, host_ip="0.0.0.0", host_port=8080
)


class Kernel:
    """In place of runtime and network: processes that end when they are told to, or before."""

    def __init__(self) -> None:
        self.is_gone = False
        self.sent: list[int] = []
        self.freed: list[PublishedPort] = []
        #: Held by a test: what an end takes its time for.
        self.leaving = asyncio.Event()
        self.leaving.set()
        self.starting = asyncio.Event()
        self.starting.set()
        self.on_kill: Any = None

    async def signal(self, record: ContainerRecord, signum: int) -> None:
        if self.is_gone:
            raise Conflict("is not running")
        self.sent.append(signum)

    async def kill(self, record: ContainerRecord) -> None:
        if not self.is_gone:
            self.sent.append(signal.SIGKILL)
            self.on_kill()

    async def kill_group(self, record: ContainerRecord) -> None: ...

    async def forget(self, record: ContainerRecord) -> None: ...

    async def close_stack(self, project: str) -> None: ...

    def is_in_vain(self, record: ContainerRecord, signum: int, grace: float) -> bool:
        return False

    async def leave(self, container_id: str, ports: object) -> None:
        await self.leaving.wait()

    async def unpublish(self, ports: tuple[PublishedPort, ...]) -> None:
        await asyncio.sleep(0)
        self.freed += ports


class Started(Containers):
    """Its processes start when a test lets them."""

    kernel: Kernel

    async def _run(self, record: ContainerRecord, size: object) -> ContainerRecord:
        await self.kernel.starting.wait()
        process = ProcessRef(pid=1, start_time=1)
        return self._registry.put(replace(record, status=Status.RUNNING, process=process))


class Scene:
    """One container that its policy always brings back."""

    def __init__(self, paths: Paths) -> None:
        self.kernel = Kernel()
        self.registry = Registry(Store.open(paths))
        kernel = cast(Any, self.kernel)
        none: Any = None
        parts = Parts(
            paths=paths,
            registry=self.registry,
            runtime=kernel,
            net=kernel,
            images=none,
            volumes=none,
            events=Events(),
            machine=Machine(boot_id="boot", resolver_lines=(), publish_address=""),
        )
        self.supervisor = Supervisor()
        self.containers = Started(parts, self.supervisor)
        self.containers.kernel = self.kernel
        self.supervisor.connect(parts, self.containers)
        self.kernel.on_kill = self.ends

    def has(self, status: Status) -> None:
        config = ContainerConfig(
            name="one",
            image="i",
            image_id="sha256:0",
            argv=("x",),
            restart=RestartPolicy(mode=RestartMode.ALWAYS),
        )
        process = ProcessRef(pid=1, start_time=1) if status.is_alive else None
        self.registry.put(
            ContainerRecord(
                id="c",
                config=config,
                created_at=1.0,
                started_at=1.0,
                status=status,
                process=process,
                ports=(PORT,),
            )
        )

    def ends(self) -> None:
        """Its process has ended; the engine is told."""
        self.kernel.is_gone = True
        self.supervisor.exited(ExitInfo(container_id="c", exit_code=0, finished_at=2.0))

    async def rests(self) -> None:
        """Asserts that it has ended for good, and that its ports are free."""
        while self.supervisor._tasks:
            await asyncio.gather(*self.supervisor._tasks)
        record = self.registry.get("c")
        assert record.status is Status.EXITED
        assert record.stopped_by_user
        assert not self.supervisor._restarts
        assert not record.ports
        assert self.kernel.freed == [PORT]


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[Paths]:
    yield Paths(tmp_path / "root", tmp_path / "run")


async def _end(it: Scene, how: str) -> None:
    match how:
        case "stop":
            await it.containers.stop("c", 5.0)
        case "kill":
            await it.containers.kill("c")
        case _:
            await it.containers.kill("c", signal.SIGTERM)


@pytest.mark.parametrize("how", ["stop", "kill", "kill -s TERM"])
def test_one_whose_process_has_just_ended_by_itself_stays_so(paths: Paths, how: str) -> None:
    async def scenario() -> None:
        it = Scene(paths)
        it.has(Status.RUNNING)
        it.kernel.is_gone = True
        ended = asyncio.create_task(_end(it, how))
        await asyncio.sleep(0)
        it.ends()  # the engine hears of it a moment later
        await ended
        await it.rests()
        assert not it.kernel.sent

    asyncio.run(scenario())


@pytest.mark.parametrize("how", ["stop", "kill", "kill -s TERM"])
def test_one_whose_end_is_being_recorded_does_not_come_back(paths: Paths, how: str) -> None:
    async def scenario() -> None:
        it = Scene(paths)
        it.has(Status.RUNNING)
        it.kernel.leaving.clear()
        it.ends()
        await asyncio.sleep(0)
        assert it.registry.get("c").status is Status.RUNNING
        ended = asyncio.create_task(_end(it, how))
        await asyncio.sleep(0)
        it.kernel.leaving.set()
        await ended
        await it.rests()

    asyncio.run(scenario())


@pytest.mark.parametrize("how", ["stop", "kill", "kill -s TERM"])
def test_one_that_is_about_to_come_back_does_not(paths: Paths, how: str) -> None:
    async def scenario() -> None:
        it = Scene(paths)
        it.has(Status.RESTARTING)
        # Its restart has begun already, and waits for its turn.
        async with it.containers.lock("c"):
            ended = asyncio.create_task(_end(it, how))
            await asyncio.sleep(0)
            restart = asyncio.create_task(it.containers.start("c", by_policy=True))
            await asyncio.sleep(0)
        await asyncio.gather(ended, restart)
        await it.rests()
        assert it.registry.get("c").restart_count == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("how", ["stop", "kill"])
@pytest.mark.parametrize("by_policy", [True, False])
def test_one_that_is_being_started_is_ended_once_it_runs(
    paths: Paths, how: str, by_policy: bool
) -> None:
    async def scenario() -> None:
        it = Scene(paths)
        it.has(Status.RESTARTING)
        it.kernel.starting.clear()
        starting = asyncio.create_task(it.containers.start("c", by_policy=by_policy))
        await asyncio.sleep(0)
        assert it.registry.get("c").status is Status.STARTING
        ended = asyncio.create_task(_end(it, how))
        await asyncio.sleep(0)
        assert not ended.done()
        it.kernel.starting.set()
        await starting
        while not it.kernel.sent:
            await asyncio.sleep(0)
        if how == "stop":
            it.ends()
        await ended
        await it.rests()
        assert it.registry.get("c").restart_count == int(by_policy)

    asyncio.run(scenario())


def test_what_does_not_end_it_leaves_its_restart_alone(paths: Paths) -> None:
    async def scenario() -> None:
        it = Scene(paths)
        it.has(Status.RESTARTING)
        await it.containers.kill("c", signal.SIGUSR1)
        assert it.registry.get("c").status is Status.RESTARTING
        it.has(Status.EXITED)
        for signum in (signal.SIGUSR1, signal.SIGKILL):
            with pytest.raises(Conflict, match="not running"):
                await it.containers.kill("c", signum)

    asyncio.run(scenario())
