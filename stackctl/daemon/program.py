"""A program outside the engine that is spoken with over its standard input and output."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from subprocess import DEVNULL, PIPE, Popen
from typing import IO, Self


class Program:
    """Runs within an `async with`: who leaves it early, by whatever way, ends the program and all
    that it has started.

    Not asyncio's subprocess: that kills only the program itself when it is given up while it
    starts, and waits for the end of its pipes, which who is left in the background may keep for
    ever.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        errors: IO[bytes] | None = None,
        limit: int = 1 << 16,
    ) -> None:
        """`errors`: a file for its standard error. `limit`: of a line of `output`, in bytes."""
        self._arguments, self._environment, self._errors = arguments, environment, errors
        self.output = asyncio.StreamReader(limit)

    async def __aenter__(self) -> Self:
        """Raises OSError when it cannot be started."""
        self._process = Popen(
            self._arguments,
            env=self._environment,
            stdin=PIPE,
            stdout=PIPE,
            stderr=self._errors or DEVNULL,
            # A group of its own, so that its children can be reached.
            start_new_session=True,
        )
        self._pidfd = os.pidfd_open(self._process.pid)
        self._transports: list[asyncio.BaseTransport] = []
        try:
            loop = asyncio.get_running_loop()
            reading, _ = await loop.connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(self.output), self._process.stdout
            )
            self._transports.append(reading)
            self.input, _ = await loop.connect_write_pipe(asyncio.Protocol, self._process.stdin)
            self._transports.append(self.input)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def wait(self) -> int:
        """Its exit code. Waits for the program alone, not for its children."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(self._pidfd, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._pidfd)
        return self._process.wait()

    async def __aexit__(self, *_: object) -> None:
        try:
            if self._process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                await self.wait()
        finally:
            os.close(self._pidfd)
            for transport in self._transports:
                transport.close()
