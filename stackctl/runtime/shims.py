"""The engine's side of a shim: starting one, requests with replies, events.

start_shim --spawn--> shim (listening socket inherited, so requests may be sent at once)
Shim.call(message, fds) -> reply; events go to the callback
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stackctl.errors import ContainerError, MachineError, NotExecutable, StackctlError
from stackctl.runtime.interpreter import spawn
from stackctl.runtime.shim import main as shim_main
from stackctl.runtime.shim import protocol
from stackctl.values import dataclass

Message = dict[str, Any]
#: Called with an event and its descriptors (to be closed by the receiver).
OnEvent = Callable[["Shim", Message, list[int]], None]

_SOURCE = Path(__file__).resolve().parents[2]
#: What a process of ours runs: `module` of stackctl.runtime.shim, in a bare interpreter.
CODE = (
    f"import sys; sys.path.insert(0, {str(_SOURCE)!r}); "
    "from stackctl.runtime.shim.{module} import main; main()"
)


class ShimGone(MachineError):
    """The connection to a shim broke: it was killed, or it left."""


class GivenUp(ContainerError):
    """A start that ended because we said so."""


class Shim:
    """A connection to one shim."""

    def __init__(self, name: str, sock: socket.socket, on_event: OnEvent) -> None:
        self.name = name
        self._sock = sock
        self._on_event = on_event
        self._replies: dict[int, asyncio.Future[Message]] = {}
        self._sequence = 0
        self._backlog: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._loop = asyncio.get_running_loop()
        #: Done when the connection has ended, whoever ended it.
        self.gone: asyncio.Future[None] = self._loop.create_future()
        sock.setblocking(False)
        protocol.enlarge(sock)
        self._loop.add_reader(sock.fileno(), self._readable)

    @property
    def is_alive(self) -> bool:
        return not self.gone.done()

    async def call(self, message: Message, fds: tuple[int, ...] = ()) -> Message:
        """Send a request and wait for its reply.

        Raises ShimGone, or ContainerError with the step that failed.
        """
        future = self.post(message, fds)
        return await future

    def post(self, message: Message, fds: tuple[int, ...] = ()) -> asyncio.Future[Message]:
        """Send a request now; the future of its reply."""
        self._sequence += 1
        sequence = self._sequence
        future: asyncio.Future[Message] = self._loop.create_future()
        self._replies[sequence] = future
        self.tell({**message, "seq": sequence}, fds)
        return future

    def tell(self, message: Message, fds: tuple[int, ...] = ()) -> None:
        """Send without waiting; a shim that has gone is noticed by whoever waits.

        ContainerError for a message that is larger than the shim takes.
        """
        if not self.is_alive:
            self._fail_waiting()
            return
        raw = protocol.encode(message)
        if len(raw) > protocol.MAX_MESSAGE:
            raise ContainerError(
                "the command and its environment are too long",
                hint=f"together they may have {protocol.MAX_MESSAGE // 1024} KiB here",
            )
        if not self._backlog and self._send(raw, fds):
            return
        if self.is_alive:
            # The shim is busy: it gets this when it reads again, in order.
            self._backlog.append((raw, tuple(os.dup(fd) for fd in fds)))
            self._loop.add_writer(self._sock.fileno(), self._writable)

    def _send(self, raw: bytes, fds: tuple[int, ...]) -> bool:
        """False: the buffer is full, or the connection has ended."""
        try:
            protocol.send_raw(self._sock, raw, fds)
        except BlockingIOError:
            return False
        except OSError:
            self.close()
            return False
        return True

    def _writable(self) -> None:
        while self._backlog and self._send(*self._backlog[0]):
            _, fds = self._backlog.popleft()
            for fd in fds:
                os.close(fd)
        if self.is_alive and not self._backlog:
            self._loop.remove_writer(self._sock.fileno())

    def _readable(self) -> None:
        for _ in range(64):
            try:
                received = protocol.receive(self._sock)
            except BlockingIOError:
                return
            except (OSError, ValueError):
                received = None
            if received is None:
                self.close()
                return
            message, fds = received
            sequence = message.pop("seq", None)
            if sequence is None:
                self._on_event(self, message, fds)
                continue
            future = self._replies.pop(sequence, None)
            if future is None or future.done():
                for fd in fds:
                    os.close(fd)
            elif error := message.get("error"):
                future.set_exception(translated(error))
            else:
                message["fds"] = fds
                future.set_result(message)

    def close(self) -> None:
        """End the connection; the shim and its containers go on."""
        if not self.is_alive:
            return
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        for _, fds in self._backlog:
            for fd in fds:
                os.close(fd)
        self._backlog.clear()
        self.gone.set_result(None)
        self._fail_waiting()

    def _fail_waiting(self) -> None:
        waiting, self._replies = self._replies, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(ShimGone(f'the shim of "{self.name}" has gone'))


def translated(error: Message) -> StackctlError:
    """A failed step as the user sees it, with the exit code that a shell would give."""
    code, step, text = error["errno"], error["step"], error["message"]
    if error.get("given_up"):
        return GivenUp(text)
    if step == "exec":
        failure: ContainerError = NotExecutable(f"cannot execute {text.removeprefix('exec: ')}")
        failure.exit_code = 127 if code == errno.ENOENT else 126
        return failure
    if error.get("joining"):
        failure = ContainerError(f"cannot run a command in the container: {text}")
        # As from docker exec: a missing working directory is like a missing program.
        failure.exit_code = 127 if code == errno.ENOENT else 126
    else:
        failure = ContainerError(f"cannot start the container: {text}")
    failure.hint = _hint(code, step)
    return failure


def _hint(code: int, step: str) -> str:
    if code == errno.ENOSPC:
        return "the disk, or the memory of a tmpfs, is full"
    if code == errno.EPERM:
        return "`stackctl doctor` says what this machine does not allow"
    if "id-mapped" in step:
        return "id-mapped overlay layers need Linux 5.19; `userns_mode: host` does without"
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShimProgram:
    """What a shim is started from; another one in tests."""

    code: str = CODE.format(module="main")
    interpreter: str = sys.executable


def start_shim(path: Path, log: Path, program: ShimProgram) -> int:
    """Start a shim that listens on `path`; its pid. Its complaints go to `log`.

    The socket is bound here and handed over: it takes connections before the
    interpreter is up.
    """
    with _listener(path) as listener:
        return _spawn(listener, str(path), log, program)


class SpareShim:
    """A shim that is up already and waits for its socket: starting one takes longer than
    all else that a container's start takes. It leaves when the engine does.
    """

    def __init__(self, directory: Path, log: Path, program: ShimProgram) -> None:
        """Raises OSError, MachineError."""
        # What `ps` shows is changed in place, so it has the length of a socket's path.
        self._title = str(directory / ("spare" + "-" * (shim_main.NAME_LENGTH - len("spare"))))
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self.pid = _spawn(theirs, self._title, log, program)
            except BaseException:
                ours.close()
                raise
        self._sock = ours

    def become(self, path: Path) -> bool:
        """It listens on `path` from now on; False when it has gone. Raises MachineError."""
        with _listener(path) as listener, self._sock:
            try:
                message = {"was": self._title, "path": str(path)}
                protocol.send(self._sock, message, (listener.fileno(),))
            except OSError:
                return False
        return True

    def close(self) -> None:
        """It leaves."""
        self._sock.close()


def _listener(path: Path) -> socket.socket:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        listener.bind(str(path))
        listener.listen(16)
    except OSError as error:
        listener.close()
        raise MachineError(f"cannot make the socket {path}: {error.strerror}") from error
    return listener


def _spawn(first: socket.socket, title: str, log: Path, program: ShimProgram) -> int:
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    actions = [
        (os.POSIX_SPAWN_DUP2, first.fileno(), shim_main.LISTENER),
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, str(log), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600),
    ]
    return spawn(
        program.code, "stackctl-shim", title, actions=actions, interpreter=program.interpreter
    )


def connect(name: str, path: Path, on_event: OnEvent) -> Shim:
    """Connect to a shim that listens on `path`. OSError when none does."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        # A full backlog would block: better to fail and be told.
        sock.setblocking(False)
        sock.connect(str(path))
    except BaseException:
        sock.close()
        raise
    return Shim(name, sock, on_event)
