"""Sockets by descriptor (man 2 accept, man 7 unix)."""

from __future__ import annotations

import socket

from stackctl.linux.libc import c_int, c_void_p, check, function

_accept4 = function("accept4", c_int, c_void_p, c_void_p, c_int)


def accept(listener: int) -> int:
    """The descriptor of the next who connected; it does not block, and no child inherits it.

    Half of what `socket.accept` takes, which looks up who it is, and what kind of socket
    it made. Raises OSError.
    """
    flags = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    return check(_accept4(listener, None, None, flags))
