"""Files that never end hold up nobody but who reads them."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest

from stackctl.daemon.apart import apart

WHO: ContextVar[str] = ContextVar("WHO")


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
