"""The daemon is killed at every so many of its steps, from its first to the end of `down`.

The next one converges: `up` brings the stack, `down` leaves nothing.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import stackctl
from support.failpoints import killed_at
from support.stack import Stack, assert_nothing_of_a_stack
from support.waiting import wait_until

pytestmark = pytest.mark.needs("root", "netns", "userns", "overlay", "cgroup", "nft", "bridge")

STACK = """\
services:
  a:
    image: stackctl/host
    command: sleep infinity
    init: true
    volumes: ["data:/data"]
volumes:
  data: {}
"""
ENTRY = "from stackctl.api.serve import main; sys.exit(main([]))"


@contextlib.contextmanager
def mortal_daemon(stack: Stack, step: int, mark: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon that dies at its n-th step."""
    package = Path(stackctl.__file__).parents[1]
    start = f"import sys; sys.path.insert(0, {str(package)!r}); " + ENTRY
    program = killed_at(step, mark, start)
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env=stack.engine.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as daemon:
        try:
            wait_until(lambda: daemon.poll() is not None or stack.engine.paths.socket.exists())
            yield daemon
        finally:
            daemon.kill()


def test_a_daemon_killed_at_any_step(stack: Stack, request: pytest.FixtureRequest) -> None:
    stride = max(1, 8000 // int(request.config.getoption("--cycles")))
    stack.write(STACK)
    step, rounds = 3, 0
    while True:
        mark = stack.engine.home / f"killed-{step}"
        with mortal_daemon(stack, step, mark):
            stack.run("up", "-d")
            stack.run("down", "-v", "-t", "0")
        stack.up()
        assert stack.states() == {"app-a-1": "running"}
        stack.down()
        assert_nothing_of_a_stack(stack.engine)
        stack.engine.leave()
        if not mark.exists():
            break
        rounds += 1
        step += stride
    assert rounds >= 2
