"""The CLI's client: HTTP/1.1 by hand on a unix socket, synchronous.

Standard library only, and little of it: http.client alone would cost every command
20 ms of import. Speaks what `server` speaks and no more; one connection a request.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from stackctl.errors import (
    EngineUnreachable,
    InternalError,
    NotPermitted,
    RemoteError,
    StackctlError,
)

if TYPE_CHECKING:
    from stackctl.state.paths import Paths

Message = dict[str, Any]

#: Starts a daemon and gives a connection to it; the second argument makes one.
Launch = Callable[["Paths", Callable[[], socket.socket]], socket.socket]

_PIECE = 64 * 1024
_HEAD_LIMIT = 64 * 1024


class Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


class Client:
    """One engine. Raises RemoteError for what it refuses, EngineUnreachable when it is gone."""

    def __init__(
        self, paths: Paths, first: socket.socket | None = None, launch: Launch | None = None
    ) -> None:
        """`first` is connected already; without `launch` no daemon is ever started."""
        self._paths = paths
        self._first = first
        self._launch = launch

    @classmethod
    def connect(cls, paths: Paths, *, start: bool) -> Client:
        """A client of the engine that answers at paths.socket.

        With `start` a daemon is started when none answers. Raises EngineUnreachable,
        NotPermitted, and what the daemon says when it cannot start.
        """
        client = cls(paths, launch=_launch if start else None)
        client._first = client._connected()
        return client

    def stream(self, verb: str, body: Message) -> MessageStream:
        """The messages of a verb as they come."""
        reply = self._request("POST", f"/stackctl/v1/{verb}", _encoded(body))
        reply.expect(200)
        return MessageStream(reply)

    def call(self, verb: str, body: Message) -> Message:
        """The result of a verb; messages before it are dropped."""
        result: Message = {}
        with self.stream(verb, body) as messages:
            for message in messages:
                result = message
        return result

    def open_session(self, verb: str, body: Message) -> SessionSocket:
        """An exec or attach: its socket carries the streams from the first byte on."""
        reply = self._request(
            "POST",
            f"/stackctl/v1/{verb}",
            _encoded(body),
            ("Connection: Upgrade", "Upgrade: tcp"),
        )
        reply.expect(101)
        raw = "raw-stream" in reply.headers.get("content-type", "")
        return SessionSocket(
            reply.detach(),
            reply.headers.get("x-stackctl-session", ""),
            raw or reply.headers.get("x-stackctl-tty") == "1",
            framed=not raw,
            container=reply.headers.get("x-stackctl-container", ""),
        )

    def archive_stat(self, container: str, path: str) -> Message:
        """Docker's stat of a path: name, size, mode, mtime, linkTarget."""
        reply = self._request("HEAD", _archive(container, path))
        with reply:
            if reply.status == 404:
                # An answer to HEAD has no body that could say more.
                raise RemoteError({"kind": "not-found", "message": f"no such path: {path}"})
            reply.expect(200)
            return _stat(reply)

    def archive_get(self, container: str, path: str) -> tuple[Message, Reply]:
        """The stat and a tar stream, to be read and closed."""
        reply = self._request("GET", _archive(container, path))
        reply.expect(200)
        return _stat(reply), reply

    def archive_put(self, container: str, path: str, content: Readable) -> None:
        """Unpacks the tar stream `content` into the directory `path`."""
        headers = ("Content-Type: application/x-tar", "Transfer-Encoding: chunked")
        with self._request("PUT", _archive(container, path), content, headers) as reply:
            reply.expect(200)

    def export(self, container: str) -> Reply:
        """A tar stream of all files, to be read and closed."""
        reply = self._request("GET", f"/containers/{_quoted(container)}/export")
        reply.expect(200)
        return reply

    def close(self) -> None:
        if self._first is not None:
            self._first.close()
            self._first = None

    # -- one request

    def _request(
        self, method: str, target: str, body: bytes | Readable = b"", headers: tuple[str, ...] = ()
    ) -> Reply:
        """Sends it and reads the head of the answer.

        An engine that is about to leave says so before it begins anything: then the next
        engine is asked.
        """
        for last in (False, True):
            sock, self._first = self._first or self._connected(), None
            try:
                reply = _exchange(sock, method, target, body, headers)
            except BaseException:
                sock.close()
                raise
            if last or self._launch is None or "x-stackctl-leaving" not in reply.headers:
                return reply
            reply.close()
        raise AssertionError

    def _connected(self) -> socket.socket:
        path = os.fspath(self._paths.socket)
        try:
            return _connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            if self._launch is None:
                raise EngineUnreachable(
                    f"no engine answers at {path}", hint="`stackctl daemon` runs one"
                ) from None
        except PermissionError:
            raise NotPermitted(
                f"this user may not talk to the engine at {path}",
                hint="stackctl needs root (sudo stackctl ...)",
            ) from None
        except OSError as error:
            raise EngineUnreachable(
                f"cannot connect to {path}: {error.strerror}", hint="see STACKCTL_RUN"
            ) from error
        return self._launch(self._paths, lambda: _connect(path))


