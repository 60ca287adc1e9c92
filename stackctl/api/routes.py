"""Which request means what: our own routes, Docker's shared ones, and errors as answers.

A pattern is a path whose `{name}` parts match one segment. A leading `/v1.43`
(Docker's API version) is taken off before matching.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from stackctl import __version__
from stackctl.api import archive, hijack, streams
from stackctl.api.handlers import Handlers
from stackctl.api.http import ClientGone, Exchange
from stackctl.errors import EngineUnreachable, NotFound, StackctlError

if TYPE_CHECKING:
    from stackctl.api.docker.port import DockerEngine

log = logging.getLogger(__name__)

#: Docker's API as we speak it; clients take the version from the answer to /_ping.
API_VERSION = "1.51"

Parameters = Mapping[str, str]
Route = Callable[[Exchange, Parameters], Awaitable[None]]

_VERSION = re.compile(r"/v1\.[0-9]{1,3}(?=/)")

_NO_CACHE = (("Cache-Control", "no-cache, no-store, must-revalidate"), ("Pragma", "no-cache"))


class Routes:
    """Dispatches an exchange; the callable that a Server takes."""

    def __init__(
        self,
        handlers: Handlers,
        *,
        on_shutdown: Callable[[], None] = lambda: None,
        docker: Callable[[], DockerEngine] | None = None,
    ) -> None:
        """`on_shutdown` is called after a client has asked the engine to leave, and was told.
        `docker` gives what Docker's API needs of the engine, when the first request comes."""
        self._handlers = handlers
        self._docker = docker
        self._docker_table: Callable[[Exchange], Awaitable[bool]] | None = None
        self._on_shutdown = on_shutdown
        self._routes: list[tuple[str, list[str], Route]] = []
        self.add("GET", "/_ping", self._ping)
        self.add("HEAD", "/_ping", self._ping)
        self.add("POST", "/stackctl/v1/shutdown", self._shutdown)
        self.add("POST", "/stackctl/v1/upload", self._upload)
        self.add("POST", "/stackctl/v1/{verb}", self._verb)
        archives = archive.Archives(handlers)
        self.add("HEAD", "/containers/{id}/archive", archives.stat)
        self.add("GET", "/containers/{id}/archive", archives.get)
        self.add("PUT", "/containers/{id}/archive", archives.put)
        self.add("GET", "/containers/{id}/export", archives.export)

    def add(self, method: str, pattern: str, route: Route) -> None:
        self._routes.append((method, pattern.split("/"), route))

    async def __call__(self, exchange: Exchange) -> None:
        try:
            await self._dispatch(exchange)
        except ClientGone:
            raise
        except asyncio.CancelledError:
            leaving = EngineUnreachable("the engine is shutting down")
            with contextlib.suppress(ClientGone):
                await _fail(exchange, leaving)
            raise
        except StackctlError as error:
            await _fail(exchange, error)
        except Exception as error:
            log.exception("a request failed", extra={"path": exchange.path})
            await _fail(exchange, streams.unexpected(error))

    async def _dispatch(self, exchange: Exchange) -> None:
        path = exchange.path
        if not path.startswith("/stackctl/"):
            path = _VERSION.sub("", path, count=1)
        parts = path.split("/")
        other_methods = False
        for method, pattern, route in self._routes:
            found = _match(pattern, parts)
            if found is not None:
                if method == exchange.method:
                    return await route(exchange, found)
                other_methods = True
        if not path.startswith("/stackctl/"):
            if exchange.method == "OPTIONS":
                # As Docker. It says nothing of other origins, so browsers send them nothing.
                return await exchange.respond(200)
            if await self._is_dockers(exchange):
                return None
        if other_methods:
            await exchange.respond_json(405, {"message": f"{exchange.method} does not go here"})
            return None
        raise NotFound(f"page not found: {exchange.method} {exchange.path}")

    async def _is_dockers(self, exchange: Exchange) -> bool:
        """Answers when it is a request of Docker's API."""
        if self._docker is None:
            return False
        if self._docker_table is None:
            # Not before: the own commands need none of it.
            from stackctl.api.docker import routes as docker_routes

            self._docker_table = docker_routes.table(self._docker())
        return await self._docker_table(exchange)

    async def _ping(self, exchange: Exchange, _: Parameters) -> None:
        await exchange.respond(
            200,
            b"OK",
            "text/plain; charset=utf-8",
            [
                ("Api-Version", API_VERSION),
                ("Builder-Version", "1"),
                ("Docker-Experimental", "false"),
                ("Ostype", "linux"),
                ("Swarm", "inactive"),
                ("Server", f"stackctl/{__version__} (linux)"),
                *_NO_CACHE,
            ],
        )

    async def _verb(self, exchange: Exchange, parameters: Parameters) -> None:
        verb = parameters["verb"]
        body = await exchange.json()
        if exchange.headers.get("upgrade", "").lower() == "tcp":
            await hijack.serve(exchange, await self._handlers.open_session(verb, body))
        else:
            await streams.serve(exchange, self._handlers.stream(verb, body))

    async def _upload(self, exchange: Exchange, _: Parameters) -> None:
        identity = await self._handlers.upload(exchange.chunks())
        await exchange.respond_json(200, {"type": "result", "exit_code": 0, "id": identity})

    async def _shutdown(self, exchange: Exchange, _: Parameters) -> None:
        await exchange.json()
        line = json.dumps({"type": "result", "exit_code": 0}).encode() + b"\n"
        await exchange.respond(200, line, streams.CONTENT_TYPE, [("Connection", "close")])
        self._on_shutdown()


def _match(pattern: list[str], parts: list[str]) -> dict[str, str] | None:
    if len(pattern) != len(parts):
        return None
    found = {}
    for expected, part in zip(pattern, parts, strict=True):
        if expected.startswith("{"):
            if not part:
                return None
            found[expected[1:-1]] = part
        elif expected != part:
            return None
    return found


async def _fail(exchange: Exchange, error: StackctlError) -> None:
    """An error before any answer; after one has begun the connection is cut instead."""
    if exchange.started:
        return
    if error.status == 304:
        await exchange.respond(304)
        return
    if exchange.path.startswith("/stackctl/"):
        await exchange.respond_json(error.status, {"type": "error", "error": error.to_json()})
    else:
        message = f"{error}\n{error.hint}" if error.hint else str(error)
        await exchange.respond_json(error.status, {"message": message})
