"""What a test's daemon runs: the real process and server around the fake engine.

Launched like the real one (see `ENTRY`). STACKCTL_TEST_DAEMON says how it behaves:
"broken" (the engine cannot be built), "crash" (the process dies while it starts),
"bug" (an exception of nobody's), "working" (never idle).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from stackctl.api.serve import Front, start
from stackctl.daemon.main import Wiring
from stackctl.errors import MachineError
from stackctl.state.paths import Paths
from stackctl.state.records import Store
from support.fake_engine import FakeEngine

ENTRY = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    f"sys.path.insert(0, {str(Path(__file__).resolve().parent.parent)!r}); "
    "from support.fake_daemon import main; sys.exit(main())"
)


class StoredEngine(FakeEngine):
    """With a real store: a second engine in the same directories would show."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store

    async def close(self) -> None:
        await super().close()
        self._store.close()


async def build(paths: Paths) -> StoredEngine:
    behaviour = os.environ.get("STACKCTL_TEST_DAEMON", "")
    if behaviour == "broken":
        raise MachineError("this kernel is made of cheese", hint="eat it")
    if behaviour == "crash":
        os.abort()
    if behaviour == "bug":
        raise ZeroDivisionError("of course")
    engine = StoredEngine(Store.open(paths))
    engine.idle = behaviour != "working"
    return engine


def wiring(paths: Paths) -> Wiring[Any]:
    return Wiring(
        build=build,
        face=lambda engine, leave, busy: Front(paths, engine, leave, busy),
    )


def main() -> int:
    import sys

    return start(sys.argv[1:], wiring)
