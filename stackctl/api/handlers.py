"""What the server asks of the engine behind it: the daemon's Service, or a fake in tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

Message = dict[str, Any]


class Session(Protocol):
    """An exec or an attach: streams both ways, and an exit code that outlives them."""

    @property
    def id(self) -> str: ...

    @property
    def tty(self) -> bool: ...

    @property
    def container(self) -> str:
        """Id of the container whose main process it is; "" for an exec."""
        ...

    @property
    def exit_frame(self) -> bool:
        """See stackctl.api.hijack."""
        ...

    @property
    def warnings(self) -> Sequence[str]:
        """What the start that began it could not do as asked."""
        ...

    async def read(self) -> tuple[int, bytes] | None:
        """(stream, data): 1 standard output, 2 standard error; None when both have ended."""
        ...

    async def write(self, data: bytes) -> None:
        """To standard input. Raises OSError when nobody reads it any more."""
        ...

    async def close_stdin(self) -> None: ...

    async def close(self) -> None:
        """The client is gone or has all: give the streams back. Idempotent."""
        ...

    async def wait(self) -> int: ...

    async def resize(self, width: int, height: int) -> None: ...


class Handlers(Protocol):
    """The verbs. Every method raises StackctlError for what the user should know."""

    def stream(self, verb: str, body: Message) -> AsyncIterator[Message]:
        """Messages of a verb, the last one {"type": "result", ...}.

        An asynchronous generator; it is closed when the client goes away. NotFound for
        an unknown verb, at once or at the first message.
        """
        ...

    async def open_session(self, verb: str, body: Message) -> Session:
        """Begins an exec or attach."""
        ...

    async def upload(self, content: AsyncIterator[bytes]) -> str:
        """Keeps what a later request names, {"uploads": {path: id}}; its id."""
        ...

    async def archive_stat(self, container: str, path: str) -> Message:
        """{"name", "size", "mode" (Go's bits), "mtime" (RFC 3339), "linkTarget"} of a path."""
        ...

    async def archive_get(self, container: str, path: str) -> tuple[Message, AsyncIterator[bytes]]:
        """The same, and a tar stream of the path."""
        ...

    async def archive_put(
        self,
        container: str,
        path: str,
        content: AsyncIterator[bytes],
        *,
        no_overwrite_dir_non_dir: bool,
        copy_uid_gid: bool,
    ) -> None:
        """Unpacks a tar stream into the directory `path`."""
        ...

    def export(self, container: str) -> AsyncIterator[bytes]:
        """All files of the container as a tar stream, but for those of volumes and binds."""
        ...
