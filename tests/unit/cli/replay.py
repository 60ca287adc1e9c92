"""Play recorded messages through the real CLI, to look at its output in a terminal.

    python tests/unit/cli/replay.py [up -d | up | down | ps | ...]

Not a test: no engine is asked, times are invented.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from conftest import FakeClient, container, done, step

from stackctl.cli.main import run

Message = dict[str, Any]

UP = [
    step(1, "CreateNetwork", "shop_default"),
    step(2, "CreateVolume", "shop_pgdata"),
    step(3, "CreateContainer", "shop-db-1", "db", (1, 2)),
    step(4, "StartContainer", "shop-db-1", "db", (3,)),
    step(5, "WaitHealthy", "shop-db-1", "db", (4,)),
    step(6, "CreateContainer", "shop-migrate-1", "migrate", (1,)),
    step(7, "StartContainer", "shop-migrate-1", "migrate", (5, 6)),
    step(8, "WaitCompleted", "shop-migrate-1", "migrate", (7,)),
    *(
        entry
        for n in range(1, 4)
        for entry in (
            step(7 + 2 * n, "CreateContainer", f"shop-application-server-{n}", "app", (1,)),
            step(8 + 2 * n, "StartContainer", f"shop-application-server-{n}", "app", (8,)),
        )
    ),
]


def up(body: Message) -> Iterator[Message]:
    yield {"type": "plan", "project": "shop", "steps": UP}
    yield {"type": "warning", "text": 'variable "TAG" is not set', "place": "stack.yaml:3:9"}
    for planned in UP:
        yield done(planned, state="running")
        time.sleep(1.2 if planned["op"].startswith("Wait") else 0.15)
        text = {"WaitHealthy": "healthy after 1.2 s", "WaitCompleted": "completed with 0"}
        yield done(planned, text=text.get(planned["op"], ""), elapsed=0.15)
    for n in range(40 if body.get("attach") else 0):
        service = ("db", "app")[n % 2]
        yield {
            "type": "log",
            "container": f"shop-{'db' if n % 2 == 0 else 'application-server'}-1",
            "service": service,
            "stream": "stdout",
            "time": time.time(),
            "line": f"line {n} of {service}, " + "long " * (n % 15),
        }
        time.sleep(0.3)
    yield {"type": "result", "exit_code": 0}


def ps(_: Message) -> list[Message]:
    ports = [{"URL": "0.0.0.0", "TargetPort": 80, "PublishedPort": 8080, "Protocol": "tcp"}]
    rows = [container("shop-db-1", "db", Status="Up 3 seconds (healthy)")]
    rows += [
        container(
            f"shop-application-server-{n}", "app", Ports="0.0.0.0:8080->80/tcp", Publishers=ports
        )
        for n in range(1, 4)
    ]
    return [*rows, {"type": "result", "exit_code": 0}]


def main() -> None:
    engine = FakeClient(
        {
            "up": up,
            "ps": ps,
            "plan": [{"type": "plan", "project": "shop", "steps": UP}, {"type": "result"}],
        }
    )
    raise SystemExit(run(sys.argv[1:], connect=engine.connect))


if __name__ == "__main__":
    main()
