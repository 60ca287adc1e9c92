"""exec, attach and what belongs to their sessions; removal of a one-off."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from stackctl.daemon.containers import Containers
from stackctl.daemon.jobs import Message, heard_warnings
from stackctl.daemon.parts import Parts
from stackctl.daemon.projects import Projects
from stackctl.daemon.sessions import Detached, OpenSession, Sessions, Streams, terminal_size
from stackctl.daemon.signals import signal_number
from stackctl.errors import Conflict, StackctlError, UsageError
from stackctl.model.record import ContainerRecord
from stackctl.runtime.container import ExecRequest


class InteractiveVerbs:
    def __init__(
        self, parts: Parts, projects: Projects, containers: Containers, sessions: Sessions
    ) -> None:
        self._parts = parts
        self._projects = projects
        self._containers = containers
        self._sessions = sessions

    async def exec(self, body: Mapping[str, Any]) -> OpenSession:
        """A process beside the container's own, with the same rights and limits."""
        record = await self._target(body)
        if not record.status.is_alive:
            raise Conflict(f"container {record.name} is not running")
        command = tuple(str(word) for word in body.get("command") or ())
        if not command:
            raise UsageError("exec needs a command")
        tty = bool(body.get("tty"))
        extra = await self._given([str(entry) for entry in body.get("env") or ()], body)
        session = await self._parts.runtime.exec(
            record,
            ExecRequest(
                argv=command,
                env=_exec_env(record, extra, tty=tty),
                working_dir=str(body.get("workdir") or record.config.working_dir),
                user=str(body.get("user") or record.config.user),
                tty=tty,
                stdin=bool(body.get("stdin")),
                width=int(body.get("width") or 0),
                height=int(body.get("height") or 0),
                privileged=bool(body.get("privileged")),
            ),
        )
        streams: Streams = Detached(session) if body.get("detach") else session
        opened = self._sessions.add(
            OpenSession(streams, tty=tty, exit_frame=bool(body.get("exit_frame")))
        )
        opened.pid = session.pid
        return opened

    async def attach(self, body: Mapping[str, Any]) -> OpenSession:
        """The main process's own streams; with `start` it starts once we listen.

        One that is removed when it ends goes when it cannot start, too.
        """
        record = self._parts.registry.get(str(body.get("container")))
        streams = await self._parts.runtime.attach(record)
        session = self._sessions.add(OpenSession(streams, tty=record.config.tty))
        if body.get("start"):
            try:
                with heard_warnings() as session.warnings:
                    await self._containers.start(record.id, size=terminal_size(body))
            except BaseException:
                await session.close()
                if record.config.auto_remove:
                    # It never ran, so that no end of it will take it away.
                    await self._containers.remove(record.id, anonymous_volumes=True)
                raise
        return session

    async def _target(self, body: Mapping[str, Any]) -> ContainerRecord:
        if body.get("container"):
            return self._parts.registry.store.find_container(str(body["container"]))
        name = await self._projects.name(body)
        return self._projects.one(name, str(body.get("service")), int(body.get("index") or 0))

    async def _given(self, entries: list[str], body: Mapping[str, Any]) -> list[str]:
        """KEY=VALUE as it is; a bare KEY takes the value of the project's .env, if it has one."""
        if all("=" in entry for entry in entries):
            return entries
        try:
            project = await self._projects.load(body, for_containers=False)
        except StackctlError:  # what runs needs no file
            return [entry for entry in entries if "=" in entry]
        return project.given(entries)

    async def remove(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Remove one container with its anonymous volumes (the --rm of run)."""
        container_id = str(body.get("container"))
        if body.get("force"):
            await self._containers.stop(container_id, 0.0)
        await self._containers.remove(container_id, anonymous_volumes=True)
        yield {"type": "result", "exit_code": 0}

    async def signal(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Send a signal to one container: Ctrl-C of an attached run without a terminal."""
        number = signal_number(str(body.get("signal") or "SIGTERM"))
        await self._containers.kill(str(body.get("container")), number)
        yield {"type": "result", "exit_code": 0}

    async def session_wait(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        session = self._sessions.get(str(body.get("id")))
        code = await session.wait()
        self._sessions.forget(session.id)
        yield {"type": "result", "exit_code": code}

    async def session_detach(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Its process goes on when the client closes the connection, which it is about to."""
        self._sessions.get(str(body.get("id"))).detach()
        yield {"type": "result", "exit_code": 0}

    async def session_resize(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        session = self._sessions.get(str(body.get("id")))
        await session.resize(int(body.get("width") or 80), int(body.get("height") or 24))
        yield {"type": "result", "exit_code": 0}


def _exec_env(record: ContainerRecord, extra: Iterable[str], *, tty: bool) -> tuple[str, ...]:
    """The container's environment, with what the caller adds; a name occurs once."""
    merged = dict(entry.partition("=")[::2] for entry in record.config.env)
    if tty:
        merged.setdefault("TERM", "xterm")
    for entry in extra:
        name, _, value = entry.partition("=")
        merged[name] = value
    return tuple(f"{name}={value}" for name, value in merged.items())
