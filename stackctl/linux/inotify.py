"""File change notices (man 7 inotify)."""

from __future__ import annotations

import os

from stackctl.linux.libc import c_char_p, c_int, c_uint, check, function

IN_MODIFY = 0x2
IN_CLOSE_WRITE = 0x8
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE_SELF = 0x400

_inotify_init1 = function("inotify_init1", c_int)
_inotify_add_watch = function("inotify_add_watch", c_int, c_char_p, c_uint)


class Watch:
    """One inotify instance; its descriptor is readable when something has changed."""

    def __init__(self) -> None:
        self.fd = check(_inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK), "inotify")

    def add(self, path: str, events: int) -> int:
        return check(_inotify_add_watch(self.fd, os.fsencode(path), events), path)

    def drain(self) -> bool:
        """Throw away what is there: whoever was woken looks for itself. True: there was some."""
        some = False
        try:
            while os.read(self.fd, 65536):
                some = True
        except BlockingIOError:
            pass
        return some

    def close(self) -> None:
        os.close(self.fd)
