"""Five thousand who connect and say little: the engine answers others meanwhile."""

from __future__ import annotations

import contextlib
import resource
import socket
import statistics
import time

import pytest

from support.engine import Engine

pytestmark = pytest.mark.needs("root")

CROWD = 5000
PING = b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n"


def pings(engine: Engine) -> float:
    """Seconds that one takes, each on a connection of its own: the middle of many."""
    took = []
    for _ in range(50):
        with socket.socket(socket.AF_UNIX) as asker:
            # Blocking: with a time limit, a full queue of the socket is an error at once.
            asker.connect(str(engine.paths.socket))
            asker.settimeout(10)
            began = time.monotonic()
            asker.sendall(PING)
            assert asker.recv(4096).startswith(b"HTTP/1.1 200")
            took.append(time.monotonic() - began)
    return statistics.median(took)


def test_ping_beside_a_crowd_of_half_open_connections(engine: Engine) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    engine.ok("info")
    alone = pings(engine)
    with contextlib.ExitStack() as crowd:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        crowd.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for number in range(CROWD):
            one = crowd.enter_context(socket.socket(socket.AF_UNIX))
            one.connect(str(engine.paths.socket))
            with contextlib.suppress(ConnectionError):
                one.sendall(b"GET /containers/json HTTP/1.1\r\nX-Slow: " + b"a" * (number % 3))
        beside = pings(engine)
    assert beside < 10 * alone, (beside, alone)
    engine.ok("info")
