"""File change notices (man 7 inotify)."""

from __future__ import annotations

import os
import struct

from stackctl.linux.libc import c_char_p, c_int, c_uint, check, function

IN_MODIFY = 0x2
IN_ATTRIB = 0x4
IN_CLOSE_WRITE = 0x8
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_DELETE_SELF = 0x400
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
IN_ONLYDIR = 0x1000000
IN_DONT_FOLLOW = 0x2000000
IN_ISDIR = 0x40000000

#: struct inotify_event: wd, mask, cookie, len; the name of `len` bytes follows.
_EVENT = struct.Struct("iIII")

_inotify_init1 = function("inotify_init1", c_int)
_inotify_add_watch = function("inotify_add_watch", c_int, c_char_p, c_uint)
_inotify_rm_watch = function("inotify_rm_watch", c_int, c_int)


class Watch:
    """One inotify instance; its descriptor is readable when something has changed."""

    def __init__(self) -> None:
        self.fd = check(_inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK), "inotify")

    def add(self, path: str, events: int) -> int:
        return check(_inotify_add_watch(self.fd, os.fsencode(path), events), path)

    def remove(self, watch: int) -> None:
        """Raises OSError for one that is gone already, as after the removal of its directory."""
        check(_inotify_rm_watch(self.fd, watch), "inotify")

    def read(self) -> list[tuple[int, int, str]]:
        """What there is, without waiting: (watch, mask, name in the directory or "")."""
        try:
            data = os.read(self.fd, 65536)
        except BlockingIOError:
            return []
        found, at = [], 0
        while at < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size
            name = data[at : at + length].rstrip(b"\0")
            found.append((watch, mask, os.fsdecode(name)))
            at += length
        return found

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
