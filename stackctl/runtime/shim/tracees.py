"""Threads of containers that made the shim their tracer, and that only it can reap.

PTRACE_TRACEME takes the parent for a tracer, without asking it. A thread of a container's
process that does so and ends is a zombie until its tracer waits for it, and so long its
process cannot end either: not even SIGKILL ends it (ptrace(2), "Death under ptrace").
"""

from __future__ import annotations

import os

from stackctl.linux import process, signals
from stackctl.runtime.shim.streams import EPOLLIN, Poller

#: Threads too, whatever signal they were made with (wait(2)).
_WALL = 0x40000000


class Tracees:
    """Looks for them whenever a child, or a tracee, has ended."""

    def __init__(self, poller: Poller) -> None:
        signals.block((signals.SIGCHLD,))
        self._fd = signals.descriptor((signals.SIGCHLD,))
        self._may_be_there = False
        poller.watch(self._fd, EPOLLIN, self._told)

    def _told(self, _events: int) -> None:
        signals.drain(self._fd)
        self._may_be_there = True

    def reap(self) -> None:
        """Reap threads; processes are left to whoever waits for them, and then we look again."""
        while self._may_be_there:
            try:
                options = os.WEXITED | os.WNOHANG | os.WNOWAIT | _WALL
                found = os.waitid(os.P_ALL, 0, options)
            except ChildProcessError:
                found = None
            if found is None:
                self._may_be_there = False
            elif process.is_thread(found.si_pid):
                os.waitpid(found.si_pid, os.WNOHANG | _WALL)
            else:
                return
