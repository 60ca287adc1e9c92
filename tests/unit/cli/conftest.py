"""A recorded engine: verbs answer with messages that a test wrote down."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from stackctl.cli.main import run
from stackctl.cli.output.console import Console
from stackctl.errors import EngineUnreachable, RemoteError

Message = dict[str, Any]
Answer = Iterable[Message] | Callable[[Message], Iterable[Message]]


class FakeStream:
    """Messages as the client gives them: an error is raised."""

    def __init__(self, messages: Iterable[Message]) -> None:
        self._messages = iter(messages)
        self.closed = False

    def __iter__(self) -> Iterator[Message]:
        return self

    def __next__(self) -> Message:
        message = json.loads(json.dumps(next(self._messages)))
        if message["type"] == "error":
            raise RemoteError(message["error"])
        return message

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        self.closed = True


@dataclass
class FakeSession:
    socket: socket.socket
    id: str = "s1"
    tty: bool = False
    container: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def framed(self) -> bool:
        return not self.tty


@dataclass
class FakeClient:
    """`answers` by verb; `process` plays the other end of a session's socket."""

    answers: dict[str, Answer] = field(default_factory=dict)
    process: Callable[[socket.socket], None] | None = None
    tty: bool = False
    unreachable: bool = False
    requests: list[tuple[str, Message]] = field(default_factory=list)
    starts: list[bool] = field(default_factory=list)

    def connect(self, paths: object, start: bool) -> FakeClient:
        self.starts.append(start)
        if self.unreachable:
            raise EngineUnreachable("no engine answers", hint="start one")
        return self

    def stream(self, verb: str, body: Message) -> FakeStream:
        self.requests.append((verb, body))
        answer = self.answers.get(verb, [{"type": "result", "exit_code": 0}])
        return FakeStream(answer(body) if callable(answer) else answer)

    def call(self, verb: str, body: Message) -> Message:
        *_, last = self.stream(verb, body)
        return last

    def open_session(self, verb: str, body: Message) -> FakeSession:
        self.requests.append((verb, body))
        ours, theirs = socket.socketpair()
        assert self.process is not None
        threading.Thread(target=self.process, args=(theirs,), daemon=True).start()
        return FakeSession(ours, tty=self.tty)

    def bodies(self, verb: str) -> list[Message]:
        return [body for v, body in self.requests if v == verb]


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


Cli = Callable[..., Outcome]


@pytest.fixture
def engine() -> FakeClient:
    return FakeClient()


@pytest.fixture
def cli(engine: FakeClient) -> Cli:
    """Run a command line against the recorded engine, streams captured."""

    def call(
        *arguments: str, environment: dict[str, str] | None = None, terminal: bool = False
    ) -> Outcome:
        make = Screen if terminal else io.StringIO
        out, err = make(), make()
        environment = {"TERM": "xterm", **(environment or {})}
        console = Console(out, err, environment=environment)
        code = run(arguments, console=console, environment=environment, connect=engine.connect)
        return Outcome(code, out.getvalue(), err.getvalue())

    return call


def step(
    number: int,
    op: str,
    target: str,
    service: str = "",
    after: tuple[int, ...] = (),
    cause: str = "",
) -> Message:
    """A step of a plan message."""
    return {
        "number": number,
        "op": op,
        "target": target,
        "service": service,
        "cause": cause or "not found",
        "after": list(after),
    }


def done(planned: Message, elapsed: float = 0.03, text: str = "", state: str = "done") -> Message:
    fields = {k: planned[k] for k in ("number", "op", "target", "service")}
    return {"type": "step", **fields, "state": state, "elapsed": elapsed, "text": text}


SHOP = [
    step(1, "CreateNetwork", "shop_default"),
    step(2, "CreateContainer", "shop-db-1", "db", (1,)),
    step(3, "StartContainer", "shop-db-1", "db", (2,), "created"),
    step(4, "WaitHealthy", "shop-db-1", "db", (3,), "web depends on it"),
    step(5, "CreateContainer", "shop-web-1", "web", (1,)),
    step(6, "StartContainer", "shop-web-1", "web", (4, 5), "created"),
]


@pytest.fixture
def shop() -> list[Message]:
    """`up` of a database and a web server that waits for it, all as messages."""
    messages: list[Message] = [{"type": "plan", "project": "shop", "steps": SHOP}]
    for planned in SHOP:
        messages.append(done(planned, state="running"))
        text = "healthy after 0.4 s" if planned["op"] == "WaitHealthy" else ""
        messages.append(done(planned, text=text))
    messages.append({"type": "result", "exit_code": 0, "changed": True, "containers": ["a", "b"]})
    return messages


def container(name: str, service: str, **fields: Any) -> Message:
    """A row of ps."""
    row = {
        "type": "row",
        "ID": "0123456789ab",
        "FullID": "0123456789ab" + "c" * 52,
        "Name": name,
        "Project": "shop",
        "Service": service,
        "Image": "stackctl/host",
        "Command": "python3 -m http.server 8000",
        "State": "running",
        "Status": "Up 3 seconds",
        "Health": "",
        "ExitCode": 0,
        "CreatedAt": 1700000000.5,
        "RunningFor": "3 seconds ago",
        "Ports": "",
        "Publishers": [],
        "Labels": "",
        "Names": name,
        "Networks": ["shop_default"],
        "Mounts": ["shop_a-rather-long-name", "/etc/x"],
        "LocalVolumes": 1,
    }
    return {**row, **fields}


@pytest.fixture
def rows() -> list[Message]:
    """`ps` of the shop."""
    published = [
        {"URL": "0.0.0.0", "TargetPort": 80, "PublishedPort": 8080, "Protocol": "tcp"},
        {"URL": "::", "TargetPort": 80, "PublishedPort": 8080, "Protocol": "tcp"},
    ]
    return [
        container("shop-db-1", "db", Status="Up 3 seconds (healthy)", Health="healthy"),
        container("shop-web-1", "web", Ports="0.0.0.0:8080->80/tcp", Publishers=published),
        {"type": "result", "exit_code": 0},
    ]
