"""A stand-in for the engine behind the API: verbs that stream, fail, hang and echo."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from stackctl.api.http import Limits, Peer
from stackctl.api.routes import Routes
from stackctl.api.server import Server, only_root
from stackctl.daemon.jobs import ASIDE
from stackctl.errors import Conflict, NotFound, Place, StackFileError, StackFileErrors

Message = dict[str, Any]

STAT = {"name": "f", "size": 3, "mode": 420, "mtime": "2026-01-01T00:00:00Z", "linkTarget": ""}


class FakeSession:
    """What comes in goes out again, on standard output; "!" in front: on standard error."""

    def __init__(self, number: int, tty: bool) -> None:
        self.id = f"s{number}"
        self.tty = tty
        self.container = ""
        self.exit_frame = False
        self.warnings: list[str] = []
        self.closed = False
        self.deaf = False
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(4)
        self.size = (0, 0)

    async def read(self) -> tuple[int, bytes] | None:
        data = await self._queue.get()
        if data is None:
            return None
        return (2, data[1:]) if data.startswith(b"!") else (1, data)

    async def write(self, data: bytes) -> None:
        if self.deaf:
            raise BrokenPipeError
        await self._queue.put(data)

    async def close_stdin(self) -> None:
        await self._queue.put(None)

    async def end(self) -> None:
        await self._queue.put(None)

    async def close(self) -> None:
        self.closed = True

    async def wait(self) -> int:
        return 7

    async def resize(self, width: int, height: int) -> None:
        self.size = (width, height)


class FakeEngine:
    """Implements Handlers and daemon.lifetime.Service."""

    def __init__(self) -> None:
        #: Generators that are under way.
        self.open = 0
        self.sessions: list[FakeSession] = []
        self.uploaded = b""
        self.idle = True
        self.closed = False

    # -- Service

    def is_idle(self) -> bool:
        return self.idle

    async def close(self) -> None:
        self.closed = True

    def listens(self) -> None: ...

    def docker(self) -> Any:
        raise AssertionError("no test asks the fake engine for Docker's API")

    # -- Handlers

    async def stream(self, verb: str, body: Message) -> AsyncIterator[Message]:
        self.open += 1
        try:
            async for message in self._messages(verb, body):
                yield message
        finally:
            self.open -= 1

    async def _messages(self, verb: str, body: Message) -> AsyncIterator[Message]:
        match verb:
            case "echo":
                yield {"type": "row", **body}
                yield {"type": "result", "exit_code": 0}
            case "count":
                for number in range(body["n"]):
                    yield {"type": "log", "number": number, "line": "x" * body.get("size", 0)}
                yield {"type": "result", "exit_code": 3}
            case "forever":
                yield {"type": "step", "state": "running"}
                await asyncio.Event().wait()
            case "never":
                await asyncio.Event().wait()
            case "flood":
                while True:
                    yield {"type": "log", "line": "x" * 1000}
            case "conflict":
                raise Conflict("port 80 is taken", hint="by nginx")
            case "late":
                yield {"type": "step"}
                place = Place("stack.yaml", 3, 5)
                raise StackFileErrors((StackFileError("what is this", place=place),))
            case "waits":
                aside = ASIDE.get()
                assert aside is not None
                aside({"type": "warning", "text": "waiting"})
                await asyncio.sleep(0)
                if body.get("fails"):
                    raise Conflict("nobody writes")
                yield {"type": "result", "exit_code": 0}
                aside({"type": "warning", "text": "too late"})
            case "bug":
                raise ZeroDivisionError("of course")
            case "late-bug":
                yield {"type": "step"}
                raise ZeroDivisionError("of course")
            case "silent":
                yield {"type": "step"}
            case "nothing":
                return
            case _:
                raise NotFound(f'no verb "{verb}"')

    async def open_session(self, verb: str, body: Message) -> FakeSession:
        if body.get("service") == "gone":
            raise NotFound("no such service: gone")
        session = FakeSession(len(self.sessions), bool(body.get("tty")))
        session.deaf = bool(body.get("deaf"))
        session.exit_frame = bool(body.get("exit_frame"))
        self.sessions.append(session)
        return session

    async def upload(self, content: AsyncIterator[bytes]) -> str:
        self.uploaded = b"".join([piece async for piece in content])
        return "u1"

    async def archive_stat(self, container: str, path: str) -> Message:
        if path == "/missing":
            raise NotFound(f"no such path: {path}")
        return {**STAT, "name": f"{container}:{path}"}

    async def archive_get(self, container: str, path: str) -> tuple[Message, AsyncIterator[bytes]]:
        async def content() -> AsyncIterator[bytes]:
            for _ in range(64):
                yield b"t" * 65536
            if path == "/breaks":
                raise OSError("disk")

        return await self.archive_stat(container, path), content()

    async def archive_put(
        self,
        container: str,
        path: str,
        content: AsyncIterator[bytes],
        *,
        no_overwrite_dir_non_dir: bool,
        copy_uid_gid: bool,
    ) -> None:
        if path == "/missing":
            raise NotFound(f"no such path: {path}")
        self.uploaded = b"".join([chunk async for chunk in content])


class Served:
    """A server with a fake engine, on a loop in a thread of its own."""

    def __init__(
        self,
        path: Path,
        limits: Limits | None = None,
        allow: Callable[[Peer], bool] = only_root,
    ) -> None:
        self.engine = FakeEngine()
        self.path = path
        self.asked_to_leave = threading.Event()
        self.busy: list[int] = []
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.server: Server = self.on_loop(self._start(limits, allow))

    async def _start(self, limits: Limits | None, allow: Callable[[Peer], bool]) -> Server:
        server = Server(
            Routes(self.engine, on_shutdown=self.asked_to_leave.set),
            allow=allow,
            limits=limits,
            busy_changed=self.busy.append,
        )
        await server.listen(self.path)
        return server

    def on_loop(self, work: Any) -> Any:
        """Runs a coroutine on the server's loop and gives its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def tasks(self) -> int:
        """Tasks on the loop besides the one that counts them."""

        async def count() -> int:
            return len(asyncio.all_tasks()) - 1

        return int(self.on_loop(count()))

    def stop(self) -> None:
        self.on_loop(self.server.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()
