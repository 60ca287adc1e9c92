"""The streams of an exec or an attach, as the API serves them.

read() -> (stream, bytes) | None, write, close_stdin, resize, wait, close. One
reader and one writer at a time. Descriptors are non-blocking and waited for by
the event loop; nothing is read ahead, so a slow client holds back its own
process and nobody else.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import Callable

from stackctl.errors import ContainerError
from stackctl.linux import terminal

STDOUT, STDERR = 1, 2
_PIECE = 65536
_HEADER = 8


class Readable:
    """One descriptor that the loop watches while somebody reads it."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self.fd = fd

    def try_read(self, size: int) -> bytes | None:
        """Bytes, b"" at the end, None when there is nothing yet."""
        try:
            return os.read(self.fd, size)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in (errno.EIO, errno.ECONNRESET):  # a terminal without users
                return b""
            raise

    def close(self) -> None:
        if self.fd >= 0:
            asyncio.get_running_loop().remove_reader(self.fd)
            os.close(self.fd)
            self.fd = -1


class Stdin:
    """The writing side: a pipe or a terminal's master, given now or later."""

    def __init__(self) -> None:
        self._fd: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._wake: Callable[[], None] = lambda: None

    def give(self, fd: int) -> None:
        """-1: there is no stdin; what is written goes nowhere."""
        if self._fd.done():
            if fd >= 0:
                os.close(fd)
            return
        if fd >= 0:
            os.set_blocking(fd, False)
        self._fd.set_result(fd)

    @property
    def fd(self) -> int:
        return self._fd.result() if self._fd.done() else -1

    async def wait(self) -> int:
        return await asyncio.shield(self._fd)

    async def write(self, data: bytes) -> None:
        fd = await self.wait()
        view = memoryview(data)
        while view and self.fd == fd >= 0:
            try:
                view = view[os.write(fd, view) :]
            except BlockingIOError:
                await self._writable(fd)
            except OSError:  # the reader has gone: as with a pipe, only the writer may care
                return

    async def _writable(self, fd: int) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        self._wake = wake
        loop.add_writer(fd, wake)
        try:
            await ready
        finally:
            if self.fd == fd:
                loop.remove_writer(fd)

    def close(self) -> None:
        if not self._fd.done():
            self._fd.set_result(-1)
            return
        fd = self._fd.result()
        if fd >= 0:
            asyncio.get_running_loop().remove_writer(fd)
            os.close(fd)
        self._fd = asyncio.get_running_loop().create_future()
        self._fd.set_result(-1)
        self._wake()


class Session:
    """An exec's or a main process's streams."""

    def __init__(self, *, tty: bool) -> None:
        self.tty = tty
        self.stdin = Stdin()
        #: An exec's process as this machine numbers it; 0 for a main process.
        self.pid = 0
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        #: Called when stdin is closed by the client, after its descriptor was.
        self.on_stdin_closed: Callable[[], None] = lambda: None
        #: Sends a signal to an exec's process; an attach has none of its own.
        self.on_signal: Callable[[int], None] = lambda signum: None
        self._pipes: dict[int, Readable] = {}
        self._turn = STDOUT
        self._wake: Callable[[], None] = lambda: None

    def add(self, stream: int, fd: int) -> None:
        """Take over `fd` as the reading end of stream 1 or 2."""
        self._pipes[stream] = Readable(fd)

    async def read(self) -> tuple[int, bytes] | None:
        """What comes next on stdout (1, everything of a terminal) or stderr (2)."""
        while self._pipes:
            # Whoever was read last comes last, so that neither starves.
            for stream in sorted(self._pipes, key=lambda s: s == self._turn):
                data = self._pipes[stream].try_read(_PIECE)
                if data:
                    self._turn = stream
                    return stream, data
                if data is not None:
                    self._pipes.pop(stream).close()
                    break
            else:
                await self._wait_readable()
        return None

    async def _wait_readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        self._wake = wake
        watched = [pipe.fd for pipe in self._pipes.values()]
        for fd in watched:
            loop.add_reader(fd, wake)
        try:
            await ready
        finally:
            still = {pipe.fd for pipe in self._pipes.values()}
            for fd in watched:
                if fd in still:
                    loop.remove_reader(fd)

    async def write(self, data: bytes) -> None:
        await self.stdin.write(data)

    async def close_stdin(self) -> None:
        """End of input. A terminal has none: there it is left to Ctrl-D."""
        await self.stdin.wait()
        if not self.tty:
            self.stdin.close()
            self.on_stdin_closed()

    async def resize(self, width: int, height: int) -> None:
        """Only a terminal has a size; for others nothing happens."""
        if self.tty and width and height and await self.stdin.wait() >= 0:
            terminal.resize(self.stdin.fd, width, height)

    async def wait(self) -> int:
        """The exit code."""
        return await asyncio.shield(self.exited)

    async def kill(self, signum: int = signal.SIGKILL) -> None:
        """Signal the process of an exec (what it has forked is left alone)."""
        self.on_signal(signum)

    async def close(self) -> None:
        """Let go of everything; the process is left alone."""
        self.end_streams()

    def end_streams(self) -> None:
        for pipe in self._pipes.values():
            pipe.close()
        self._pipes.clear()
        self._wake()
        self.stdin.close()

    def finish(self, code: int) -> None:
        if not self.exited.done():
            self.exited.set_result(code)

    def fail(self, why: str) -> None:
        """The exit code will never be known."""
        if not self.exited.done():
            self.exited.set_exception(ContainerError(why))
            self.exited.exception()  # somebody may wait for it, nobody has to


class AttachSession(Session):
    """Frames of the shim (Docker's) turned back into (stream, bytes)."""

    def __init__(self, fd: int, *, tty: bool) -> None:
        super().__init__(tty=tty)
        self.add(STDOUT, fd)
        self._header = b""
        self._left = 0
        self._stream = STDOUT

    async def read(self) -> tuple[int, bytes] | None:
        if self.tty:
            return await super().read()
        while self._pipes:
            size = self._left or _HEADER - len(self._header)
            data = self._pipes[STDOUT].try_read(min(size, _PIECE))
            if data is None:
                await self._wait_readable()
            elif not data:
                self._pipes.pop(STDOUT).close()
            elif self._left:
                self._left -= len(data)
                return self._stream, data
            else:
                self._header += data
                if len(self._header) == _HEADER:
                    self._stream = self._header[0]
                    self._left = int.from_bytes(self._header[4:], "big")
                    self._header = b""
        return None
