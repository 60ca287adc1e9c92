"""Exec: made for a container, then started, resized, and asked how it ended."""

from __future__ import annotations

from stackctl.api.docker.call import Call, DockerError
from stackctl.api.docker.containers import size
from stackctl.api.docker.detaching import sequence
from stackctl.api.docker.failures import container_found, exec_failed
from stackctl.api.docker.port import DockerEngine, Exec
from stackctl.api.docker.streams import hijacked, pump
from stackctl.api.docker.table import Table
from stackctl.daemon.wish import EXEC, EXEC_START, canonical, checked
from stackctl.errors import ContainerError, NotFound, StackctlError
from stackctl.model.container import Status


class ExecRoutes:
    def __init__(self, engine: DockerEngine) -> None:
        self._engine = engine

    def register(self, table: Table) -> None:
        table.add("POST", "/containers/{id}/exec", self.create)
        table.add("POST", "/exec/{id}/start", self.start)
        table.add("POST", "/exec/{id}/resize", self.resize)
        table.add("GET", "/exec/{id}/json", self.inspect)

    def _find(self, call: Call) -> Exec:
        try:
            return self._engine.exec_find(call["id"])
        except NotFound:
            raise DockerError(404, f"No such exec instance: {call['id']}") from None

    async def create(self, call: Call) -> None:
        wish = canonical(await call.body(), EXEC)
        record = container_found(self._engine, call["id"])
        if not wish.get("Cmd"):
            raise DockerError(400, "No exec command specified")
        checked(wish, EXEC)
        sequence(str(wish.get("DetachKeys") or ""))
        if record.status is Status.PAUSED:
            raise DockerError(
                409, f"Container {record.id} is paused, unpause the container before exec"
            )
        if not record.status.is_alive:
            raise DockerError(409, f"container {record.id} is not running")
        made = self._engine.exec_create(record, wish)
        await call.reply({"Id": made.id}, 201)

    async def start(self, call: Call) -> None:
        options = canonical(await call.body(), EXEC_START)
        made = self._find(call)
        checked(options, EXEC_START)
        if made.running or made.exit_code is not None:
            raise DockerError(409, f"Error: Exec command {made.id} has already run")
        record = container_found(self._engine, made.container_id)
        if record.status is Status.PAUSED:
            raise DockerError(
                409, f"Container {record.id} is paused, unpause the container before exec"
            )
        if not record.status.is_alive or record.started_at != made.run:
            # It was made for a run that is over.
            raise DockerError(404, f"No such exec instance: {made.id}")
        height, width = _size(options.get("ConsoleSize") or made.wish.get("ConsoleSize"))
        detach = bool(options.get("Detach"))
        # The start's word decides about frames, as in Docker; the exec's about a terminal.
        tty = bool(options.get("Tty"))
        keys = sequence(str(made.wish.get("DetachKeys") or "")) if made.wish.get("Tty") else b""
        if detach:
            try:
                await self._engine.exec_start(made, detach=True, width=width, height=height)
            except ContainerError as error:
                raise DockerError(400, exec_failed(_argv(made), error)) from error
            await call.done(200)
            return
        # The head goes first, as from Docker: what fails now is said in the stream, and the
        # exit code is asked for afterwards.
        raw = hijacked(call, tty=tty)
        try:
            session = await self._engine.exec_start(made, detach=False, width=width, height=height)
        except StackctlError as error:
            await raw.head_taken()
            text = str(error)
            if isinstance(error, ContainerError):
                text = exec_failed(_argv(made), error)
            data = f"{text}\r\n".encode()
            await raw.write(data if tty else b"\2\0\0\0" + len(data).to_bytes(4, "big") + data)
            await raw.finish()
            return
        try:
            wanted = frozenset(
                name
                for name, key in (("stdout", "AttachStdout"), ("stderr", "AttachStderr"))
                if made.wish.get(key)
            )
            if await pump(
                raw,
                session,
                wanted=wanted,
                stdin=bool(made.wish.get("AttachStdin")),
                frames=not tty,
                keys=keys,
                ended=lambda: self._engine.exec_ended(made),
            ):
                self._engine.exec_detached(made)
        finally:
            await session.close()

    async def resize(self, call: Call) -> None:
        made = self._find(call)
        if not made.running:
            raise DockerError(409, f"exec {made.id} is not running")
        width, height = size(call)
        await self._engine.exec_resize(made, width, height)
        await call.done(200)

    async def inspect(self, call: Call) -> None:
        made = self._find(call)
        argv, wish = _argv(made), made.wish
        await call.reply(
            {
                "ID": made.id,
                "Running": made.running,
                "ExitCode": made.exit_code,
                "ProcessConfig": {
                    "tty": bool(wish.get("Tty")),
                    "entrypoint": argv[0],
                    "arguments": argv[1:],
                    "privileged": bool(wish.get("Privileged")),
                    "user": str(wish.get("User") or ""),
                },
                "OpenStdin": bool(wish.get("AttachStdin")),
                "OpenStderr": bool(wish.get("AttachStderr")),
                "OpenStdout": bool(wish.get("AttachStdout")),
                "CanRemove": made.exit_code is not None,
                "ContainerID": made.container_id,
                "DetachKeys": str(wish.get("DetachKeys") or ""),
                "Pid": made.pid,
            }
        )


def _size(raw: list[int] | None) -> tuple[int, int]:
    """Height and width; 0 is unknown."""
    if not raw or len(raw) != 2:
        return 0, 0
    height, width = (max(0, min(number, 0xFFFF)) for number in raw)
    return height, width


def _argv(made: Exec) -> list[str]:
    return [str(word) for word in made.wish["Cmd"]]
