"""The engine in memory keeps the promises of every engine."""

from __future__ import annotations

import asyncio

import pytest

from stackctl.scheduler.desired import Observed
from stackctl.testing.contract import PROMISES
from stackctl.testing.engine import MemoryEngine


class MemoryBench:
    image_id = "sha256:memory"

    def __init__(self) -> None:
        self.engine = MemoryEngine()

    async def observe(self) -> Observed:
        return self.engine.observed("p")


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_the_engine_in_memory_keeps_its_promise(promise):
    asyncio.run(promise(MemoryBench()))
