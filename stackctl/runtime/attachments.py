"""Who is attached to containers: their sessions before the start, while it runs, at its end."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

from stackctl.model.record import ContainerRecord
from stackctl.runtime.exits import ExitInfo
from stackctl.runtime.session import AttachSession
from stackctl.runtime.shims import Shim

#: Before the start: a session, and the shim's end of its socket.
Waiting = tuple[AttachSession, int]


class Attachments:
    """All attached sessions of one engine, by container."""

    def __init__(self) -> None:
        self._attached: dict[str, list[AttachSession]] = {}
        self._waiting: dict[str, list[Waiting]] = {}

    def __iter__(self) -> Iterator[AttachSession]:
        return (session for held in self._attached.values() for session in held)

    def wait(self, record: ContainerRecord) -> AttachSession:
        """A session that the container's next start hooks up: it misses not a byte."""
        session, theirs = _pair(record)
        self._waiting.setdefault(record.id, []).append((session, theirs))
        return session

    def take_waiting(self, container_id: str) -> list[Waiting]:
        """Those that the start which begins now is to hook up."""
        return self._waiting.pop(container_id, [])

    def drop_waiting(self, container_id: str) -> None:
        """The start that sessions wait for will not come."""
        for session, theirs in self._waiting.pop(container_id, []):
            os.close(theirs)
            session.end_streams()
            session.fail("the container was not started")

    async def join(self, shim: Shim, record: ContainerRecord) -> AttachSession:
        """A session with a container that runs."""
        session, theirs = _pair(record)
        await self.hook_up(shim, record, session, theirs)
        return session

    async def hook_up(
        self, shim: Shim, record: ContainerRecord, session: AttachSession, theirs: int
    ) -> None:
        """Give the shim its end of the socket; stdin comes when the process has one."""
        self._attached.setdefault(record.id, []).append(session)
        try:
            reply = shim.post({"op": "attach", "id": record.id}, (theirs,))
        finally:
            os.close(theirs)
        try:
            fds = (await reply)["fds"]
        except BaseException:
            session.end_streams()
            raise
        session.stdin.give(fds[0] if fds else -1)
        session.on_stdin_closed = lambda: self._input_ended(shim, record.id)

    def _input_ended(self, shim: Shim, container_id: str) -> None:
        """For all who are attached: a pipe ends when nobody holds its writing end any more."""
        for session in self._attached.get(container_id, ()):
            session.stdin.close()
        shim.tell({"op": "close-stdin", "id": container_id})

    def end(self, info: ExitInfo) -> None:
        """The container has ended, and so have its sessions."""
        for session in self._attached.pop(info.container_id, []):
            if info.exit_code is None:
                session.fail(info.error)
            else:
                session.finish(info.exit_code)


def _pair(record: ContainerRecord) -> Waiting:
    ours, theirs = socket.socketpair()
    return AttachSession(ours.detach(), tty=record.config.tty), theirs.detach()
