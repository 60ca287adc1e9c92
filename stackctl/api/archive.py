"""Files in and out of containers as tar streams: Docker's archive routes."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

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
        try:
            exchange.begin(200, [("Content-Type", _TAR), _stat(found)])
            async for chunk in content:
                exchange.send(chunk)
                await exchange.drain()
            await exchange.end()
        finally:
            close = getattr(content, "aclose", None)
            if close is not None:
                await close()

    async def put(self, exchange: Exchange, parameters: Mapping[str, str]) -> None:
        await self._handlers.archive_put(
            parameters["id"],
            _path(exchange),
            exchange.chunks(),
            no_overwrite_dir_non_dir=exchange.flag("noOverwriteDirNonDir"),
            copy_uid_gid=exchange.flag("copyUIDGID"),
        )
        await exchange.respond(200)


def _path(exchange: Exchange) -> str:
    path = exchange.parameter("path")
    if not path:
        raise UsageError("the query has no path")
    return path


def _stat(found: Message) -> tuple[str, str]:
    return STAT_HEADER, base64.b64encode(json.dumps(found).encode()).decode()
