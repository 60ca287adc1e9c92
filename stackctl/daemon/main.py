"""The daemon's process: one an engine, from its lock to its end.

    lock -> log -> build the engine -> answer -> tell who started us -> ... -> leave

Knows neither HTTP nor containers: `build` makes the engine, `face` what answers
for it (see stackctl.api.serve, which brings them together). Leaving, for
whatever reason, leaves containers running.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import fcntl
import json
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from stackctl import __version__
from stackctl.daemon import logfile
from stackctl.daemon.lifetime import Front, IdleTimer, Service
from stackctl.errors import Conflict, InternalError, NotPermitted, StackctlError
from stackctl.state.directories import prepare, translate
from stackctl.state.paths import Paths
from stackctl.values import dataclass

log = logging.getLogger(__name__)

S = TypeVar("S", bound=Service)

#: Seconds for a daemon that is leaving to let go of its lock.
_HANDOVER_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    paths: Paths
    #: Started by the CLI: log to the file alone, leave the caller's control groups, and
    #: leave when nothing has run and nobody has called for `idle_seconds`.
    auto_exit: bool = False
    idle_seconds: float = 60.0
    #: A pipe that hears {"ready": true} or {"error": ...} in one line, then is closed.
    ready_fd: int | None = None
    log_level: str = "INFO"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring(Generic[S]):
    """What the process is made of."""

    #: Makes the engine, records and kernel agreeing. Raises StackctlError.
    build: Callable[[Paths], Awaitable[S]]
    #: (engine, leave, busy_changed) -> what answers for it.
    face: Callable[[S, Callable[[], None], Callable[[int], None]], Front]
    #: Called once we answer: to load what the first real request needs.
    warm_up: Callable[[], object] = lambda: None


def run(options: Options, wiring: Wiring[S]) -> int:
    """Until told to leave; 0. Without `ready_fd` raises StackctlError when it cannot start."""
    try:
        with _prepared(options):
            asyncio.run(_life(options, wiring))
    except StackctlError as error:
        if options.ready_fd is None:
            raise
        log.error("the engine cannot start: %s", error)
        tell(options.ready_fd, {"error": error.to_json()})
        return error.exit_code
    except Exception as error:
        log.exception("the engine failed")
        failure = InternalError(
            f"the engine failed: {type(error).__name__}: {error}",
            hint=f"this is a bug in stackctl; {options.paths.daemon_log} has the details",
        )
        if options.ready_fd is None:
            raise failure from error
        tell(options.ready_fd, {"error": failure.to_json()})
        return failure.exit_code
    return 0


async def _life(options: Options, wiring: Wiring[S]) -> None:
    loop = asyncio.get_running_loop()
    leave = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)
    service = await wiring.build(options.paths)
    idle = IdleTimer(options.idle_seconds, service.is_idle, leave.set, loop.call_later)
    try:
        busy_changed = idle.busy_changed if options.auto_exit else lambda count: None
        front = wiring.face(service, leave.set, busy_changed)
        try:
            await front.start()
            # The start's cost, without what the machine did meanwhile.
            extra = {"pid": os.getpid(), "version": __version__, "cpu": time.process_time()}
            log.info("ready", extra=extra)
            if options.ready_fd is not None:
                tell(options.ready_fd, {"ready": True})
            if options.auto_exit:
                idle.begin()
            # Held: a future that nobody holds may be collected while it runs.
            warm = wiring.warm_up()
            await leave.wait()
            del warm
            log.info("leaving")
        finally:
            idle.cancel()
            await front.close()
    finally:
        idle.cancel()
        await service.close()


@contextlib.contextmanager
def _prepared(options: Options) -> Iterator[None]:
    """The process as a daemon's: alone, with its log, and away from who started it."""
    paths = options.paths
    if os.geteuid() != 0:
        raise NotPermitted(
            "stackctl needs root to run its engine", hint="run it as root (sudo stackctl ...)"
        )
    prepare(paths)
    with contextlib.ExitStack() as held:
        # The run-time directory's lock is the one that waits: who comes while another
        # engine leaves takes over from it.
        held.enter_context(_locked(paths.daemon_lock, "STACKCTL_RUN", paths, wait=True))
        held.enter_context(_locked(paths.root, "STACKCTL_ROOT", paths, wait=False))
        also = None if options.auto_exit else sys.stderr
        try:
            logfile.begin(
                paths.daemon_log, stdio=options.auto_exit, also=also, level=options.log_level
            )
        except OSError as error:
            raise translate(error, paths.daemon_log, "STACKCTL_ROOT") from error
        faulthandler.enable()
        os.umask(0o022)
        if options.auto_exit:
            os.chdir("/")
            _leave_cgroups(paths)
        _raise_descriptor_limit()
        yield


@contextlib.contextmanager
def _locked(path: Path, variable: str, paths: Paths, *, wait: bool) -> Iterator[None]:
    """Holds flock(2) on a file or directory: the kernel lets go of it however we end."""
    try:
        directory = path.is_dir()
        flags = os.O_RDONLY if directory else os.O_RDWR | os.O_CREAT
        fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise translate(error, paths.daemon_lock, variable) from error
    try:
        if not _flock(fd, wait=wait and not paths.socket.exists()):
            holder = b"" if directory else os.pread(fd, 20, 0).strip()
            who = f" (pid {holder.decode(errors='replace')})" if holder else ""
            raise Conflict(
                f"another engine{who} uses {path}",
                hint=f"`stackctl` talks to it; for a second engine set {variable}",
            )
        if not directory:
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        yield
    finally:
        os.close(fd)


def _flock(fd: int, *, wait: bool) -> bool:
    """Takes the lock; `wait` for one that an engine on its way out still holds."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        if not wait:
            return False

    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, _HANDOVER_SECONDS)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        return True
    except TimeoutError:
        return False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _leave_cgroups(paths: Paths) -> None:
    """A CI step or a login session that ends takes its control group with it, but not us."""
    from stackctl.runtime.cgroups.driver import driver

    try:
        stuck = driver().move_self_out(paths.cgroup)
    except (StackctlError, OSError) as error:
        # The first container will say what is wrong with control groups here.
        log.warning("still in the caller's control groups: %s", error)
        return
    if stuck:
        log.warning("still in the caller's control groups", extra={"hierarchies": stuck})


def _raise_descriptor_limit() -> None:
    """Each log follower and half-open client takes one. The hard limit stays as it is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def tell(fd: int, message: dict[str, object]) -> None:
    """One line to who waits for us. That one may be gone: then nobody needs to know."""
    with contextlib.suppress(OSError):
        os.write(fd, json.dumps(message).encode() + b"\n")
        os.close(fd)
