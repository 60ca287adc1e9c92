"""Start of the keeper: `main(run directory, descriptor to say "ready" on)`.

It leaves its starter's session, working directory and control groups, so that a
finished CI step or a closed terminal does not take it along.
"""

from __future__ import annotations

import fcntl
import functools
import os
import resource
import signal
import sys
import traceback

from stackctl.net.keeper.loop import Loop
from stackctl.net.keeper.server import Server

_PRIORITY = -10
#: What the client waits for on the descriptor it handed over.
READY = b"ready\n"


def main(arguments: list[str]) -> None:
    """arguments: run directory, ready descriptor, resolv.conf."""
    run, ready, resolv_conf = arguments[0], int(arguments[1]), arguments[2]
    if os.fork():
        os._exit(0)  # the starter waits for this one only
    os.setsid()
    os.chdir("/")
    _leave_cgroups()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    os.umask(0o077)
    _come_first()
    lock = os.open(f"{run}/keeper.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.write(ready, READY)  # another keeper serves this engine: all is well
        return
    # Two sockets and a process descriptor a container, one or two sockets a port.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    loop = Loop(functools.partial(_note, f"{run}/keeper.log"))
    server = Server(loop, f"{run}/keeper.json", resolv_conf)
    server.load()
    path = f"{run}/keeper.sock"
    server.listen(path)
    os.write(ready, READY)
    os.close(ready)
    loop.run()
    for left in (path, f"{run}/keeper.json", f"{run}/keeper.lock"):
        try:
            os.unlink(left)
        except OSError:
            pass
    sys.exit(0)


def _note(path: str, error: Exception) -> None:
    """Writes down a bug that was met; the file stays small."""
    try:
        with open(path, "a") as file:
            if file.tell() < 1 << 20:
                traceback.print_exception(error, file=file)
    except OSError:
        return


def _come_first() -> None:
    """Answers come before whatever else keeps the machine busy: an image that unpacks, a build.

    Two places, because a session's own scheduling group hides the priority within it
    (sched(7), "The autogroup feature").
    """
    try:
        os.setpriority(os.PRIO_PROCESS, 0, _PRIORITY)
        with open("/proc/self/autogroup", "w") as file:
            file.write(str(_PRIORITY))
    except OSError:
        return  # not allowed, or no such groups: as everybody else, then


def _leave_cgroups() -> None:
    """Moves to the root of every hierarchy; where that is refused it stays."""
    try:
        with open("/proc/self/cgroup") as file:
            lines = file.read().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        name = controllers.removeprefix("name=")
        unified = "unified" if os.path.exists("/sys/fs/cgroup/unified/cgroup.procs") else ""
        if path == "/":
            continue
        try:
            with open(f"/sys/fs/cgroup/{name or unified}/cgroup.procs", "w") as file:
                file.write("0")
        except OSError:
            continue
