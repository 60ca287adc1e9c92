"""Files that never end hold up nobody but who reads them."""

from __future__ import annotations

import asyncio
import os
import threading
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stackctl.daemon.apart import apart
from stackctl.daemon.jobs import ASIDE, EMIT
from stackctl.linux import plain
from support.waiting import wait_until

WHO: ContextVar[str] = ContextVar("WHO")


def readers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "apart"}


def test_a_pipe_that_is_waited_for_is_told_and_left_with_its_caller(tmp_path: Path) -> None:
    pipe, others = tmp_path / "pipe", readers()
    os.mkfifo(pipe)

    async def main() -> None:
        told: asyncio.Queue[Any] = asyncio.Queue()
        ASIDE.set(told.put_nowait)
        reading = asyncio.ensure_future(apart(partial(plain.read, str(pipe), 9)))
        assert (await told.get())["text"].startswith(f"{pipe} is a pipe: waiting")
        # Who takes a time to write is read, whatever others would have waited for.
        await asyncio.to_thread(pipe.write_bytes, b"A=1")
        assert await reading == b"A=1" and told.empty()
        EMIT.set(told.put_nowait)  # a job's own is in front of it
        ASIDE.set(None)
        reading = asyncio.ensure_future(apart(partial(plain.read, str(pipe), 9)))
        await told.get()
        assert len(readers() - others) == 1
        reading.cancel()

    asyncio.run(main())
    wait_until(lambda: not readers() - others, 20, what="the reader to leave")


def fails() -> None:
    raise ValueError("wrong")


def test_work_that_stays_for_good_holds_up_no_other() -> None:
    stay = threading.Event()

    async def main() -> None:
        WHO.set("caller")
        staying = [asyncio.ensure_future(apart(stay.wait)) for _ in range(60)]
        assert await apart(WHO.get) == "caller"
        with pytest.raises(ValueError, match="wrong"):
            await apart(fails)
        assert await asyncio.to_thread(WHO.get) == "caller"
        # Who no longer waits is not told.
        staying[0].cancel()
        stay.set()
        assert all(await asyncio.gather(*staying[1:]))

    try:
        asyncio.run(main())
    finally:
        stay.set()
