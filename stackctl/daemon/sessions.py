"""Open exec and attach sessions, by id: so that a resize or the exit code can be asked for."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from typing import Any, Protocol

from stackctl.errors import NotFound

#: Ended sessions whose exit code is kept for a client that has not asked yet.
_REMEMBERED = 256


class Streams(Protocol):
    """What the runtime gives for an exec or an attach."""

    async def read(self) -> tuple[int, bytes] | None: ...
    async def write(self, data: bytes) -> None: ...
    async def close_stdin(self) -> None: ...
    async def close(self) -> None: ...
    async def wait(self) -> int: ...
    async def resize(self, width: int, height: int) -> None: ...


def terminal_size(body: Mapping[str, Any]) -> tuple[int, int] | None:
    """Columns and rows of the terminal in front of who asks; None without one."""
    width, height = int(body.get("width") or 0), int(body.get("height") or 0)
    return (width, height) if width > 0 and height > 0 else None


class Detached:
    """A process whose output nobody wants: it is read and dropped, so that it can write on."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._drain = asyncio.create_task(self._read_all())

    async def _read_all(self) -> None:
        try:
            while await self._streams.read() is not None:
                pass
        finally:
            await self._streams.close()

    async def read(self) -> tuple[int, bytes] | None:
        return None

    async def write(self, data: bytes) -> None:
        pass

    async def close_stdin(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def wait(self) -> int:
        return await self._streams.wait()

    async def resize(self, width: int, height: int) -> None:
        await self._streams.resize(width, height)


class OpenSession:
    """One session as the API serves it; its exit code outlives its streams."""

    def __init__(
        self,
        streams: Streams,
        *,
        tty: bool,
        container: str = "",
        exit_frame: bool = False,
        ends_input: bool = True,
    ) -> None:
        """`ends_input`: the end of the client's input is that of the process's."""
        self.id = secrets.token_hex(16)
        self.tty = tty
        #: Whose main process it is; "" for an exec.
        self.container = container
        self.exit_frame = exit_frame
        #: An exec's process as this machine numbers it.
        self.pid = 0
        #: What the start could not do as asked.
        self.warnings: list[str] = []
        self._detaching = False
        self._ends_input = ends_input
        self._streams = streams
        self._exit = asyncio.ensure_future(streams.wait())
        # Nobody may ever ask: then the failure is nobody's.
        self._exit.add_done_callback(lambda f: f.cancelled() or f.exception())

    async def read(self) -> tuple[int, bytes] | None:
        """(stream number, bytes), None at the end."""
        return await self._streams.read()

    async def write(self, data: bytes) -> None:
        await self._streams.write(data)

    async def close_stdin(self) -> None:
        if self._ends_input:
            await self._streams.close_stdin()

    def detach(self) -> None:
        """The client is about to go; the process is to go on without it."""
        self._detaching = True

    async def close(self) -> None:
        if self._detaching:
            # Only now: nobody else reads any more.
            self._detaching = False
            self._streams = Detached(self._streams)
        else:
            await self._streams.close()

    async def wait(self) -> int:
        return await asyncio.shield(self._exit)

    async def resize(self, width: int, height: int) -> None:
        await self._streams.resize(width, height)

    def resize_soon(self, width: int, height: int) -> None:
        """Once there is a terminal."""
        self._sizing = asyncio.ensure_future(self._streams.resize(width, height))
        self._sizing.add_done_callback(lambda f: f.cancelled() or f.exception())

    def abandon(self) -> None:
        self._exit.cancel()


class Sessions:
    def __init__(self) -> None:
        self._open: dict[str, OpenSession] = {}

    def add(self, session: OpenSession) -> OpenSession:
        self._open[session.id] = session
        while len(self._open) > _REMEMBERED:
            oldest = next(iter(self._open))
            if not self._open[oldest]._exit.done():
                break
            del self._open[oldest]
        return session

    def get(self, session_id: str) -> OpenSession:
        session = self._open.get(session_id)
        if session is None:
            raise NotFound(f"no such session: {session_id}")
        return session

    def forget(self, session_id: str) -> None:
        self._open.pop(session_id, None)

    def close(self) -> None:
        for session in self._open.values():
            session.abandon()
