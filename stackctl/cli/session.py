"""A terminal session: exec, run and attach copy bytes between our terminal and a process.

    stdin  ->  socket            until end of file, then half-closed
    socket ->  stdout [stderr]   raw with a terminal, or frames
                                 [stream, 0, 0, 0, length u32 big endian] data;
                                 stream 3: the exit code (i32), if it was asked for
    SIGWINCH -> session-resize   session-wait -> exit code, if no frame had it

The terminal is in raw mode meanwhile and is put back whatever happens.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import sys
import termios
import tty
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import NamedTuple

from stackctl.cli.connection import Client, RawSession
from stackctl.errors import InternalError, StackctlError, UsageError

_CHUNK = 65536
_HEADER = struct.Struct(">BxxxL")
_EXIT = 3
#: Docker's: Ctrl-P, Ctrl-Q.
DETACH_KEYS = "ctrl-p,ctrl-q"


class Standard(NamedTuple):
    """The three descriptors of a session; tests bring pipes."""

    stdin: int = 0
    stdout: int = 1
    stderr: int = 2

    @property
    def is_terminal(self) -> bool:
        """A terminal on both ends: only then a pseudo terminal inside makes sense."""
        return os.isatty(self.stdin) and os.isatty(self.stdout)

    def size(self) -> tuple[int, int]:
        """Columns and rows; 0, 0 without a terminal."""
        try:
            columns, rows = os.get_terminal_size(self.stdout)
        except OSError:
            return 0, 0
        return columns, rows


class Terminated(Exception):
    """A signal asked us to leave; its number."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class Detached(Exception):
    """The user typed the detach keys."""


class Demultiplexer:
    """Frames out of a byte stream that is cut anywhere."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        #: Once the last frame, of stream 3, has come.
        self.exit_code: int | None = None

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """(stream, data) of each frame that is complete. Raises InternalError for no frame."""
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            stream, length = _HEADER.unpack_from(self._buffer)
            if stream not in (0, 1, 2, _EXIT):
                raise InternalError(f"the engine sent a frame for stream {stream}")
            end = _HEADER.size + length
            if len(self._buffer) < end:
                return
            data = bytes(self._buffer[_HEADER.size : end])
            del self._buffer[:end]
            if stream == _EXIT:
                self.exit_code = int.from_bytes(data, "big", signed=True)
            else:
                yield stream, data


class DetachKeys:
    """Finds a sequence of keys in what is typed; what may be its beginning is held back."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._seen = 0

    def filter(self, data: bytes) -> tuple[bytes, bool]:
        """What is to be passed on, and whether the sequence is complete."""
        out = bytearray()
        for byte in data:
            if self._keys and byte == self._keys[self._seen]:
                self._seen += 1
                if self._seen == len(self._keys):
                    return bytes(out), True
                continue
            if self._seen:
                out += self._keys[: self._seen]
                self._seen = 0
                if byte == self._keys[0]:
                    self._seen = 1
                    continue
            out.append(byte)
        return bytes(out), False


def detach_keys(text: str) -> bytes:
    """`ctrl-p,ctrl-q`, `ctrl-x` or `a`, as docker writes them. Raises UsageError."""
    keys = bytearray()
    for key in text.split(","):
        name = key.removeprefix("ctrl-")
        if len(key) == 1 and key.isascii():
            keys += key.encode()
        elif key != name and len(name) == 1 and (name.isalpha() or name in "@[\\]^_"):
            keys.append(ord(name.upper()) & 0x1F)
        else:
            raise UsageError(f'--detach-keys "{text}" is not a key sequence', hint="ctrl-p,ctrl-q")
    return bytes(keys)


def interact(
    client: Client,
    session: RawSession,
    standard: Standard,
    *,
    stdin: bool,
    on_signal: Callable[[int], None] | None = None,
    signals: Sequence[int] = (signal.SIGINT, signal.SIGTERM),
    keys: bytes = b"",
    shown: Collection[int] = (1, 2),
) -> int:
    """Copy until the process has ended; its exit code, or 128 + signal when we were told to leave.

    Without a terminal `on_signal` gets `signals` (to pass them on); None leaves Ctrl-C to end
    us. Detached is raised when `keys` are typed into a terminal. `shown` are the streams
    that somebody wants.
    """
    frames = Demultiplexer() if session.framed else None
    try:
        with ExitStack() as stack:
            stack.callback(session.socket.close)
            if session.tty:
                # `run -t` from a script: a terminal inside, none here.
                if stdin and os.isatty(standard.stdin):
                    stack.enter_context(raw_mode(standard.stdin))
                elif on_signal is not None:
                    stack.enter_context(_passing_on(on_signal, signals))
                stack.enter_context(_resizing(client, session, standard))
            else:
                stack.enter_context(_passing_on(on_signal, signals))
            try:
                typed = DetachKeys(keys if session.tty else b"")
                _copy(session, standard, stdin, frames, typed, shown)
            except Detached:
                # Before the connection ends, which would hang up.
                client.call("session-detach", {"id": session.id})
                raise
    except Terminated as reason:
        return 128 + reason.signum
    if frames is not None and frames.exit_code is not None:
        return frames.exit_code
    result = client.call("session-wait", {"id": session.id})
    return int(result.get("exit_code") or 0)


