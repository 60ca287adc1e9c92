"""What the commands need of an engine's client, and how they get one.

The consumer owns the port: `stackctl.api.client.Client` fits it, tests bring a
fake. Connecting may start a daemon; nothing else here has effects.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from stackctl.errors import UsageError
from stackctl.state.paths import Paths

Message = dict[str, Any]


class Messages(Protocol):
    """The answer of a verb, one message at a time; an error is raised, the result comes last."""

    def __iter__(self) -> Iterator[Message]: ...
    def __next__(self) -> Message: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...


class RawSession(Protocol):
    """A hijacked connection: bytes both ways, see stackctl.cli.session."""

    @property
    def socket(self) -> socket.socket: ...
    @property
    def id(self) -> str: ...
    @property
    def tty(self) -> bool: ...
    @property
    def framed(self) -> bool: ...
    @property
    def container(self) -> str: ...


class Readable(Protocol):
    """Bytes in pieces, b"" at their end."""

    def read(self, size: int = ..., /) -> bytes: ...


class Content(Readable, Protocol):
    """The body of an answer."""

    def close(self) -> None: ...


class Client(Protocol):
    """One engine. Raises RemoteError for what the engine refuses."""

    def stream(self, verb: str, body: Message) -> Messages: ...
    def call(self, verb: str, body: Message) -> Message: ...
    def open_session(self, verb: str, body: Message) -> RawSession: ...
    def archive_stat(self, container: str, path: str) -> Message: ...
    def archive_get(self, container: str, path: str) -> tuple[Message, Content]: ...
    def archive_put(self, container: str, path: str, content: Readable) -> None: ...
    def export(self, container: str) -> Content: ...


#: (paths, start) -> client; with `start` a daemon is started when none answers.
Connect = Callable[[Paths, bool], Client]


def connect_to_engine(paths: Paths, start: bool) -> Client:
    """The real client. Raises EngineUnreachable."""
    from stackctl.api.client import Client as ApiClient

    return ApiClient.connect(paths, start=start)


def engine_paths(host: str, environment: Mapping[str, str]) -> tuple[Paths, bool]:
    """Where the engine is, and whether we may start it: one named by --host is not ours to start.

    `host` is "", a path, or unix://path. Raises UsageError for anything else.
    """
    if not host:
        return Paths.from_environment(environment), True
    path = host.removeprefix("unix://")
    if "://" in path or not path.startswith("/"):
        raise UsageError(
            f'--host "{host}" is not a unix socket',
            hint="use unix:///run/stackctl/engine.sock or the absolute path alone",
        )
    ours = Paths.from_environment(environment)
    named = Paths(ours.root, Path(path).parent)
    if named.socket != Path(path):
        raise UsageError(
            f'--host "{host}" does not name an engine\'s socket',
            hint=f"an engine's socket is called {named.socket.name}",
        )
    return named, False
