"""Pseudo-terminals by descriptor (man 4 pts, man 2 ioctl_tty)."""

from __future__ import annotations

import fcntl
import os
import struct

_TIOCSCTTY = 0x540E
_TIOCSWINSZ = 0x5414
_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441


def slave_of(master: int) -> int:
    """Unlock `master` and open its other end, without going through a path."""
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    return fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)


def resize(terminal: int, width: int, height: int) -> None:
    """Set the window size; the foreground process group gets SIGWINCH."""
    fcntl.ioctl(terminal, _TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


def make_controlling(slave: int) -> None:
    """Make `slave` the controlling terminal of this session leader."""
    fcntl.ioctl(slave, _TIOCSCTTY, 0)
