"""One exec: what was asked for -> the message to the shim, and the descriptors on both sides."""

from __future__ import annotations

import os
from typing import Any

from stackctl.runtime import capabilities
from stackctl.runtime.session import STDERR, STDOUT, Session
from stackctl.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecRequest:
    """A process beside a container's own. Empty texts: as the container has them."""

    argv: tuple[str, ...]
    env: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    tty: bool = False
    stdin: bool = False
    width: int = 0
    height: int = 0
    privileged: bool = False


def wanted(request: ExecRequest) -> dict[str, Any]:
    """What the process's bundle says instead of the container's."""
    found: dict[str, Any] = {
        "argv": list(request.argv),
        "env": list(request.env),
        "tty": request.tty,
        "size": [request.width, request.height] if request.width else None,
        "init": False,
        "first": False,
    }
    if request.working_dir:
        found["cwd"] = request.working_dir
    if request.user:
        found["user"] = request.user
    if request.privileged:
        found["capabilities"] = capabilities.mask(capabilities.ALL)
        found["seccomp"] = b""
    return found


def streams(request: ExecRequest) -> tuple[Session, tuple[int, ...]]:
    """Our side of the streams, and the descriptors for the process (none with a terminal)."""
    session = Session(tty=request.tty)
    if request.tty:
        return session, ()
    if request.stdin:
        stdin, writer = os.pipe2(os.O_CLOEXEC)
    else:
        stdin, writer = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), -1
    session.stdin.give(writer)
    reader_out, stdout = os.pipe2(os.O_CLOEXEC)
    reader_err, stderr = os.pipe2(os.O_CLOEXEC)
    session.add(STDOUT, reader_out)
    session.add(STDERR, reader_err)
    return session, (stdin, stdout, stderr)
