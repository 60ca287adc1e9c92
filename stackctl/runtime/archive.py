"""Files of a container as tar streams, for `cp` and Docker's archive routes.

The work is done by a process of its own (shim/archiver.py) inside the
container's namespaces; here are its start, its two ends, and the errors.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any

from stackctl.errors import ContainerError, NotFound, StackctlError, UsageError
from stackctl.model.container import BindMount
from stackctl.model.image import Snapshot
from stackctl.model.record import ContainerRecord, ProcessRef
from stackctl.model.rights import ID_COUNT
from stackctl.runtime import bundle as bundles
from stackctl.runtime import rootfs
from stackctl.runtime.interpreter import spawn
from stackctl.runtime.session import STDOUT, Readable, Session
from stackctl.runtime.shim import protocol
from stackctl.runtime.shims import CODE
from stackctl.state.paths import Paths

Message = dict[str, Any]


class Archive:
    """The files of one container, running (`process`) or not.

    `snapshot` and `volumes` are what a start would get: a stopped container's
    root is mounted from them, for the time of the copy, and nobody sees it.
    """

    def __init__(
        self,
        paths: Paths,
        record: ContainerRecord,
        process: ProcessRef | None,
        snapshot: Snapshot,
        volumes: Mapping[str, str],
    ) -> None:
        self._paths = paths
        self._record = record
        self._process = process
        self._snapshot = snapshot
        self._volumes = volumes

    async def stat(self, path: str) -> Message:
        """Docker's path stat: name, size, mode (Go's bits), mtime, linkTarget. NotFound."""
        async with _Worker(self._request("stat", path), self._record.name, writes=False) as worker:
            return await worker.answer(path)

    async def get(self, path: str) -> tuple[Message, AsyncIterator[bytes]]:
        """The stat and a tar stream of what is at `path`, under its base name."""
        worker = _Worker(self._request("get", path), self._record.name, writes=False)
        await worker.__aenter__()
        try:
            found = await worker.answer(path)
        except BaseException:
            await worker.__aexit__()
            raise
        return found, _stream(worker, path)

    async def put(
        self,
        path: str,
        content: AsyncIterator[bytes],
        *,
        owner: str = "",
        keep_kinds: bool = False,
    ) -> None:
        """Unpack a tar stream into the directory `path`.

        All becomes `owner`'s (USER[:GROUP], as the container knows them); owners are the
        archive's without one.
        `keep_kinds` refuses to put a file where a directory is, and the reverse.
        """
        request = self._request("put", path)
        request.update(owner=owner, keep_kinds=keep_kinds)
        async with _Worker(request, self._record.name, writes=True) as worker:
            await worker.answer(path)
            async for data in content:
                await worker.session.write(data)
                if worker.has_spoken:
                    break  # it failed: what follows would go nowhere
            worker.session.stdin.close()
            await worker.answer(path)

    async def attach(self, mount: BindMount) -> None:
        """Mount what is at its source by now where the running container has it.

        Raises NotFound, ContainerError.
        """
        request = self._request("attach", mount.target)
        request["mount"] = {
            "source": mount.source,
            "target": mount.target,
            "read_only": mount.read_only,
        }
        async with _Worker(request, self._record.name, writes=False) as worker:
            await worker.answer(mount.target)

    def _request(self, op: str, path: str) -> Message:
        record = self._record
        id_map = f"0 {record.id_base} {ID_COUNT}\n"
        host_ids = bundles.shares_host_ids(record.config)
        request: Message = {
            "op": op,
            "path": path,
            "pid": self._process.pid if self._process else 0,
            "start_time": self._process.start_time if self._process else 0,
            "userns": None if host_ids else [id_map, id_map],
        }
        if self._process is None:
            staging = self._paths.container_run(record.id) / bundles.STAGING
            staging.mkdir(parents=True, exist_ok=True)
            staging.parent.chmod(0o700)
            staging.chmod(0o755)
            files = rootfs.files_only(self._snapshot, record.config, self._volumes)
            request["mounts"] = rootfs.lowered(files)
            request["staging"] = str(staging)
        return request


class _Worker:
    """One archiver process, its control socket and its data pipe."""

    def __init__(self, request: Message, name: str, *, writes: bool) -> None:
        self._request = request
        self._name = name
        self._writes = writes
        self._answers: asyncio.Queue[Message | None] = asyncio.Queue()
        self.session: Session

    @property
    def has_spoken(self) -> bool:
        return not self._answers.empty()

    async def __aenter__(self) -> _Worker:
        loop = asyncio.get_running_loop()
        self.session = Session(tty=False)
        self._control, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reader, writer = os.pipe2(os.O_CLOEXEC)
        ours, theirs = (writer, reader) if self._writes else (reader, writer)
        if self._writes:
            self.session.stdin.give(ours)
        else:
            self.session.add(STDOUT, ours)
        with control:
            try:
                self._pid = _spawn(control.fileno(), theirs)
            finally:
                os.close(theirs)
        self._pidfd = Readable(os.pidfd_open(self._pid))
        protocol.send(self._control, self._request)
        self._control.setblocking(False)
        loop.add_reader(self._control.fileno(), self._hear)
        return self

    async def __aexit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._control.fileno())
        self._control.close()
        self.session.end_streams()  # one that still writes ends by SIGPIPE or an error
        ended: asyncio.Future[None] = loop.create_future()

        def end() -> None:
            if not ended.done():
                ended.set_result(None)

        loop.add_reader(self._pidfd.fd, end)
        try:
            await asyncio.shield(ended)
        finally:
            self._pidfd.close()
            os.waitpid(self._pid, os.WNOHANG)

    def _hear(self) -> None:
        try:
            received = protocol.receive(self._control)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            received = None
        if received is None:
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._answers.put_nowait(None)
        else:
            self._answers.put_nowait(received[0])

    async def answer(self, path: str) -> Message:
        """The next answer: a stat, or {} when it is done."""
        message = await self._answers.get()
        if message is None:
            raise ContainerError("copying files of the container ended too early")
        if "failed" in message:
            raise _translated(message, path, self._name)
        stat: Message = message.get("stat") or {}
        return stat


async def _stream(worker: _Worker, path: str) -> AsyncIterator[bytes]:
    async with _Leaving(worker):
        while (piece := await worker.session.read()) is not None:
            yield piece[1]
        await worker.answer(path)


class _Leaving:
    """Ends a worker that was entered before."""

    def __init__(self, worker: _Worker) -> None:
        self._worker = worker

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, *_: object) -> None:
        await self._worker.__aexit__()


def _spawn(control: int, data: int) -> int:
    """Start the archiver with its descriptors at the numbers that it expects."""
    # Out of the way first: a descriptor may sit on the number of the other one.
    moved = [os.dup(control), os.dup(data)]
    try:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
            (os.POSIX_SPAWN_DUP2, moved[0], 3),
            (os.POSIX_SPAWN_DUP2, moved[1], 4),
        ]
        program = CODE.format(module="archiver")
        return spawn(program, "stackctl-archiver", actions=actions)
    finally:
        for fd in moved:
            os.close(fd)


def _translated(message: Message, path: str, name: str) -> StackctlError:
    text, code = message["failed"], message["errno"]
    if message.get("mistaken"):
        return UsageError(text)
    if code in (errno.ENOENT, errno.ENOTDIR):
        # Docker's words, that clients compare.
        return NotFound(f"Could not find the file {path} in container {name}")
    if code == errno.EROFS:
        return UsageError(f"{path} is read-only in the container")
    return ContainerError(f"cannot copy {path}: {text}")
