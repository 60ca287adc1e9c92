"""Starts whose caller has gone: they are undone before anybody hears of it."""

from __future__ import annotations

import asyncio
from typing import Any

from stackctl.runtime.shims import GivenUp, Shim


class GivenUpStarts:
    """Knows them by container, until they have ended."""

    def __init__(self) -> None:
        self._ends: dict[str, asyncio.Future[None]] = {}

    async def undo(
        self, shim: Shim, container_id: str, reply: asyncio.Future[dict[str, Any]]
    ) -> None:
        """Abort a start that `reply` will tell of; nothing of it is alive when this returns."""
        if reply.done() and reply.exception():
            return  # it has failed by itself
        end = self._ends[container_id] = asyncio.get_running_loop().create_future()
        shim.tell({"op": "abort", "id": container_id})
        try:
            await asyncio.wait((reply,))
            cause = reply.exception()
            if cause is None or isinstance(cause, GivenUp):  # its end is told, too
                await asyncio.wait((end, shim.gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            del self._ends[container_id]

    def has_ended(self, container_id: str) -> bool:
        """Note the end of a container. False: its start was not given up."""
        end = self._ends.get(container_id)
        if end is not None and not end.done():
            end.set_result(None)
        return end is not None
