"""The CLI's client: HTTP/1.1 by hand on a socket, synchronous.

Standard library only, and little of it: http.client alone would cost every command
20 ms of import. Speaks what `server` speaks and no more; one connection a request. An engine
on another machine is reached through `tunnel`, whose end is a plain socket too.
"""

from __future__ import annotations

import errno
import os
from _socket import AF_UNIX, SOCK_STREAM
from _socket import socket as bare_socket

from stackctl.api.reply import PIECE, MessageStream, Reply
from stackctl.errors import EngineUnreachable, InternalError, NotPermitted, RemoteError
from stackctl.json_text import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol

    from stackctl.state.endpoints import RemoteEngine
    from stackctl.state.paths import Paths

    Message = dict[str, Any]

    #: Starts a daemon and gives a connection to it; the second argument makes one.
    Launch = Callable[[Paths, Callable[[], socket.socket]], socket.socket]

    #: A connection to the engine. Raises EngineUnreachable, NotPermitted.
    Dial = Callable[[], socket.socket]

    class Readable(Protocol):
        def read(self, size: int = ..., /) -> bytes: ...


class Client:
    """One engine. Raises RemoteError for what it refuses, EngineUnreachable when it is gone."""

    def __init__(self, dial: Dial, *, first: socket.socket | None = None, again: bool) -> None:
        """`first` is connected already; `again`: one that leaves is followed by another."""
        self._dial = dial
        self._first = first
        self._again = again

    @classmethod
    def connect(cls, paths: Paths, *, start: bool) -> Client:
        """A client of the engine that answers at paths.socket.

        With `start` a daemon is started when none answers. Raises EngineUnreachable,
        NotPermitted, and what the daemon says when it cannot start.
        """

        def dial() -> socket.socket:
            return _local(paths, _launch if start else None)

        return cls(dial, first=dial(), again=start)

    @classmethod
    def connect_remote(cls, engine: RemoteEngine) -> Client:
        """A client of an engine on another machine. Raises EngineUnreachable, UsageError."""
        from stackctl.api import tunnel

        def dial() -> socket.socket:
            return tunnel.connect(engine)

        return cls(dial, first=dial(), again=False)

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
        from socket import socket

        found: Any = reply.detach()
        if not isinstance(found, socket):
            found = socket(fileno=found.detach())
        raw = "raw-stream" in reply.headers.get("content-type", "")
        return SessionSocket(
            found,
            reply.headers.get("x-stackctl-session", ""),
            raw or reply.headers.get("x-stackctl-tty") == "1",
            framed=not raw,
            container=reply.headers.get("x-stackctl-container", ""),
            warnings=tuple(loads(reply.headers.get("x-stackctl-warnings") or "[]")),
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

    def upload(self, content: Readable) -> str:
        """Sends it ahead of a request that names it under "uploads"; its id."""
        headers = ("Content-Type: application/octet-stream", "Transfer-Encoding: chunked")
        reply = self._request("POST", "/stackctl/v1/upload", content, headers)
        reply.expect(200)
        with reply:
            return str(loads(reply.read())["id"])

    def images(self, names: Sequence[str]) -> Reply:
        """The archive of images, as Docker's API gives it; to be read and closed."""
        query = "&".join(f"names={_quoted(name)}" for name in names)
        reply = self._request("GET", f"/images/get?{query}")
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
            sock, self._first = self._first or self._dial(), None
            try:
                reply = _exchange(sock, method, target, body, headers)
            except BaseException:
                sock.close()
                raise
            if last or not self._again or "x-stackctl-leaving" not in reply.headers:
                return reply
            reply.close()
        raise AssertionError


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
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.socket = sock
        self.id = session_id
        #: The process has a terminal.
        self.tty = tty
        #: Frames [stream, 0, 0, 0, length as u32 big-endian] data; else raw bytes.
        self.framed = framed
        #: Id of the container whose main process it is.
        self.container = container
        #: What the start could not do as asked.
        self.warnings = warnings

    def fileno(self) -> int:
        return self.socket.fileno()

    def close(self) -> None:
        self.socket.close()


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
            while piece := body.read(PIECE):
                sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
            sock.sendall(b"0\r\n\r\n")
    except ConnectionError:
        # The engine may have refused before it read everything: its answer says why.
        pass
    return Reply(sock, method)


def _local(paths: Paths, launch: Launch | None) -> socket.socket:
    path = paths.socket_name
    try:
        return _connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        if launch is None:
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
    return launch(paths, lambda: _connect(path))


def _launch(paths: Paths, connect: Callable[[], socket.socket]) -> socket.socket:
    # Imported when no engine answers, which is rare.
    from stackctl.api.launch import launch

    return launch(paths, connect)


def _connect(path: str) -> socket.socket:
    if len(os.fsencode(path)) > 107:
        raise OSError(errno.ENAMETOOLONG, "the path is too long for a socket")
    # What `socket` puts around it (and imports for that) only a session has a use for.
    sock: Any = bare_socket(AF_UNIX, SOCK_STREAM)
    try:
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock  # type: ignore[no-any-return]


def _encoded(body: Message) -> bytes:
    return dumps(body).encode()


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
        stat = loads(text)
    except (KeyError, ValueError) as error:
        reply.close()
        raise InternalError("the engine's answer has no readable path stat") from error
    assert isinstance(stat, dict)
    return stat
