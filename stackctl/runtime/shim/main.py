"""The shim: parent of a stack's containers. Standard library, one thread, one epoll loop.

Started by the engine as a fresh interpreter with its listening socket on
descriptor 3, or as a spare one, which gets that socket later. It outlives daemons;
it leaves when it is told to, or when it has neither a container nor a daemon for
IDLE_SECONDS.
"""

from __future__ import annotations

import _socket
import gc
import os
import select

from stackctl.linux import process, signals
from stackctl.runtime.shim import protocol
from stackctl.runtime.shim.container import Container, Exec
from stackctl.runtime.shim.reserve import Reserve
from stackctl.runtime.shim.streams import EPOLLIN, EPOLLOUT, Poller
from stackctl.runtime.shim.tracees import Tracees

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Message = dict[str, Any]

LISTENER = 3
IDLE_SECONDS = 5.0
#: Characters of the file name of a shim's socket.
NAME_LENGTH = len("0123456789abcdef.sock")
#: Messages that wait for a daemon which does not read; then it is taken for dead.
_MAX_BACKLOG = 10000


class Loop(Poller):
    """Descriptors and their callbacks."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[int], object]] = {}

    def watch(self, fd: int, events: int, callback: Callable[[int], object]) -> None:
        self._callbacks[fd] = callback
        self._epoll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        if fd in self._callbacks:
            self._epoll.modify(fd, events)

    def unwatch(self, fd: int) -> None:
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def run_once(self, timeout: float) -> bool:
        """Handle what is ready; False when nothing was within `timeout` seconds (-1: endless)."""
        # An earlier callback of this round may have closed a descriptor, and even have opened
        # another one of the same number: an event is for whom it was meant, or for nobody.
        ready = [(fd, events, self._callbacks.get(fd)) for fd, events in self._epoll.poll(timeout)]
        for fd, events, callback in ready:
            if callback is not None and self._callbacks.get(fd) is callback:
                callback(events)
        return bool(ready)


class Connection:
    """One daemon."""

    def __init__(self, loop: Loop, sock: _socket.socket, shim: Shim) -> None:
        self._loop = loop
        self._sock = sock
        self._shim = shim
        self._backlog: list[tuple[Message, tuple[int, ...]]] = []
        loop.watch(sock.fileno(), EPOLLIN, self._ready)

    def tell(self, message: Message, fds: tuple[int, ...] = ()) -> None:
        """Send, or keep for later; descriptors are duplicated as long as they wait."""
        if self._sock.fileno() < 0:
            return
        if not self._backlog:
            try:
                protocol.send(self._sock, message, fds)
                return
            except BlockingIOError:
                self._loop.change(self._sock.fileno(), EPOLLIN | EPOLLOUT)
            except OSError:
                self.close()
                return
        self._backlog.append((message, tuple(os.dup(fd) for fd in fds)))
        if len(self._backlog) > _MAX_BACKLOG:
            self.close()

    def _ready(self, events: int) -> None:
        if events & EPOLLOUT:
            self._send_backlog()
        if events & ~EPOLLOUT and self._sock.fileno() >= 0:
            try:
                received = protocol.receive(self._sock)
            except BlockingIOError:
                return
            except (OSError, ValueError):
                received = None
            if received is None:
                self.close()
                return
            self._shim.handle(self, *received)

    def _send_backlog(self) -> None:
        while self._backlog:
            message, fds = self._backlog[0]
            try:
                protocol.send(self._sock, message, fds)
            except BlockingIOError:
                return
            except OSError:
                self.close()
                return
            del self._backlog[0]
            for fd in fds:
                os.close(fd)
        self._loop.change(self._sock.fileno(), EPOLLIN)

    def close(self) -> None:
        if self._sock.fileno() < 0:
            return
        self._loop.unwatch(self._sock.fileno())
        self._sock.close()
        for _, fds in self._backlog:
            for fd in fds:
                os.close(fd)
        self._backlog.clear()
        self._shim.disconnected(self)


class Shim:
    """All containers of one stack."""

    def __init__(self, listener: _socket.socket, loop: Loop, reserve: Reserve) -> None:
        self._loop = loop
        self._reserve = reserve
        self._listener = listener
        self._containers: dict[str, Container] = {}
        self._starters: dict[str, Connection] = {}
        self._execs: set[Exec] = set()
        self._connections: list[Connection] = []
        self._told_to_stop = False
        #: The path may belong to another shim by the time that we leave.
        self._inode = os.stat(listener.getsockname()).st_ino
        listener.setblocking(False)
        self._loop.watch(listener.fileno(), EPOLLIN, self._accept)
        self._tracees = Tracees(self._loop)

    def run(self) -> None:
        while not self._told_to_stop:
            idle = not self._connections and all(
                c.state == "exited" for c in self._containers.values()
            )
            # The next child is forked when nobody waits for us.
            may_fork = self._reserve.is_wanted and not self._is_starting()
            timeout = 0 if may_fork else IDLE_SECONDS if idle else -1
            if not self._loop.run_once(timeout):
                if may_fork:
                    self._reserve.fill()
                elif idle:
                    self._leave()
                    return
            self._tracees.reap()

    def _is_starting(self) -> bool:
        return any(c.state == "starting" for c in self._containers.values())

    def _leave(self) -> None:
        """Take no more connections; whoever comes now starts another shim."""
        self._reserve.dismiss()
        path = self._listener.getsockname()
        try:
            if os.stat(path).st_ino == self._inode:
                os.unlink(path)
        except OSError:
            pass
        self._loop.unwatch(self._listener.fileno())
        self._listener.close()

    def _accept(self, _events: int) -> None:
        try:
            fd, _ = self._listener._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fd)
        sock.setblocking(False)
        protocol.enlarge(sock)
        self._connections.append(Connection(self._loop, sock, self))

    def disconnected(self, connection: Connection) -> None:
        """A daemon has gone: what it had not finished starting is given up."""
        self._connections.remove(connection)
        for container_id, starter in list(self._starters.items()):
            if starter is connection:
                self._containers[container_id].abort()

    def broadcast(self, message: Message, fds: tuple[int, ...] = ()) -> None:
        for connection in list(self._connections):
            connection.tell(message, fds)

    def handle(self, connection: Connection, message: Message, fds: list[int]) -> None:
        """One request. Every one with a `seq` is answered, at once or by whoever it starts."""
        try:
            self._dispatch(connection, message, fds)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            connection.tell(
                {
                    "seq": message.get("seq", 0),
                    "error": {
                        "step": str(message.get("op")),
                        "errno": 0,
                        "text": text,
                        "message": text,
                    },
                }
            )
        finally:
            for fd in fds:
                os.close(fd)

    def _dispatch(self, connection: Connection, message: Message, fds: list[int]) -> None:
        match message["op"]:
            case "start":
                self._start(connection, message)
            case "go":
                if container := self._containers.get(message["id"]):
                    self._starters.pop(container.id, None)
                    container.go()
            case "abort":
                if container := self._containers.get(message["id"]):
                    container.abort()
            case "exec":
                self._exec(connection, message, fds)
            case "attach":
                attached = self._containers[message["id"]]
                sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, os.dup(fds[0]))
                os.set_inheritable(sock.fileno(), False)
                attached.outputs.attach(sock)
                seq = message["seq"]
                attached.when_running(
                    lambda: connection.tell(
                        {"seq": seq}, (attached.stdin,) if attached.stdin >= 0 else ()
                    )
                )
            case "close-stdin":
                if container := self._containers.get(message["id"]):
                    container.close_stdin()
            case "signal-exec":
                self._signal_exec(connection, message)
            case "list":
                found = [c.describe() for c in self._containers.values()]
                connection.tell({"seq": message["seq"], "pid": os.getpid(), "containers": found})
            case "forget":
                container = self._containers.get(message["id"])
                if container is not None and container.state == "exited":
                    del self._containers[message["id"]]
                connection.tell({"seq": message["seq"]})
            case "stop":
                alive = any(c.state != "exited" for c in self._containers.values())
                self._told_to_stop = not alive
                if not alive:
                    self._leave()
                connection.tell({"seq": message["seq"], "stopped": not alive})
            case op:
                raise ValueError(f"unknown request {op}")

    def _start(self, connection: Connection, message: Message) -> None:
        container_id = message["id"]
        known = self._containers.get(container_id)
        if known is not None and known.state != "exited":
            raise ValueError(f"container {container_id[:12]} is {known.state} already")
        self._starters[container_id] = connection

        def ended() -> None:
            self._starters.pop(container_id, None)

        self._containers[container_id] = Container(
            self._loop, self._reserve, message, self.broadcast, ended
        )

    def _exec(self, connection: Connection, message: Message, fds: list[int]) -> None:
        container = self._containers[message["id"]]
        if container.state != "running":
            raise ValueError(f"container {container.id[:12]} is not running")

        def ended() -> None:
            self._execs.discard(run)

        run = Exec(self._loop, self._reserve, container, message, fds, connection.tell, ended)
        self._execs.add(run)

    def _signal_exec(self, connection: Connection, message: Message) -> None:
        """Nothing happens when it has ended. Another daemon's sessions have the same numbers."""
        for run in self._execs:
            if run.belongs_to(connection.tell) and run.session == message["session"]:
                run.signal(message["signal"])


def main() -> None:
    """Entry of the shim's interpreter: LISTENER is the bound and listening socket."""
    gc.disable()
    os.umask(0o077)
    process.close_range(LISTENER + 1)  # what whoever started the engine left open
    signals.all_default()
    for signum in (signals.SIGPIPE, signals.SIGINT, signals.SIGHUP, signals.SIGTERM):
        signals.ignore(signum)
    process.prctl(process.PR_SET_CHILD_SUBREAPER, 1)
    process.set_name("stackctl-shim")
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, LISTENER)
    os.set_inheritable(LISTENER, False)
    loop = Loop()
    reserve = Reserve(loop)
    if not listener.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN):
        reserve.fill()
        if not _is_needed(listener):
            reserve.dismiss()
            return
    Shim(listener, loop, reserve).run()


def _is_needed(engine: _socket.socket) -> bool:
    """Waits as a spare; the listening socket then takes the place of this one. False: the
    engine has gone.
    """
    received = protocol.receive(engine)
    if received is None:
        return False
    message, fds = received
    os.dup2(fds[0], LISTENER, inheritable=False)
    os.close(fds[0])
    process.rename_argument(message["was"], message["path"])
    return True


if __name__ == "__main__":
    main()