class MessageStream:
    """The messages of one answer. {"type": "error"} is raised as RemoteError; the result is last.

    Iterate, or use `fileno` and `poll_messages` in a loop that watches other things too.
    """

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._text = bytearray()
        self._ready: list[Message] = []
        #: The result was given, or the error raised.
        self.done = False

    def __enter__(self) -> MessageStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Message]:
        return self

    def __next__(self) -> Message:
        while not self._ready:
            if self.done:
                raise StopIteration
            self._take(self._reply.read_some())
        return self._give()

    def poll_messages(self) -> list[Message]:
        """All that has come, without waiting; an error is raised after what came before it."""
        while not self.done:
            data = self._reply.read_some(wait=False)
            if data is None:
                break
            self._take(data)
            if not data:
                break
        messages: list[Message] = []
        while self._ready:
            if messages and self._ready[0].get("type") == "error":
                break
            messages.append(self._give())
        return messages

    def fileno(self) -> int:
        """Readable when something came; poll before the first wait, it may be here already."""
        return self._reply.fileno()

    def close(self) -> None:
        """The engine sees it, and stops what only served this answer."""
        self.done = True
        self._reply.close()

    def _take(self, data: bytes | None) -> None:
        if not data:
            raise EngineUnreachable(
                "the engine went away before it was done",
                hint="containers go on; run the command again",
            )
        self._text += data
        *lines, rest = self._text.split(b"\n")
        self._text = rest
        for line in lines:
            try:
                message = json.loads(line)
            except ValueError as error:
                raise InternalError(f"the engine's answer is not JSON: {error}") from error
            self._ready.append(message)
            if message.get("type") in ("result", "error"):
                self.done = True

    def _give(self) -> Message:
        message = self._ready.pop(0)
        match message.get("type"):
            case "error":
                self.close()
                raise RemoteError(message.get("error") or {})
            case "result":
                self.close()
        return message


class SessionSocket:
    """A hijacked connection. Half-close it (`shutdown(SHUT_WR)`) to end standard input."""

    def __init__(
        self,
        sock: socket.socket,
        session_id: str,
        tty: bool,
        *,
        framed: bool,
        container: str = "",
    ) -> None:
        self.socket = sock
        self.id = session_id
        #: The process has a terminal.
        self.tty = tty
        #: Frames [stream, 0, 0, 0, length as u32 big-endian] data; else raw bytes.
        self.framed = framed
        #: Id of the container whose main process it is.
        self.container = container

    def fileno(self) -> int:
        return self.socket.fileno()

    def close(self) -> None:
        self.socket.close()


