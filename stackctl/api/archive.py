"""Files in and out of containers as tar streams: Docker's archive routes."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping

from stackctl.api.handlers import Handlers, Message
from stackctl.api.http import Exchange
from stackctl.errors import UsageError

STAT_HEADER = "X-Docker-Container-Path-Stat"
_TAR = "application/x-tar"


class Archives:
    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers

    async def stat(self, exchange: Exchange, parameters: Mapping[str, str]) -> None:
        found = await self._handlers.archive_stat(parameters["id"], _path(exchange))
        await exchange.respond(200, headers=[_stat(found)])

    async def get(self, exchange: Exchange, parameters: Mapping[str, str]) -> None:
        found, content = await self._handlers.archive_get(parameters["id"], _path(exchange))
        await _send(exchange, content, [("Content-Type", _TAR), _stat(found)])

    async def put(self, exchange: Exchange, parameters: Mapping[str, str]) -> None:
        await self._handlers.archive_put(
            parameters["id"],
            _path(exchange),
            exchange.chunks(),
            no_overwrite_dir_non_dir=exchange.flag("noOverwriteDirNonDir"),
            copy_uid_gid=exchange.flag("copyUIDGID"),
        )
        await exchange.respond(200)

    async def export(self, exchange: Exchange, parameters: Mapping[str, str]) -> None:
        """All files of a container."""
        content = self._handlers.export(parameters["id"])
        await _send(exchange, content, [("Content-Type", "application/octet-stream")])


async def _send(
    exchange: Exchange, content: AsyncIterator[bytes], headers: list[tuple[str, str]]
) -> None:
    """Nothing is answered before there is a first piece: what fails before can still be told."""
    try:
        first = await anext(content, b"")
        exchange.begin(200, headers)
        exchange.send(first)
        async for chunk in content:
            exchange.send(chunk)
            await exchange.drain()
        await exchange.end()
    finally:
        close = getattr(content, "aclose", None)
        if close is not None:
            await close()


def _path(exchange: Exchange) -> str:
    path = exchange.parameter("path")
    if not path:
        raise UsageError("the query has no path")
    return path


def _stat(found: Message) -> tuple[str, str]:
    return STAT_HEADER, base64.b64encode(json.dumps(found).encode()).decode()
