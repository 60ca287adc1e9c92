"""Starting the daemon: once, whoever asks at the same time, and away from the caller.

    CLI                              daemon
     |-- launch.lock (flock)
     |-- connect again: somebody else may have been first
     |-- fork, spawn -----------------> own session, stdio on daemon.log
     |                                  lock, records, socket
     |<-- pipe: {"ready": true} ------- or {"error": {...}}, or the end of the pipe
     |-- connect

Loaded only when no engine answers.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from stackctl.errors import EngineUnreachable, NotPermitted, RemoteError
from stackctl.state.directories import prepare, translate
from stackctl.state.paths import Paths

#: Seconds for a daemon to be ready; it takes a fraction of one. Records of many
#: containers are checked against the kernel first.
_PATIENCE = 60.0

#: No descriptor has a higher number: INT_MAX.
_HIGHEST = (1 << 31) - 1

#: What the daemon may see of the caller's environment: the rest is the caller's own.
_PASSED = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
_PASSED_PREFIXES = ("STACKCTL_", "LC_")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")

_ENTRY = (
    "import sys; d = sys.argv.pop(1); d in sys.path or sys.path.insert(0, d); "
    "from stackctl.api.serve import main; sys.exit(main())"
)


def launch(
    paths: Paths, connect: Callable[[], socket.socket], *, entry: str = _ENTRY
) -> socket.socket:
    """Starts a daemon, or finds the one that somebody else just started.

    `entry` is the Python text that the daemon runs; its first argument is the directory of
    our package. Raises NotPermitted, MachineError, EngineUnreachable, and what the daemon reports.
    """
    if os.geteuid() != 0:
        raise NotPermitted(
            "stackctl needs root to start its engine",
            hint="run it as root (sudo stackctl ...)",
        )
    prepare(paths)
    with open(paths.run / "launch.lock", "w", opener=_private) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return connect()
        except OSError:
            pass
        _start(paths, entry)
        try:
            return connect()
        except OSError as error:
            raise EngineUnreachable(
                f"the engine was started but does not answer: {error.strerror}",
                hint=f"{paths.daemon_log} may say why",
            ) from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _start(paths: Paths, entry: str) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    try:
        log_size = _spawn(paths, writer, entry)
        os.close(writer)
        writer = -1
        _await_ready(reader, paths, log_size)
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)


def _spawn(paths: Paths, ready: int, entry: str) -> int:
    """Starts the process; gives the log's size before it."""
    try:
        log = os.open(
            paths.daemon_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
    except OSError as error:
        raise translate(error, paths.daemon_log, "STACKCTL_ROOT") from error
    try:
        size = os.fstat(log).st_size
        # A child in between: the daemon becomes init's, and no zombie of a long `logs -f`.
        child = os.fork()
        if child == 0:
            try:
                os.chdir("/")
                _close_all_but(ready, log)
                _be_as_init()
                _spawn_detached(paths, ready, log, entry)
                os._exit(0)
            except BaseException:
                os._exit(1)
        _, status = os.waitpid(child, 0)
    finally:
        os.close(log)
    if status:
        raise EngineUnreachable(
            "the engine could not be started", hint=f"is {sys.executable} still there?"
        )
    return size


def _close_all_but(*kept: int) -> None:
    """The daemon outlives whoever began it: it keeps no lock, no pipe and no directory that
    the caller's own caller has open for its children."""
    first = 3
    for fd in sorted(kept):
        os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, _HIGHEST)


def _be_as_init() -> None:
    """The caller's priority, processors and lower limits are not those of all containers: the
    daemon has what a child of init would have."""
    import resource

    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, os.sched_getaffinity(1))
        nice = os.getpriority(os.PRIO_PROCESS, 1)
        os.setpriority(os.PRIO_PROCESS, 0, min(nice, os.getpriority(os.PRIO_PROCESS, 0)))
    for name in (name for name in vars(resource) if name.startswith("RLIMIT_")):
        limit = getattr(resource, name)
        with contextlib.suppress(OSError, ValueError):
            usual, own = resource.prlimit(1, limit), resource.getrlimit(limit)
            soft = max(usual[0], own[0], key=_size)
            resource.setrlimit(limit, (min(soft, own[1], key=_size), own[1]))
            # Not everywhere may a hard limit be raised.
            resource.setrlimit(limit, (soft, max(usual[1], own[1], key=_size)))


def _size(limit: int) -> float:
    return float("inf") if limit == -1 else limit  # RLIM_INFINITY


def _spawn_detached(paths: Paths, ready: int, log: int, entry: str) -> None:
    package = Path(__file__).resolve().parent.parent.parent
    os.posix_spawn(
        sys.executable,
        [
            sys.executable,
            # Nothing of the caller's directory may be imported.
            "-P",
            "-c",
            entry,
            str(package),
            "--auto-exit",
            f"--ready-fd={ready}",
        ],
        daemon_environment(paths, os.environ),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, log, 1),
            (os.POSIX_SPAWN_DUP2, log, 2),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGINT, signal.SIGPIPE, signal.SIGHUP, signal.SIGTERM],
    )


def daemon_environment(paths: Paths, environment: Mapping[str, str]) -> dict[str, str]:
    """What of the caller's environment reaches the daemon."""
    passed = {
        name: value
        for name, value in environment.items()
        if name in _PASSED or name.startswith(_PASSED_PREFIXES) or name.lower() in _PROXIES
    }
    return {**passed, "STACKCTL_ROOT": str(paths.root), "STACKCTL_RUN": str(paths.run)}


def _await_ready(reader: int, paths: Paths, log_size: int) -> None:
    """Until the daemon says that it is ready. Raises what it says instead."""
    text = b""
    while not text.endswith(b"\n"):
        # poll, not select: a program with more than 1024 descriptors may use this client.
        poller = select.poll()
        poller.register(reader, select.POLLIN)
        if not poller.poll(_PATIENCE * 1000):
            raise EngineUnreachable(
                f"the engine was started but is not ready after {_PATIENCE:.0f} s",
                hint=f"{paths.daemon_log} may say why",
            )
        piece = os.read(reader, 65536)
        if not piece:
            raise EngineUnreachable(
                "the engine ended while it started",
                hint=f"{paths.daemon_log} has more",
                details=_tail(paths.daemon_log, log_size),
            )
        text += piece
    message = json.loads(text)
    if "error" in message:
        raise RemoteError(message["error"])


def _tail(log: Path, offset: int, lines: int = 5) -> tuple[str, ...]:
    """The last lines that were written behind `offset`."""
    try:
        with open(log, errors="replace") as file:
            file.seek(offset)
            return tuple(line.rstrip() for line in file.readlines()[-lines:])
    except OSError:
        return ()