def _copy(
    session: RawSession,
    standard: Standard,
    stdin: bool,
    frames: Demultiplexer | None,
    keys: DetachKeys,
    shown: Collection[int],
) -> None:
    """Both directions at once. Neither may wait for the other, or a full pipe stops both."""
    connection = session.socket
    connection.setblocking(False)
    outgoing = bytearray()
    reading = stdin
    closing = not stdin
    poll = select.poll()
    while True:
        if closing and not outgoing:
            closing = False
            _half_close(connection)
        poll.register(connection, select.POLLIN | (select.POLLOUT if outgoing else 0))
        if reading:
            if outgoing:
                _unregister(poll, standard.stdin)
            else:
                poll.register(standard.stdin, select.POLLIN)
        for descriptor, events in poll.poll():
            if descriptor == standard.stdin:
                data = _read(standard.stdin)
                if not data:
                    reading, closing = False, True
                    _unregister(poll, standard.stdin)
                data, detached = keys.filter(data)
                if detached:
                    raise Detached
                outgoing += data
            else:
                if events & select.POLLOUT and not _send(connection, outgoing):
                    # It reads no more; what it still says is to be heard.
                    outgoing.clear()
                    reading = False
                    _unregister(poll, standard.stdin)
                if events & (select.POLLIN | select.POLLHUP | select.POLLERR) and not _receive(
                    connection, frames, standard, shown
                ):
                    return


def _receive(
    connection: socket.socket,
    frames: Demultiplexer | None,
    standard: Standard,
    shown: Collection[int],
) -> bool:
    """Pass on what has arrived; False at the end."""
    try:
        data = connection.recv(_CHUNK)
    except (BlockingIOError, InterruptedError):
        return True
    except ConnectionResetError:
        return False
    if not data:
        return False
    if frames is None:
        _write(standard.stdout, data)
    else:
        for stream, part in frames.feed(data):
            if stream in shown:
                _write(standard.stderr if stream == 2 else standard.stdout, part)
        return frames.exit_code is None
    return True


def _send(connection: socket.socket, outgoing: bytearray) -> bool:
    try:
        del outgoing[: connection.send(outgoing)]
    except BlockingIOError:
        pass
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


def _half_close(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # it is gone already, which recv tells


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _CHUNK)
    except OSError:
        # EIO: our terminal hung up, or we are in its background. No more input either way.
        return b""


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            # Somebody else's O_NONBLOCK on a shared terminal.
            select.select([], [descriptor], [])


def _unregister(poll: select.poll, descriptor: int) -> None:
    try:
        poll.unregister(descriptor)
    except KeyError:
        pass


@contextmanager
def raw_mode(descriptor: int) -> Iterator[None]:
    """Every key goes to the process inside; the terminal is restored even if we are told to end."""
    before = termios.tcgetattr(descriptor)

    def leave(signum: int, _: FrameType | None) -> None:
        raise Terminated(signum)

    with _handlers({signal.SIGTERM: leave, signal.SIGHUP: leave}):
        try:
            tty.setraw(descriptor, termios.TCSADRAIN)
            yield
        finally:
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextmanager
def _resizing(client: Client, session: RawSession, standard: Standard) -> Iterator[None]:
    def resize(*_: object) -> None:
        width, height = standard.size()
        if not width:
            return
        try:
            client.call("session-resize", {"id": session.id, "width": width, "height": height})
        except StackctlError:
            pass  # the session has just ended

    with _handlers({signal.SIGWINCH: resize}):
        # It may have been resized between the request and the handler.
        resize()
        yield


@contextmanager
def _passing_on(on_signal: Callable[[int], None] | None, signals: Sequence[int]) -> Iterator[None]:
    if on_signal is None:
        yield
        return
    passed = on_signal
    with _handlers({s: lambda signum, _: passed(signum) for s in signals}):
        yield


@contextmanager
def _handlers(
    handlers: dict[int, Callable[[int, FrameType | None], None]],
) -> Iterator[None]:
    before = {signum: signal.signal(signum, handler) for signum, handler in handlers.items()}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def standard_streams() -> Standard:
    """Descriptors 0, 1, 2, with what Python has buffered written out first."""
    sys.stdout.flush()
    sys.stderr.flush()
    return Standard()
