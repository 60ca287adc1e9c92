"""An answer of the engine as it comes: its head, its body, the messages of a verb in it.

Standard library only, as its neighbour `client`.
"""

from __future__ import annotations

from _socket import MSG_DONTWAIT, MSG_PEEK

from stackctl.errors import (
    EngineUnreachable,
    InternalError,
    NotPermitted,
    RemoteError,
    StackctlError,
)
from stackctl.json_text import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from typing import Any, TypeAlias

Message: TypeAlias = "dict[str, Any]"

PIECE = 64 * 1024
_HEAD_LIMIT = 64 * 1024


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
            raise refusal(self.status, self.read())
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

    def read_some(self, *, wait: bool = True, limit: int = PIECE) -> bytes | None:
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
            data = self._sock.recv(PIECE, 0 if wait else MSG_DONTWAIT)
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

    def _unanswered(self) -> StackctlError:
        # See tunnel.TunnelSocket.
        if failure := getattr(self._sock, "failure", ""):
            return NotPermitted(
                f"the engine refuses this connection: {failure}",
                hint="its own authority has to have signed our certificate",
            )
        return EngineUnreachable(
            "the engine closed the connection without an answer",
            hint="daemon.log in the engine's root directory may say why",
        )

    def _read_head(self) -> int:
        """Reads a head and not a byte more: what follows a 101 is the session's."""
        head = bytearray()
        while True:
            try:
                seen = self._sock.recv(PIECE, MSG_PEEK)
            except ConnectionError:
                seen = b""
            if not seen or len(head) > _HEAD_LIMIT:
                raise self._unanswered()
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
                message = loads(line)
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


def refusal(status: int, body: bytes) -> StackctlError:
    """The error that an answer other than the expected one stands for."""
    try:
        raw = loads(body)
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
