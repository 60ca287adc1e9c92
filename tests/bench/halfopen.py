"""Those who connect to the API and say little, and what an answer takes others meanwhile."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from pathlib import Path

from contenders import Contender
from work import Kind, Samples, timed

CROWD = 5000
_PINGS = 100


class HalfOpen(Kind):
    """GET /_ping, each on a connection of its own, beside a crowd of half requests."""

    name = "halfopen"

    def fits(self, contender: Contender) -> bool:
        return contender.socket is not None

    def run(self, contender: Contender, directory: Path, samples: Samples) -> None:
        path = contender.socket
        assert path is not None
        timed(contender, directory, contender.engine("network", "ls"))  # starts what starts itself
        samples.add("API: ping, us", contender, _middle(path)[0])
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.ExitStack() as crowd:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            crowd.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
            for number in range(CROWD):
                one = crowd.enter_context(socket.socket(socket.AF_UNIX))
                one.connect(str(path))
                with contextlib.suppress(ConnectionError):  # it may be closed again already
                    one.sendall(b"GET /containers/json HTTP/1.1\r\nX-Slow: " + b"a" * (number % 3))
            middle, slowest = _middle(path)
        row = f"API: ping beside {CROWD:,} half-open connections"
        samples.add(f"{row}, us", contender, middle)
        samples.add(f"{row}, slowest of {_PINGS}, us", contender, slowest)


def _middle(path: Path) -> tuple[float, float]:
    """Microseconds from connecting to the answer: the middle of many, and the slowest."""
    took = []
    for _ in range(_PINGS):
        began = time.monotonic()
        with socket.socket(socket.AF_UNIX) as asker:
            asker.connect(str(path))
            asker.sendall(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
            assert asker.recv(4096).startswith(b"HTTP/1.1 200")
        took.append((time.monotonic() - began) * 1e6)
    took.sort()
    return took[len(took) // 2], took[-1]
