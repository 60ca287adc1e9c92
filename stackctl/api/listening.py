"""Where else an engine answers than at its own socket, as `stackctl daemon` was told.

TCP with mutual TLS, further unix sockets, and a link where Docker's clients look when
nothing tells them otherwise.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stackctl.errors import UsageError
from stackctl.state.endpoints import TlsFiles, bracketed, tcp_address
from stackctl.values import dataclass

if TYPE_CHECKING:
    from stackctl.api.server import Server

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """`tcp` are hosts ("" for every address) with their ports, `sockets` absolute paths."""

    tcp: tuple[tuple[str, int], ...] = ()
    files: TlsFiles | None = None
    sockets: tuple[Path, ...] = ()
    #: Its name or number; "" is root alone.
    group: str = ""
    #: A link to the engine's socket, made if nothing of somebody else's is there.
    link: Path | None = None


def listening(
    hosts: Sequence[str],
    *,
    verify: bool,
    files: tuple[str, str, str],
    group: str = "",
    link: str = "",
) -> Listening:
    """What the flags of `stackctl daemon` say. `files` are those of authority, certificate
    and key. Raises UsageError, above all for TCP that anybody could use."""
    tcp, sockets = [], []
    for host in hosts:
        if host.startswith("tcp://"):
            tcp.append(tcp_address(host))
        elif host.removeprefix("unix://").startswith("/"):
            sockets.append(Path(host.removeprefix("unix://")))
        else:
            raise UsageError(
                f'--host "{host}" is no address to answer at',
                hint="tcp://HOST:2376 or unix:///PATH",
            )
    if tcp and not (verify and all(files)):
        raise UsageError(
            "TCP is answered with mutual TLS only: who reaches the engine is root on this machine",
            hint="add --tlsverify --tlscacert FILE --tlscert FILE --tlskey FILE",
        )
    authority, certificate, key = (Path(name).absolute() for name in files)
    return Listening(
        tcp=tuple(tcp),
        files=TlsFiles(authority, certificate, key) if tcp else None,
        sockets=tuple(sockets),
        group=group,
        link=Path(link) if link else None,
    )


async def open_all(server: Server, wanted: Listening, group: int | None) -> None:
    """Listens at every place that is wanted. Raises MachineError, UsageError."""
    for path in wanted.sockets:
        await server.listen(path, group=group)
    if wanted.files is not None:
        from stackctl.api.certificates import server_context

        context = server_context(wanted.files)
        for host, port in wanted.tcp:
            chosen = await server.listen_tls(host, port, context)
            log.info("answering", extra={"at": f"tcp://{bracketed(host)}:{chosen}"})


class Link:
    """The link at Docker's place; made at the start, removed when we leave if it is ours still."""

    def __init__(self, path: Path, target: Path) -> None:
        self._path = path
        self._target = str(target)

    def make(self) -> bool:
        """False when another engine is there: it is never replaced. Raises nothing."""
        if os.path.lexists(self._path):
            if not self._is_stale():
                log.warning("another engine has %s: no link is made", self._path)
                return False
            self._path.unlink(missing_ok=True)
        try:
            self._path.symlink_to(self._target)
        except OSError as error:
            log.warning("no link at %s: %s", self._path, error.strerror)
            return False
        return True

    def remove(self) -> None:
        if self._path.is_symlink() and str(self._path.readlink()) == self._target:
            self._path.unlink(missing_ok=True)

    def _is_stale(self) -> bool:
        """A link of ours that a killed engine left, or one that leads nowhere."""
        if not self._path.is_symlink():
            return False
        if str(self._path.readlink()) == self._target:
            return True
        return not self._path.exists()
