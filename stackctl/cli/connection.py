"""What the commands need of an engine's client, and how they get one.

The consumer owns the port: `stackctl.api.client.Client` fits it, tests bring a
fake. Connecting may start a daemon; nothing else here has effects.
"""

from __future__ import annotations

from stackctl.state.endpoints import Endpoint, RemoteEngine

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, Protocol, TypeAlias
else:
    Protocol = object  # the ports are for those who check types

Message: TypeAlias = "dict[str, Any]"


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
    @property
    def warnings(self) -> Sequence[str]: ...


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
    def upload(self, content: Readable) -> str: ...
    def images(self, names: Sequence[str]) -> Content: ...
    def export(self, container: str) -> Content: ...


#: (endpoint, start) -> client; with `start` a daemon of ours is started when none answers.
Connect: TypeAlias = "Callable[[Endpoint, bool], Client]"


def connect_to_engine(endpoint: Endpoint, start: bool) -> Client:
    """The real client. Raises EngineUnreachable."""
    from stackctl.api.client import Client as ApiClient

    if isinstance(endpoint, RemoteEngine):
        return ApiClient.connect_remote(endpoint)
    return ApiClient.connect(endpoint.paths, start=start)
