"""One child forked ahead of its need.

A fork of an interpreter and the first touch of its pages take two of the milliseconds of a start,
or of an exec. The shim has them behind it when it is asked: a child waits for its order, with
nothing but its end of a socket, and is followed by the next one when nobody waits for anything.
"""

from __future__ import annotations

import _socket
import gc
import os

from stackctl.linux import signals
from stackctl.runtime.shim import child, protocol
from stackctl.runtime.shim.streams import EPOLLIN, Poller

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Message = dict[str, Any]


class Reserve:
    """Gives children away, and knows whose they are."""

    def __init__(self, poller: Poller) -> None:
        #: Pids of children that somebody waits for.
        self.known: set[int] = set()
        #: Children that nobody knew at the last look.
        self._strays: set[int] = set()
        #: Whether `fill` is of use: not after a fork that failed, until somebody needs one again.
        self.is_wanted = True
        self._poller = poller
        self._pid = 0
        self._control: _socket.socket | None = None

    def fill(self) -> None:
        """Fork the child that waits."""
        self.is_wanted = False
        try:
            self._pid, self._control = self._fork()
        except OSError:
            return  # no process or no memory left: whoever needs a child will say so
        self._poller.watch(self._control.fileno(), EPOLLIN, self._lost)

    def take(self, order: Message, fds: tuple[int, ...]) -> tuple[int, _socket.socket]:
        """A child that carries out `order` (see child.main), and our end of its socket.

        Whoever takes it waits for it; its pid is in `known`.
        """
        self.is_wanted = True
        if self._control is not None:
            pid, control = self._pid, self._control
            self._poller.unwatch(control.fileno())
            self._control = None
            try:
                protocol.send(control, order, fds)
                return pid, control
            except OSError:
                self._end(pid, control)
        pid, control = self._fork()
        protocol.send(control, order, fds)
        return pid, control

    @property
    def has_strays(self) -> bool:
        return bool(self._strays)

    def reap_strays(self) -> None:
        """Children that nobody waits for, if they have ended: of helpers that were killed.

        One that is unknown for the first time may be a launch's, whose word of it lies
        unread in its socket: only at the next look it is nobody's.
        """
        me = os.getpid()
        with open(f"/proc/{me}/task/{me}/children", "rb") as file:
            unknown = {int(pid) for pid in file.read().split()} - self.known
        for pid in unknown & self._strays:
            os.waitpid(pid, os.WNOHANG)
        self._strays = unknown

    def dismiss(self) -> None:
        """The child that waits goes; nothing is left of it."""
        if self._control is not None:
            self._poller.unwatch(self._control.fileno())
            self._end(self._pid, self._control)
            self._control = None

    def _lost(self, _events: int) -> None:
        """Somebody killed it."""
        self.dismiss()
        self.is_wanted = True

    def _fork(self) -> tuple[int, _socket.socket]:
        ours, theirs = protocol.pair()
        protocol.enlarge(ours)
        gc.freeze()  # the child then shares the pages that a collection would touch
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            raise
        if pid == 0:
            child.main(theirs.fileno())
        theirs.close()
        self.known.add(pid)
        return pid, ours

    def _end(self, pid: int, control: _socket.socket) -> None:
        control.close()
        os.kill(pid, signals.SIGKILL)
        os.waitpid(pid, 0)
        self.known.discard(pid)
