"""What daemon, shim and child say to each other, and in which order.

Every message is one packet on a SOCK_SEQPACKET unix socket: a dict in marshal
format 2, descriptors beside it. marshal and _socket are built in: json and
socket would double the shim's start and add a sixth to its memory. Only root
and processes that we forked reach these sockets.

    daemon --start(seq, id, run)--> shim
                                    shim --order(bundle, fds)--> child     [forked ahead, or now]
                                    shim <--spawned(pid)-- child   [namespaces exist; it leaves]
    daemon <--ready(id, pid)------- shim
       [attaches the network]                              pid 1   [meanwhile builds its root]
    daemon --go(id)---------------> shim --go-----------> pid 1
                                    shim <--terminal(fd)-- pid 1   [only with a terminal]
                                    shim <--executing----- pid 1
                                    shim <--failed(step)-- pid 1   [or its end closes on exec]
    daemon <--reply(seq)----------- shim
       ...
                                    shim: writes exit.json
    daemon <--exit(id)------------- shim

    daemon --exec(seq, session, three fds)--> shim --order--> child --setns, fork--> process
    daemon <--terminal(session, fd)---------- shim                 [only with a terminal]
    daemon <--reply(seq)--------------------- shim                 [executed]
    daemon --signal-exec(session, signal)---> shim                 [no reply]
    daemon <--exec-exit(session)------------- shim

A daemon that goes away before `go` aborts that start; what runs goes on.
"""

from __future__ import annotations

import _socket
import marshal
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Larger than any message: bundles travel as files.
MAX_MESSAGE = 262144
_MAX_FDS = 8
_FORMAT = 2
_SO_SNDBUFFORCE = 32

BUNDLE = "bundle"
EXIT = "exit.json"


def encode(message: dict[str, Any]) -> bytes:
    return marshal.dumps(message, _FORMAT)


def decode(raw: bytes) -> dict[str, Any]:
    """The message of `raw`; ValueError for anything that is none."""
    try:
        message = marshal.loads(raw)
    except (EOFError, TypeError) as error:
        raise ValueError(f"broken message: {error}") from None
    if not isinstance(message, dict):
        raise ValueError("broken message: no dict")
    return message


def send(sock: _socket.socket, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
    """Send one message with descriptors; BlockingIOError when a non-blocking socket is full."""
    send_raw(sock, encode(message), fds)


def send_raw(sock: _socket.socket, raw: bytes, fds: tuple[int, ...] = ()) -> None:
    """Send an encoded message."""
    ancillary = []
    if fds:
        numbers = b"".join(fd.to_bytes(4, "little", signed=True) for fd in fds)
        ancillary.append((_socket.SOL_SOCKET, _socket.SCM_RIGHTS, numbers))
    sock.sendmsg([raw], ancillary, _socket.MSG_NOSIGNAL)


def receive(sock: _socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next message and its descriptors (close-on-exec); None at the end."""
    try:
        raw, ancillary, _, _ = _receive(sock)
    except ConnectionResetError:
        # The other end closed without reading all of ours. That is told once, before what it
        # had sent: its last words are still there.
        try:
            raw, ancillary, _, _ = _receive(sock)
        except ConnectionResetError:
            return None
    fds = []
    for level, kind, content in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            fds += [
                int.from_bytes(content[i : i + 4], "little") for i in range(0, len(content) - 3, 4)
            ]
    if not raw:
        return None
    try:
        return decode(raw), fds
    except ValueError:
        for fd in fds:
            os.close(fd)
        raise


def _receive(sock: _socket.socket) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any]:
    return sock.recvmsg(MAX_MESSAGE, _socket.CMSG_SPACE(4 * _MAX_FDS), _socket.MSG_CMSG_CLOEXEC)


def pair() -> tuple[_socket.socket, _socket.socket]:
    """Two connected ends; both close-on-exec."""
    kind = _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC
    a, b = _socket.socketpair(_socket.AF_UNIX, kind)
    return a, b


def enlarge(sock: _socket.socket) -> None:
    """Room for the largest message; the kernel's default is less (man 7 socket)."""
    try:
        sock.setsockopt(_socket.SOL_SOCKET, _SO_SNDBUFFORCE, 4 * MAX_MESSAGE)
    except OSError:
        pass  # without CAP_NET_ADMIN the default has to do
