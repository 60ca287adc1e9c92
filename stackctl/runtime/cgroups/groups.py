"""What both versions share: walking, reading, killing by pid, removing.

A process is signalled through a pidfd after its group was checked: between
reading a list of pids and the signal a number may have changed hands.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import time
from collections.abc import Iterable, Iterator, Sequence

from stackctl.errors import MachineError

#: One round holds at most this many descriptors; a fork bomb takes several rounds.
_AT_ONCE = 200


def read(path: str) -> str | None:
    """A control file's text without the final newline; None when it is not there."""
    try:
        with open(path) as file:
            return file.read().rstrip("\n")
    except FileNotFoundError:
        return None
    except OSError as e:
        # The group was removed while its file was open.
        if e.errno == errno.ENODEV:
            return None
        raise


def number(path: str) -> int | None:
    """None when the file is not there or says "max"."""
    text = read(path)
    return int(text) if text and text.lstrip("-").isdigit() else None


def fields(path: str) -> dict[str, int]:
    """A file of "name value" lines; empty when it is not there."""
    pairs = (line.split() for line in (read(path) or "").splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def write(path: str, text: str) -> None:
    """One write(2), as control files want it."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def apply(writes: Sequence[tuple[str, str]]) -> None:
    """Write limits of a running group in an order that the kernel takes.

    memory <= memory + swap must hold at every moment (v1), so that which of the two
    has to be first depends on the direction: what is refused is tried again after
    the others. Raises MachineError naming what stays refused.
    """
    waiting = list(writes)
    while waiting:
        refused: list[tuple[str, str]] = []
        reason = ""
        for path, text in waiting:
            try:
                write(path, text)
            except OSError as error:
                refused.append((path, text))
                reason = error.strerror or str(error)
        if len(refused) == len(waiting):
            path, text = refused[0]
            raise MachineError(
                f"the kernel refuses {text} for {os.path.basename(path)}: {reason}",
                hint="more memory than that may be in use, or the value is out of range",
            )
        waiting = refused


def make(path: str) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o755)


def below(group: str) -> Iterator[str]:
    """The group and all groups in it, deepest first."""
    for directory, _, _ in os.walk(group, topdown=False):
        yield directory


def processes(group: str) -> tuple[int, ...]:
    """Pids in the group and below; a process of a pid namespace we cannot see into is left out."""
    pids: set[int] = set()
    for directory in below(group):
        pids.update(int(pid) for pid in (read(f"{directory}/cgroup.procs") or "").split())
    return tuple(sorted(pids - {0}))


def remove_empty(paths: Iterable[str]) -> bool:
    """rmdir of each; whether none is left. A group that is in use stays."""
    gone = True
    for path in paths:
        try:
            os.rmdir(path)
        except FileNotFoundError:
            pass
        except OSError:
            gone = False
    return gone


def kill_all(pids: Iterable[int], mark: str) -> list[int]:
    """SIGKILL to those whose /proc/PID/cgroup mentions `mark`; pidfds to wait on, to be closed."""
    waiting: list[int] = []
    for pid in pids:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        if mark not in (read(f"/proc/{pid}/cgroup") or ""):
            os.close(fd)
            continue
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        if len(waiting) < _AT_ONCE:
            waiting.append(fd)
        else:
            os.close(fd)
    return waiting


def wait_ended(pidfds: list[int], deadline: float) -> None:
    """Until all have ended or the deadline (monotonic); closes the descriptors."""
    poll = select.poll()
    try:
        for fd in pidfds:
            poll.register(fd, select.POLLIN)
        left = len(pidfds)
        while left and (rest := deadline - time.monotonic()) > 0:
            for fd, _ in poll.poll(rest * 1000):
                poll.unregister(fd)
                left -= 1
    finally:
        for fd in pidfds:
            os.close(fd)


def remove(group: str, deadline: float) -> bool:
    """Removes the group and those in it. False: still in use at the deadline."""
    pause = 0.001
    while True:
        try:
            for directory in below(group):
                os.rmdir(directory)
            return not os.path.exists(group)
        except FileNotFoundError:
            continue
        except OSError as e:
            if e.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                raise
        if time.monotonic() >= deadline:
            return False
        # A process that has ended holds its group until the kernel is through with it;
        # nothing announces that moment on v1.
        time.sleep(pause)
        pause = min(2 * pause, 0.05)


def membership() -> dict[str, str]:
    """Our own groups: controllers as /proc/self/cgroup writes them ("" is v2) -> path."""
    lines = (read("/proc/self/cgroup") or "").splitlines()
    return {part[1]: part[2] for part in (line.split(":", 2) for line in lines) if len(part) == 3}