class Reply:
    """The answer to a request: its head is here, its body is read on demand (a binary file)."""

    def __init__(self, sock: socket.socket, method: str) -> None:
        self._sock = sock
        self._buffer = bytearray()
        self.headers: dict[str, str] = {}
        self.status = 0
        # 100: the server asks for a body that is on its way anyway.
        while self.status in (0, 100):
            self.status = self._read_head()
        chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"
        #: Bytes until the end, or of this chunk; None: until the connection closes.
        self._left: int | None = 0
        self._chunked = chunked
        self._first_chunk = True
        self._ended = method == "HEAD" or self.status in (101, 204, 304)
        if not chunked:
            length = self.headers.get("content-length")
            self._left = None if length is None else int(length)
            self._ended = self._ended or self._left == 0

    def __enter__(self) -> Reply:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def expect(self, status: int) -> None:
        """Raises (and closes) what the answer says when its status is another one."""
        if self.status == status:
            return
        try:
            raise _refusal(self.status, self.read())
        finally:
            self.close()

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def detach(self) -> socket.socket:
        """The socket, right behind the head of a 101: heads are read to the byte."""
        assert not self._buffer
        return self._sock

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes, all of the body by default; b"" at its end."""
        if size < 0:
            parts = []
            while piece := self.read_some():
                parts.append(piece)
            return b"".join(parts)
        return self.read_some(limit=size) or b"" if size else b""

    def read_some(self, *, wait: bool = True, limit: int = _PIECE) -> bytes | None:
        """Some bytes of the body, b"" at its end, None when there are none yet (`wait` False)."""
        while not self._ended:
            if self._chunked and self._left == 0:
                if self._next_chunk():
                    continue
            elif self._buffer:
                size = min(len(self._buffer), limit)
                if self._left is not None:
                    size = min(size, self._left)
                    self._left -= size
                    self._ended = not self._chunked and not self._left
                data = bytes(self._buffer[:size])
                del self._buffer[:size]
                return data
            if not self._receive(wait):
                return None
        return b""

    def _next_chunk(self) -> bool:
        """Reads a chunk's size line from the buffer; False when more bytes are needed."""
        # The line end behind the chunk before belongs to this search.
        start = 0 if self._first_chunk else 2
        end = self._buffer.find(b"\r\n", start)
        if end < 0:
            return False
        try:
            self._left = int(self._buffer[start:end].partition(b";")[0], 16)
        except ValueError:
            raise InternalError("the engine's answer has a malformed chunk") from None
        self._first_chunk = False
        self._ended = self._left == 0
        del self._buffer[: end + 2]
        return True

    def _receive(self, wait: bool) -> bool:
        """More bytes into the buffer; False when there are none yet."""
        try:
            data = self._sock.recv(_PIECE, 0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except ConnectionError:
            data = b""
        if data:
            self._buffer += data
        elif self._left is None:
            self._ended = True
        else:
            raise EngineUnreachable(
                "the engine went away before it was done",
                hint="containers go on; run the command again",
            )
        return True

    def _read_head(self) -> int:
        """Reads a head and not a byte more: what follows a 101 is the session's."""
        head = bytearray()
        while True:
            try:
                seen = self._sock.recv(_PIECE, socket.MSG_PEEK)
            except ConnectionError:
                seen = b""
            if not seen or len(head) > _HEAD_LIMIT:
                raise EngineUnreachable(
                    "the engine closed the connection without an answer",
                    hint="daemon.log in the engine's root directory may say why",
                )
            # The blank line may have begun in what was read before.
            end = (head[-3:] + seen).find(b"\r\n\r\n")
            size = len(seen) if end < 0 else end + 4 - min(3, len(head))
            head += self._sock.recv(size)
            if end >= 0:
                break
        lines = head.decode("latin-1").split("\r\n")
        for line in lines[1:]:
            name, _, value = line.partition(":")
            self.headers[name.strip().lower()] = value.strip()
        try:
            return int(lines[0].split(" ")[1])
        except (IndexError, ValueError):
            raise EngineUnreachable(
                "what answers on the engine's socket is no engine", hint="see STACKCTL_RUN"
            ) from None


def _exchange(
    sock: socket.socket,
    method: str,
    target: str,
    body: bytes | Readable,
    headers: tuple[str, ...],
) -> Reply:
    lines = [f"{method} {target} HTTP/1.1", "Host: stackctl", *headers]
    if isinstance(body, bytes):
        lines.append(f"Content-Length: {len(body)}")
        if body:
            lines.append("Content-Type: application/json")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
    try:
        if isinstance(body, bytes):
            sock.sendall(head + body)
        else:
            sock.sendall(head)
            while piece := body.read(_PIECE):
                sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
            sock.sendall(b"0\r\n\r\n")
    except ConnectionError:
        # The engine may have refused before it read everything: its answer says why.
        pass
    return Reply(sock, method)


def _launch(paths: Paths, connect: Callable[[], socket.socket]) -> socket.socket:
    # Imported when no engine answers, which is rare.
    from stackctl.api.launch import launch

    return launch(paths, connect)


def _connect(path: str) -> socket.socket:
    if len(os.fsencode(path)) > 107:
        raise OSError(errno.ENAMETOOLONG, "the path is too long for a socket")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock


def _refusal(status: int, body: bytes) -> StackctlError:
    """The error that an answer other than the expected one stands for."""
    try:
        raw = json.loads(body)
    except ValueError:
        raw = {}
    raw = raw if isinstance(raw, dict) else {}
    if isinstance(raw.get("error"), dict):
        return RemoteError(raw["error"])
    if status == 403:
        return NotPermitted(
            str(raw.get("message", "this user may not talk to the engine")),
            hint="stackctl needs root (sudo stackctl ...)",
        )
    message = str(raw.get("message") or f"the engine answered with status {status}")
    brief, _, hint = message.partition("\n")
    return RemoteError({"message": brief, "hint": hint})


def _encoded(body: Message) -> bytes:
    return json.dumps(body).encode()


def _archive(container: str, path: str) -> str:
    return f"/containers/{_quoted(container)}/archive?path={_quoted(path)}"


def _quoted(text: str) -> str:
    """Percent-encoding, without importing urllib."""
    return "".join(
        chr(byte) if (chr(byte).isalnum() and byte < 128) or byte in b"-._~" else f"%{byte:02X}"
        for byte in os.fsencode(text)
    )


def _stat(reply: Reply) -> Message:
    # Only `cp` needs it.
    import base64

    try:
        text = base64.b64decode(reply.headers["x-docker-container-path-stat"])
        stat = json.loads(text)
    except (KeyError, ValueError) as error:
        reply.close()
        raise InternalError("the engine's answer has no readable path stat") from error
    assert isinstance(stat, dict)
    return stat
