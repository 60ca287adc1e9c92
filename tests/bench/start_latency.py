"""How long one container takes inside the engine: python tests/bench/start_latency.py.

From asking for it to its program's exec, as the engine hears of it, with a network of its own:
created and started one after the other, in a stack (whose shim is there) and alone (whose shim
is the spare one). "Recorded" is until its record says that it runs. Milliseconds, median, best
and nine of ten.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from stackctl.daemon.service import Service, build
from stackctl.model.container import ContainerConfig, NetworkAttachment
from stackctl.model.network import NetworkConfig
from stackctl.model.record import ProcessRef
from stackctl.scheduler.ops import (
    CreateContainer,
    CreateNetwork,
    RemoveContainer,
    RemoveNetwork,
    StartContainer,
    StopContainer,
)
from stackctl.state.directories import prepare
from stackctl.state.paths import Paths

IMAGE = "stackctl/host"
NETWORK = "latency"
RUNS = 40
#: Seconds between two: an engine at rest, with its spare shim in place.
PAUSE = 0.2


def config(number: int, image_id: str, project: str) -> ContainerConfig:
    return ContainerConfig(
        name=f"latency-{number}",
        image=IMAGE,
        image_id=image_id,
        argv=("busybox", "sleep", "3600"),
        networks=(NetworkAttachment(network=NETWORK),),
        project=project,
        service="s" if project else "",
        number=number if project else 0,
    )


class Clock:
    """Notes when the runtime hears of an exec."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._start = service.parts.runtime.start
        service.parts.runtime.start = self._noted  # type: ignore[method-assign]
        self._executed = 0.0

    async def _noted(self, *arguments: Any) -> ProcessRef:
        process = await self._start(*arguments)
        self._executed = time.perf_counter()
        return process

    async def one(self, wanted: ContainerConfig) -> tuple[float, float]:
        """Seconds until the exec, and until it is recorded."""
        began = time.perf_counter()
        await self._service.engine.perform(CreateContainer(config=wanted))
        await self._service.engine.perform(StartContainer(name=wanted.name))
        return self._executed - began, time.perf_counter() - began


async def measured(
    service: Service, clock: Clock, image_id: str, project: str
) -> list[tuple[float, float]]:
    taken = []
    for number in range(1, RUNS + 1):
        taken.append(await clock.one(config(number, image_id, project)))
        await asyncio.sleep(PAUSE)
    for record in service.parts.registry.all():
        await service.engine.perform(StopContainer(id=record.id, name=record.name, timeout=0.0))
        await service.engine.perform(RemoveContainer(id=record.id, name=record.name))
    return taken


async def main(root: Path) -> None:
    paths = Paths(root / "root", root / "run")
    prepare(paths)
    service = await build(paths, {})
    try:
        image = await service.parts.images.resolve(IMAGE)
        await service.engine.perform(CreateNetwork(network=NetworkConfig(name=NETWORK)))
        clock = Clock(service)
        for where, project in (("in a stack", "latency"), ("alone", "")):
            pairs = await measured(service, clock, image.id, project)
            for what, column in (("executed", 0), ("recorded", 1)):
                taken = sorted(1000 * pair[column] for pair in pairs)
                median, ninth = statistics.median(taken), taken[len(taken) * 9 // 10]
                title = f"{where}, {what}"
                print(f"{title:22} median {median:.1f}  best {taken[0]:.1f}  90 % {ninth:.1f} ms")
        await service.engine.perform(RemoveNetwork(name=NETWORK))
    finally:
        await service.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as directory:
        asyncio.run(main(Path(directory)))
