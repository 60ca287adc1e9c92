"""Which shim serves a stack: the one that is there, or a new one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from stackctl.errors import MachineError
from stackctl.runtime.pool import ShimPool
from stackctl.runtime.shims import ShimProgram
from stackctl.state.paths import Paths


def test_a_shim_that_takes_no_connections_gets_no_second_one_beside_it(tmp_path: Path) -> None:
    paths = Paths(root=tmp_path / "root", run=tmp_path / "run")
    path = paths.shim_socket("app")
    path.parent.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        listener.bind(str(path))
        listener.listen(0)
        with pytest.raises(BlockingIOError):
            for _ in range(10):
                waiting = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
                waiting.setblocking(False)
                waiting.connect(str(path))
        inode = path.stat().st_ino

        async def ensure() -> None:
            program = ShimProgram(code="raise SystemExit")
            pool = ShimPool(paths, program, lambda *event: None, lambda name: None)
            await pool.ensure("app")

        with pytest.raises(MachineError, match='the shim of "app" takes no connections'):
            asyncio.run(ensure())
        assert path.stat().st_ino == inode
