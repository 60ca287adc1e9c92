"""Many cycles of up and down: the machine and the engine are afterwards as they were before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support import census
from support.engine import Engine
from support.stack import Stack, free_port
from support.waiting import wait_until

THREE = """\
services:
  db:
    image: stackctl/host
    command: sleep infinity
    init: true
    volumes: ["data:/var/lib/data"]
    healthcheck: {test: [CMD, "true"], interval: 1s}
  app:
    image: stackctl/host
    command: sleep infinity
    init: true
    depends_on: {db: {condition: service_healthy}}
  web:
    image: stackctl/host
    command: sleep infinity
    init: true
    depends_on: [app]
    ports: ["${PORT}:80"]
volumes:
  data:
"""


def descriptors(engine: Engine) -> dict[str, int]:
    """Open descriptors of the processes that live as long as the engine does."""
    return {
        "daemon": sum(map(census.descriptors, engine.daemon_pids())),
        "keeper": sum(map(census.descriptors, engine.keeper_pids())),
    }


def settled(engine: Engine) -> census.Census:
    """Without the images: the machine's own /etc may change meanwhile, and the image with it."""
    now = engine.census()
    kept = (path for path in now.files if not path.startswith("root/images/"))
    return replace(now, files=frozenset(kept))


def as_counts(engine: Engine) -> dict[str, int]:
    return {**settled(engine).counts(), **descriptors(engine)}


@pytest.mark.timeout(900)
@pytest.mark.needs("root", "netns", "userns", "overlay", "cgroup", "nft", "bridge")
def test_cycles_of_up_and_down_leave_the_counts_flat(
    stack: Stack, request: pytest.FixtureRequest
) -> None:
    stack.write(THREE)
    stack.env["PORT"] = str(free_port())
    engine = stack.engine
    # The first cycles warm caches, threads and files that stay for the engine's life.
    for _ in range(2):
        stack.up()
        stack.ok("down", "-v", "-t", "1")
    before = settled(engine)
    counts = as_counts(engine)
    objects = census.namespace_objects()
    cycles = request.config.getoption("--cycles")
    for _ in range(cycles):
        stack.up()
        stack.ok("down", "-v", "-t", "1")
    # Pids differ when a process was replaced: counts are compared, texts explain.
    wait_until(
        lambda: as_counts(engine) == counts,
        20,
        what=lambda: (
            f"{counts}, but {as_counts(engine)}:\n" + census.difference(before, settled(engine))
        ),
    )
    after = census.namespace_objects()
    # What no process holds. These counts lag and are the whole machine's, other tests
    # included; a leak would be three for each cycle.
    grown = {kind: after[kind] - objects[kind] for kind in objects}
    assert all(growth < max(50, cycles) for growth in grown.values()), grown
