"""Execs as Docker's API has them: made first, started later, asked about at any time."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field
from typing import Any

from stackctl.daemon import names
from stackctl.daemon.events import Events
from stackctl.daemon.sessions import OpenSession
from stackctl.errors import ContainerError, NotFound, StackctlError
from stackctl.model.record import ContainerRecord
from stackctl.values import dataclass

#: Execs that have ended, or were never started, and are still known.
_REMEMBERED = 512

#: The `exec` session verb: body -> streams.
Open = Callable[[Mapping[str, Any]], Awaitable[OpenSession]]


@dataclass(slots=True, kw_only=True)
class Exec:
    id: str
    container_id: str
    #: As in Docker's request: Cmd, Env, User, WorkingDir, Tty, AttachStdin, Privileged...
    wish: Mapping[str, Any]
    session: OpenSession | None = None
    exit_code: int | None = None
    pid: int = 0
    #: When its container began to run, Unix seconds: it is for this run alone.
    run: float = 0.0
    watcher: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def running(self) -> bool:
        return self.session is not None and self.exit_code is None


class Execs:
    def __init__(self, open_session: Open, events: Events) -> None:
        self._open = open_session
        self._events = events
        self._known: dict[str, Exec] = {}

    def create(self, record: ContainerRecord, wish: Mapping[str, Any]) -> Exec:
        made = Exec(
            id=secrets.token_hex(32),
            container_id=record.id,
            wish=dict(wish),
            run=record.started_at,
        )
        self._known[made.id] = made
        for other in tuple(self._known.values()):
            if len(self._known) <= _REMEMBERED:
                break
            if not other.running:
                del self._known[other.id]
        self._tell(record, made, f"exec_create: {_command(made)}")
        return made

    def find(self, exec_id: str) -> Exec:
        made = self._known.get(exec_id)
        if made is None:
            raise NotFound(f"no such exec: {exec_id}")
        return made

    def ids(self, container_id: str) -> list[str]:
        """Those that run in a container."""
        return [e.id for e in self._known.values() if e.container_id == container_id and e.running]

    async def start(
        self, record: ContainerRecord, made: Exec, *, detach: bool, width: int, height: int
    ) -> OpenSession:
        """Run it. Raises ContainerError when its program cannot be executed, Conflict."""
        wish = made.wish
        body = {
            "container": record.id,
            "command": [str(word) for word in wish["Cmd"]],
            "env": [str(entry) for entry in wish.get("Env") or ()],
            "workdir": str(wish.get("WorkingDir") or ""),
            "user": str(wish.get("User") or ""),
            "tty": bool(wish.get("Tty")),
            "stdin": bool(wish.get("AttachStdin")) and not detach,
            "privileged": bool(wish.get("Privileged")),
            "width": width,
            "height": height,
            "detach": detach,
        }
        try:
            session = await self._open(body)
        except StackctlError as error:
            made.exit_code = error.exit_code if isinstance(error, ContainerError) else 126
            raise
        made.session, made.pid = session, session.pid
        made.watcher = asyncio.create_task(self._watch(record, made, session))
        self._tell(record, made, f"exec_start: {_command(made)}")
        return session

    async def _watch(self, record: ContainerRecord, made: Exec, session: OpenSession) -> None:
        try:
            made.exit_code = await session.wait()
        except StackctlError:
            # Its container, or its shim, went under it.
            made.exit_code = 137
        self._tell(record, made, "exec_die", exitCode=str(made.exit_code))

    def detached(self, record: ContainerRecord, made: Exec) -> None:
        """Its client leaves, it goes on: with its terminal, or that would hang up on it."""
        if made.session is not None:
            made.session.detach()
        self._tell(record, made, "exec_detach")

    async def ended(self, made: Exec) -> None:
        """Until its exit code is known."""
        if made.watcher is not None:
            await asyncio.wait([made.watcher])

    def close(self) -> None:
        for made in self._known.values():
            if made.watcher is not None:
                made.watcher.cancel()

    def _tell(self, record: ContainerRecord, made: Exec, action: str, **more: str) -> None:
        attributes = {**names.attributes(record.config), "execID": made.id, **more}
        self._events.publish("container", action, record.id, attributes)


def _command(made: Exec) -> str:
    return " ".join(str(word) for word in made.wish.get("Cmd") or ())
