"""The real engine keeps the promises of stackctl.testing.contract, as the one in memory does."""

from __future__ import annotations

import asyncio

import pytest

from stackctl.daemon.projects import Projects
from stackctl.daemon.service import Service, build
from stackctl.scheduler.desired import Observed
from stackctl.scheduler.executor import execute
from stackctl.scheduler.plan import DownPolicy, down_plan
from stackctl.state.directories import prepare
from stackctl.state.paths import Paths
from stackctl.testing.contract import PROMISES

IMAGE = "stackctl/host"


class RealBench:
    """A daemon's engine, without a daemon."""

    def __init__(self, service: Service, image_id: str) -> None:
        self.engine = service.engine
        self.image_id = image_id
        self._projects = Projects(service.parts)

    async def observe(self) -> Observed:
        return self._projects.observe("p", [IMAGE])


@pytest.mark.needs("root", "netns", "overlay", "idmap")
@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_the_real_engine_keeps_its_promise(promise, engine_dirs: Paths):
    async def scenario() -> None:
        prepare(engine_dirs)
        service = await build(engine_dirs, {})
        try:
            image = await service.parts.images.resolve(IMAGE)
            bench = RealBench(service, image.id)
            try:
                await promise(bench)
            finally:
                policy = DownPolicy(volumes=True, timeout=0)
                await execute(down_plan(await bench.observe(), policy), bench.engine)
        finally:
            await service.close()

    asyncio.run(scenario())
