"""The engine's connections to its shims: one a stack, started when it is first needed."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from stackctl.errors import ContainerError, MachineError
from stackctl.runtime import shims
from stackctl.runtime.shims import OnEvent, Shim, ShimGone, ShimProgram, SpareShim
from stackctl.state.paths import Paths

#: Seconds: whoever waits for what has just been started is answered first.
_SOON = 0.02


class ShimPool:
    """`on_gone(name)`: a connection broke; the shim was killed, or it has left."""

    def __init__(
        self, paths: Paths, program: ShimProgram, on_event: OnEvent, on_gone: Callable[[str], None]
    ) -> None:
        self._paths = paths
        self._program = program
        self._on_event = on_event
        self._on_gone = on_gone
        self._shims: dict[str, Shim] = {}
        self._starting: dict[str, asyncio.Lock] = {}
        self._pids: dict[int, int] = {}
        self._spare: SpareShim | None = None
        self._refill: asyncio.TimerHandle | None = None
        self._closed = False

    def get(self, name: str) -> Shim | None:
        return self._shims.get(name)

    def close(self) -> None:
        """Leave them; they go on, but for the spare one."""
        self._closed = True
        if self._refill is not None:
            self._refill.cancel()
        if self._spare is not None:
            self._spare.close()
            self._spare = None
        for shim in list(self._shims.values()):
            shim.close()
        for fd in self._pids.values():
            asyncio.get_running_loop().remove_reader(fd)
            os.close(fd)
        self._pids.clear()

    async def ensure(self, name: str) -> Shim:
        """The shim of a stack, started when there is none. Returns before it is up."""
        async with self._starting.setdefault(name, asyncio.Lock()):
            shim = self._shims.get(name)
            if shim is not None and shim.is_alive:
                return shim
            try:
                shim = self.connect(name)
                self.watch((await shim.call({"op": "list"}))["pid"])
                return shim
            except (FileNotFoundError, ConnectionRefusedError, ShimGone):
                pass  # none there, or one that is about to leave
            except OSError as error:
                # It is there, with containers maybe: a second one would not know them.
                raise MachineError(
                    f'the shim of "{name}" takes no connections: {error.strerror}',
                    hint="is it stopped, by a debugger maybe?",
                ) from error
            path = self._paths.shim_socket(name)
            spare, self._spare = self._spare, None
            if spare is None or not spare.become(path):
                self.watch(shims.start_shim(path, self._log, self._program))
            return self.connect(name)

    def replace_spare(self) -> None:
        """Nothing is being started any more: have a spare shim again, soon."""
        if self._spare is None and self._refill is None and not self._closed:
            self._refill = asyncio.get_running_loop().call_later(_SOON, self.keep_spare)

    def keep_spare(self) -> None:
        """Have a shim ready for the next stack. Not having one costs time only."""
        self._refill = None
        if self._spare is None:
            directory = self._paths.shim_socket("").parent
            with contextlib.suppress(OSError, MachineError):
                self._spare = SpareShim(directory, self._log, self._program)
                self.watch(self._spare.pid)

    @property
    def _log(self) -> Path:
        return self._paths.root / "shim.log"

    def connect(self, name: str) -> Shim:
        shim = shims.connect(name, self._paths.shim_socket(name), self._on_event)
        self._shims[name] = shim
        shim.gone.add_done_callback(lambda _: self._gone(shim))
        return shim

    def watch(self, pid: int) -> None:
        """Reap it when it ends, if it is our child."""
        with contextlib.suppress(OSError):
            fd = os.pidfd_open(pid)

            def ended() -> None:
                asyncio.get_running_loop().remove_reader(fd)
                os.close(fd)
                self._pids.pop(pid, None)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)

            if pid in self._pids:
                os.close(fd)
                return
            self._pids[pid] = fd
            asyncio.get_running_loop().add_reader(fd, ended)

    def _gone(self, shim: Shim) -> None:
        if self._shims.get(shim.name) is shim:
            del self._shims[shim.name]
        self._on_gone(shim.name)

    async def close_stack(self, name: str) -> None:
        """The last container of a stack has gone: its shim leaves."""
        # Under the lock, or a start would be handed the shim that has just been told to leave.
        async with self._starting.setdefault(name, asyncio.Lock()):
            shim = self._shims.get(name)
            if shim is None:
                return
            with contextlib.suppress(ShimGone, ContainerError):
                reply = await shim.call({"op": "stop"})
                if reply["stopped"]:
                    await asyncio.shield(shim.gone)

    async def close_all(self) -> None:
        """No container is left in the engine: every shim leaves."""
        await asyncio.gather(*(self.close_stack(name) for name in tuple(self._shims)))
