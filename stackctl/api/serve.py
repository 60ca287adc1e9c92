"""Brings the engine and its server together: what `python -m stackctl.api.serve` runs.

    stackctl.daemon.main (process)  <-  this  ->  stackctl.daemon.service (engine)
                                         `----->  stackctl.api.server (answers)

The only place that knows all three; `stackctl daemon` calls `foreground`.
"""

from __future__ import annotations

import grp
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from stackctl.api.handlers import Handlers
from stackctl.api.listening import Link, Listening, open_all
from stackctl.api.routes import Routes
from stackctl.api.server import Server, only_root, or_group
from stackctl.daemon.main import Options, Wiring, run, tell
from stackctl.errors import UsageError
from stackctl.state.paths import Paths

if TYPE_CHECKING:
    from stackctl.api.docker.port import DockerEngine


class ServedEngine(Handlers, Protocol):
    """An engine that speaks to Docker's clients too."""

    def docker(self) -> DockerEngine: ...

    def admits(self, uid: int) -> bool:
        """Whether this host uid is a container's that was given the engine's socket."""
        ...

    def listens(self) -> None:
        """Told when the engine's socket is there: it is another one at each start."""
        ...


class Front:
    """The server, on the engine's socket and where else. Implements daemon.lifetime.Front."""

    def __init__(
        self,
        paths: Paths,
        handlers: ServedEngine,
        leave: Callable[[], None],
        busy_changed: Callable[[int], None],
        listening: Listening | None = None,
    ) -> None:
        self._paths = paths
        self._handlers = handlers
        self._listening = listening = listening or Listening()
        routes = Routes(handlers, on_shutdown=leave, docker=handlers.docker)
        self._group = socket_group(listening.group)
        self._link = Link(listening.link, paths.socket) if listening.link else None
        allow = or_group(lambda peer: only_root(peer) or handlers.admits(peer.uid), self._group)
        self._server = Server(routes, allow=allow, busy_changed=busy_changed)

    async def start(self) -> None:
        await self._server.listen(self._paths.socket, group=self._group)
        self._handlers.listens()
        await open_all(self._server, self._listening, self._group)
        if self._link is not None:
            self._link.make()

    async def close(self) -> None:
        if self._link is not None:
            self._link.remove()
        await self._server.close()


def socket_group(text: str) -> int | None:
    """The group that may use the socket, by name or number. UsageError for an unknown one."""
    if not text:
        return None
    if text.isdigit():
        return int(text)
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise UsageError(
            f'there is no group "{text}"',
            hint="--group and STACKCTL_SOCKET_GROUP are a group's name or number",
        ) from None


def configured(environment: Mapping[str, str]) -> Listening:
    """For an engine that was started without being told more."""
    link = environment.get("STACKCTL_DOCKER_SOCKET", "")
    return Listening(
        group=environment.get("STACKCTL_SOCKET_GROUP", ""), link=Path(link) if link else None
    )


def wiring(paths: Paths, listening: Listening | None = None) -> Wiring[Any]:
    """The real parts; the engine is imported when it is built, where its errors are told."""
    places = configured(os.environ) if listening is None else listening

    async def build(paths: Paths) -> Any:
        from stackctl.daemon import service

        return await service.build(paths)

    def warm_up() -> object:
        from stackctl.daemon import service

        return service.start_heavy_imports()

    return Wiring(
        build=build,
        face=lambda service, leave, busy: Front(paths, service, leave, busy, places),
        warm_up=warm_up,
    )


def foreground(paths: Paths, listening: Listening | None = None) -> int:
    """Runs the engine until SIGTERM or SIGINT. Raises StackctlError when it cannot start."""
    return run(Options(paths=paths, log_level=_log_level()), wiring(paths, listening))


def main(argv: Sequence[str] | None = None) -> int:
    """[--auto-exit] [--ready-fd=N]; everything else comes from the environment."""
    return start(sys.argv[1:] if argv is None else argv, wiring)


def start(argv: Sequence[str], wire: Callable[[Paths], Wiring[Any]]) -> int:
    """`main` with other parts."""
    auto_exit, ready_fd = False, None
    for argument in argv:
        name, _, value = argument.partition("=")
        if name == "--auto-exit":
            auto_exit = True
        elif name == "--ready-fd" and value.isdigit():
            ready_fd = int(value)
            # Not for shims: a pipe they hold would never end.
            os.set_inheritable(ready_fd, False)
        else:
            raise UsageError(f"unknown argument {argument}")
    _name_process()
    paths = Paths.from_environment()
    try:
        idle_seconds = _idle_seconds(os.environ.get("STACKCTL_IDLE_SECONDS", ""))
    except UsageError as error:
        if ready_fd is None:
            raise
        tell(ready_fd, {"error": error.to_json()})
        return error.exit_code
    options = Options(
        paths=paths,
        auto_exit=auto_exit,
        ready_fd=ready_fd,
        idle_seconds=idle_seconds,
        log_level=_log_level(),
    )
    return run(options, wire(paths))


def _idle_seconds(text: str) -> float:
    try:
        return max(0.0, float(text)) if text else 60.0
    except ValueError:
        raise UsageError(f"STACKCTL_IDLE_SECONDS is no number: {text!r}") from None


def _log_level() -> str:
    return os.environ.get("STACKCTL_LOG_LEVEL", "info").upper()


def _name_process() -> None:
    """What ps and top show; the kernel keeps 15 bytes (proc(5), comm)."""
    try:
        with open("/proc/self/comm", "w") as comm:
            comm.write("stackctl-daemon")
    except OSError:
        pass


if __name__ == "__main__":
    sys.exit(main())
