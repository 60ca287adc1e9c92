"""How long one container takes inside the engine: python tests/bench/start_latency.py.

From asking for it to its program's exec, with a network of its own: created and started one
after the other, in a stack (whose shim is there) and alone (whose shim is the spare one).
Milliseconds, median, best and nine of ten.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from stackctl.daemon.service import Service, build
from stackctl.model.container import ContainerConfig, NetworkAttachment
from stackctl.model.network import NetworkConfig
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


async def one(service: Service, wanted: ContainerConfig) -> float:
    began = time.perf_counter()
    await service.engine.perform(CreateContainer(config=wanted))
    await service.engine.perform(StartContainer(name=wanted.name))
    return time.perf_counter() - began


async def measured(service: Service, image_id: str, project: str) -> list[float]:
    taken = []
    for number in range(1, RUNS + 1):
        wanted = config(number, image_id, project)
        taken.append(await one(service, wanted))
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
        for what, project in (("in a stack", "latency"), ("alone", "")):
            taken = sorted(1000 * seconds for seconds in await measured(service, image.id, project))
            median, best, ninth = statistics.median(taken), taken[0], taken[len(taken) * 9 // 10]
            print(f"{what:12} median {median:.1f}  best {best:.1f}  90 % {ninth:.1f} ms")
        await service.engine.perform(RemoveNetwork(name=NETWORK))
    finally:
        await service.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as directory:
        asyncio.run(main(Path(directory)))
