"""HTTP by hand: what goes over the socket, byte by byte, and what comes back."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

#: Seconds that an answer may take.
LIMIT = 60.0


@dataclass(frozen=True, slots=True)
class Head:
    version: str
    status: int
    reason: str
    #: Names in lower case.
    headers: Mapping[str, str]


class Wire:
    """One connection to a unix socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._socket.settimeout(LIMIT)
        self._got = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    # -- out

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def ask(
        self, method: str, path: str, body: bytes | Mapping[str, Any] | None = None, **headers: str
    ) -> None:
        """A request; a mapping goes as JSON. Underscores in headers' names are dashes."""
        lines = [f"{method} {path} HTTP/1.1", "Host: docker"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if isinstance(body, Mapping):
            body = json.dumps(body).encode()
            lines.append("Content-Type: application/json")
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join([*lines, "", ""]).encode() + (body or b""))

    def end(self) -> None:
        """No more is sent; answers are still read."""
        self._socket.shutdown(socket.SHUT_WR)

    # -- in

    def head(self) -> Head:
        text = self.until(b"\r\n\r\n").decode()
        first, *lines = text.rstrip("\r\n").split("\r\n")
        version, status, reason = first.split(" ", 2)
        headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in lines)}
        return Head(version, int(status), reason, headers)

    def body(self, head: Head) -> bytes:
        """Of an answer with a length or in chunks."""
        if head.headers.get("transfer-encoding") == "chunked":
            return b"".join(iter(self.chunk, b""))
        return self.exactly(int(head.headers.get("content-length", "0")))

    def chunk(self) -> bytes:
        size = int(self.until(b"\r\n"), 16)
        data = self.exactly(size)
        assert self.exactly(2) == b"\r\n"
        return data

    def frame(self) -> tuple[int, bytes]:
        """One of a stream without a terminal."""
        header = self.exactly(8)
        assert header[1:4] == b"\0\0\0"
        return header[0], self.exactly(int.from_bytes(header[4:], "big"))

    def rest(self) -> bytes:
        """Until the other side ends."""
        while self._more():
            pass
        found, self._got = self._got, b""
        return found

    def exactly(self, count: int) -> bytes:
        while len(self._got) < count:
            assert self._more(), f"the end came after {self._got!r}"
        found, self._got = self._got[:count], self._got[count:]
        return found

    def until(self, mark: bytes) -> bytes:
        while mark not in self._got:
            assert self._more(), f"the end came after {self._got!r}"
        found, _, self._got = self._got.partition(mark)
        return found + mark

    def _more(self) -> bool:
        data = self._socket.recv(65536)
        self._got += data
        return bool(data)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """Of a failure, which has nothing else."""
        found = self.json
        assert list(found) == ["message"]
        return str(found["message"])


@dataclass(frozen=True, slots=True)
class Api:
    """Docker's API at a socket: each request on a connection of its own."""

    socket: Path
    version: str = "/v1.51"

    def __call__(
        self, method: str, path: str, body: bytes | Mapping[str, Any] | None = None, **headers: str
    ) -> Answer:
        with Wire(self.socket) as wire:
            wire.ask(method, self.version + path, body, **headers)
            head = wire.head()
            data = b"" if method == "HEAD" else wire.body(head)
            return Answer(head.status, head.headers, data)

    def wire(self) -> Wire:
        return Wire(self.socket)


@contextmanager
def cleared(path: Path) -> Iterator[Api]:
    """The API at `path`, whose containers, networks and volumes go afterwards."""
    api = Api(path)
    yield api
    for entry in api("GET", "/containers/json?all=1").json:
        api("DELETE", f"/containers/{entry['Id']}?force=1&v=1")
    api("POST", "/networks/prune")
    api("POST", "/volumes/prune?filters=" + quote('{"all": ["1"]}'))
