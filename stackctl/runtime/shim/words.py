"""What a forked child hears from the shim, its order, and says to it: it was spawned, it executes,
it has failed at a step."""

from __future__ import annotations

import _socket
import os

from stackctl.runtime.shim import identity, mounts, protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    Bundle = dict[str, Any]

#: Where the control socket sits in the child, above stdio.
CONTROL = 3


def order() -> Bundle | None:
    """The shim's order, its descriptors put in their places; None when there will be none."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, CONTROL)
    try:
        received = protocol.receive(sock)
    finally:
        sock.detach()
    if received is None:
        return None
    message, fds = received
    for number, fd in zip(message["stdio"], fds, strict=True):
        os.dup2(fd, number)
        os.close(fd)
    return message


def tell_notices(stage: mounts.Stage) -> None:
    for text in stage.notices:
        report({"message": "notice", "text": text})
    stage.notices.clear()


def report(message: Bundle, fds: tuple[int, ...] = ()) -> None:
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, CONTROL)
    try:
        protocol.send(sock, message, fds)
    finally:
        sock.detach()


def fail(stage: mounts.Stage, error: BaseException) -> NoReturn:
    """Tell the shim which step failed and why; end."""
    code = error.errno if isinstance(error, OSError) else 0
    text = str(error)
    if isinstance(error, OSError):
        text = error.strerror or text
        name = error.filename
        if isinstance(name, str) and name and name not in stage.step:
            text = f"{name}: {text}"
    elif not isinstance(error, (mounts.SetupError, mounts.CannotMap, identity.IdentityError)):
        text = f"{type(error).__name__}: {text}"
    message = {"message": "failed", "step": stage.step, "errno": code or 0, "text": text}
    try:
        report(message)
    finally:
        os._exit(126)
