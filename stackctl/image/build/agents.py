"""SSH agents for RUN: `--mount=type=ssh` gives a socket whose other end is the caller's agent.

The agent's own socket is not bound: an agent answers its own user only, and the root of
a build's container is another. Keys that are given as files go into an agent that lives
as long as the build. Follows BuildKit: no key ever comes near the container.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from stackctl.errors import NotFound, OperationFailed

_CHUNK = 1 << 16


class Agents:
    """Those of one build, by id."""

    def __init__(self, wanted: Mapping[str, tuple[str, ...]]) -> None:
        self._wanted = wanted
        self._sockets: dict[str, str] = {}
        self._started: list[asyncio.subprocess.Process] = []
        self._starting = asyncio.Lock()

    def has(self, name: str) -> bool:
        return name in self._wanted

    async def socket(self, name: str, home: Path) -> str:
        """Where the agent `name` listens; one for keys is started in the directory `home`.

        Raises NotFound, OperationFailed.
        """
        async with self._starting:
            if name not in self._sockets:
                self._sockets[name] = await self._find(name, home)
            return self._sockets[name]

    async def _find(self, name: str, home: Path) -> str:
        paths = self._wanted[name]
        if not paths:
            raise NotFound(
                f"--ssh {name}: there is no agent",
                hint="start one (eval $(ssh-agent); ssh-add), or name a key: --ssh default=FILE",
            )
        for path in paths:
            try:
                status = os.stat(path)
            except OSError as error:
                raise NotFound(f"--ssh {name}: {path}: {error.strerror}") from None
            if stat.S_ISSOCK(status.st_mode):
                if len(paths) > 1:
                    raise OperationFailed(f"--ssh {name}: one agent, or files of keys")
                return path
        return await self._start(name, paths, home / f"agent-{len(self._started)}")

    async def _start(self, name: str, keys: tuple[str, ...], place: Path) -> str:
        pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        # Nobody is there to type a passphrase.
        environment = {"PATH": os.environ.get("PATH", os.defpath), "SSH_AUTH_SOCK": str(place)}
        try:
            agent = await asyncio.create_subprocess_exec(
                *("ssh-agent", "-D", "-a", str(place)), stdin=null, stdout=pipe, stderr=null
            )
        except FileNotFoundError:
            raise NotFound(
                f"--ssh {name}: keys need ssh-agent, which is not installed",
                hint="install openssh-client, or give the socket of an agent",
            ) from None
        self._started.append(agent)
        assert agent.stdout is not None
        await agent.stdout.readline()  # it listens once it says where
        add = await asyncio.create_subprocess_exec(
            *("ssh-add", "-q", *keys),
            stdin=null,
            stdout=null,
            stderr=pipe,
            env=environment,
            start_new_session=True,
        )
        _, said = await add.communicate()
        if add.returncode:
            last = said.decode("utf-8", "replace").strip().splitlines()[-1:] or ["ssh-add failed"]
            raise OperationFailed(
                f"--ssh {name}: {last[0]}",
                hint="keys with a passphrase need an agent that has them",
            )
        return str(place)

    @asynccontextmanager
    async def serving(self, place: Path, agent: str) -> AsyncIterator[None]:
        """A socket at `place` whose connections go to the agent at the socket `agent`."""
        connections: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            connections.add(task)
            try:
                await _forward(agent, reader, writer)
            finally:
                connections.discard(task)

        server = await asyncio.start_unix_server(connected, str(place))
        try:
            yield
        finally:
            server.close()
            for task in list(connections):
                task.cancel()
            await asyncio.gather(*connections, return_exceptions=True)

    async def close(self) -> None:
        """Agents that were started for this build end, and their keys with them."""
        for agent in self._started:
            with contextlib.suppress(ProcessLookupError):
                agent.terminate()
            await agent.wait()
        self._started.clear()


async def _forward(agent: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Both ways, until one side has ended."""
    try:
        upstream, downstream = await asyncio.open_unix_connection(agent)
    except OSError:
        writer.close()
        return
    try:
        ways = [
            asyncio.ensure_future(_pump(reader, downstream)),
            asyncio.ensure_future(_pump(upstream, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
    finally:
        downstream.close()
        writer.close()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await source.read(_CHUNK):
            target.write(piece)
            await target.drain()
