"""A runtime without an engine around it: starts containers straight from a ContainerConfig."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from stackctl.image.service import Images
from stackctl.model.container import ContainerConfig
from stackctl.model.record import ContainerRecord, ProcessRef
from stackctl.runtime.bundle import Partner
from stackctl.runtime.container import ExecRequest, ExitInfo, Runtime, Session, StartRequest
from stackctl.runtime.logfile import LogLine, read
from stackctl.runtime.shims import ShimProgram
from stackctl.state.paths import Paths
from support.engine import Engine
from support.waiting import wait_until

T = TypeVar("T")

#: Seconds that anything here may take before the test fails.
LIMIT = 20.0
#: Far from what an engine of this machine would hand out.
FIRST_ID = 1 << 30


class Container:
    """A container of the bed; `record` as the engine would keep it."""

    def __init__(self, bed: Bed, record: ContainerRecord) -> None:
        self._bed = bed
        self.record = record
        self.exit: asyncio.Future[ExitInfo] = bed.loop.create_future()

    @property
    def pid(self) -> int:
        assert self.record.process is not None
        return self.record.process.pid

    def wait(self) -> ExitInfo:
        return self._bed.do(asyncio.wait_for(asyncio.shield(self.exit), LIMIT))

    @property
    def log_path(self) -> Path:
        return self._bed.paths.container_log(self.record.id)

    def log(self) -> list[LogLine]:
        return list(read(self._bed.paths, self.record.id))

    def output(self, stream: str = "stdout") -> str:
        """Everything it wrote to one stream, once it has ended."""
        self.wait()
        return "\n".join(line.text for line in self.log() if line.stream == stream)

    def status(self, name: str) -> str:
        """A field of /proc/PID/status of its first process."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return line.partition(":")[2].strip()
        raise KeyError(name)


class Bed:
    """One runtime on `paths`, with an event loop of its own; `do` runs a coroutine on it."""

    def __init__(self, paths: Paths, program: ShimProgram | None = None) -> None:
        self.paths = paths
        self.program = program
        self.notices: list[str] = []
        self.loop = asyncio.new_event_loop()
        self.images = Images(paths)
        self.containers: dict[str, Container] = {}
        self.attached: list[ProcessRef] = []
        self._next_id = FIRST_ID + 65536 * 256 * (os.getpid() % 64)
        self.runtime = self._new_runtime()
        self.do(self.runtime.open())

    def _new_runtime(self) -> Runtime:
        return Runtime(
            self.paths,
            on_exit=self._exited,
            on_notice=lambda container_id, text: self.notices.append(text),
            program=self.program,
        )

    def _exited(self, info: ExitInfo) -> None:
        container = self.containers.get(info.container_id)
        if container is not None and not container.exit.done():
            container.exit.set_result(info)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(work, LIMIT))

    def spare(self, engine: Engine) -> int:
        """The spare shim's pid, when there is one (again): the loop has to turn for that."""

        def look() -> list[int]:
            self.do(asyncio.sleep(0))
            return engine.spare_pids()

        return wait_until(look)[0]

    def create(self, *argv: str, **config: Any) -> Container:
        """A container that was not started yet."""
        values: dict[str, Any] = {"project": "bed", "image": "stackctl/host", "image_id": ""}
        values.update(config, argv=argv)
        container_id = os.urandom(32).hex()
        record = ContainerRecord(
            id=container_id,
            config=ContainerConfig(name=f"c{len(self.containers)}", **values),
            created_at=time.time(),
            id_base=self._next_id,
        )
        self._next_id += 65536
        container = self.containers[container_id] = Container(self, record)
        return container

    def start(
        self, *argv: str, volumes: Mapping[str, str] | None = None, **config: Any
    ) -> Container:
        container = self.create(*argv, **config)
        self.do(self.begin(container, volumes))
        return container

    async def begin(
        self,
        container: Container,
        volumes: Mapping[str, str] | None = None,
        partners: Mapping[str, Partner] | None = None,
    ) -> None:
        record = container.record
        image = await self.images.resolve("stackctl/host")
        request = StartRequest(
            record=record,
            snapshot=await self.images.prepare(record.id, image.id),
            volumes=volumes or {},
            partners=partners or {},
            hosts="127.0.0.1\tlocalhost\n",
            resolv_conf="nameserver 127.0.0.11\n",
            hostname=record.config.hostname or record.id[:12],
        )
        process = await self.runtime.start(request, self._attach)
        container.record = replace(record, process=process)

    async def _attach(self, process: ProcessRef) -> None:
        self.attached.append(process)

    def shell(self, script: str, **config: Any) -> Container:
        return self.start("/bin/sh", "-c", script, **config)

    def output(self, script: str, **config: Any) -> str:
        """What a shell script writes to stdout in a container of its own."""
        container = self.shell(script, **config)
        text = container.output()
        errors = container.output("stderr")
        assert not errors, errors
        return text

    def exec(self, container: Container, *argv: str, **request: Any) -> Session:
        wanted = ExecRequest(argv=argv, **request)
        return self.do(self.runtime.exec(container.record, wanted))

    def collect(self, session: Session) -> tuple[bytes, bytes, int]:
        """All output of a session by stream, and its exit code."""

        async def work() -> tuple[bytes, bytes, int]:
            found = {1: b"", 2: b""}
            while (piece := await session.read()) is not None:
                found[piece[0]] += piece[1]
            code = await session.wait()
            await session.close()
            return found[1], found[2], code

        return self.do(work())

    def runs(self, container: Container, *argv: str, **request: Any) -> tuple[bytes, bytes, int]:
        return self.collect(self.exec(container, *argv, **request))

    def restart(self) -> dict[str, Any]:
        """The engine goes and comes back: what the next one finds."""
        self.do(self.runtime.close())
        return self.come_back()

    def come_back(self) -> dict[str, Any]:
        self.runtime = self._new_runtime()
        self.do(self.runtime.open())
        return self.do(self.runtime.adopt([c.record for c in self.containers.values()]))

    def close(self) -> None:
        """End and forget everything; the shims leave."""

        async def work() -> None:
            for container in self.containers.values():
                if container.record.process is not None:
                    await self.runtime.kill(container.record)
                await self.runtime.forget(container.record)
                await self.images.release(container.record.id)
            await self.runtime.close_stack("bed")
            await self.runtime.close()

        try:
            self.do(work())
            self.runtime.cgroups.remove_engine_group(self.paths.cgroup)
        finally:
            self.loop.close()
