"""A directory as a layer's tar: an overlay's upper directory, or a whole root.

Deterministic: sorted, no names of users, whole seconds. Whiteouts (character
devices 0:0) and opaque directories become the names of the OCI image spec
(layer.md). Everything is opened relative to descriptors, links are not followed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet

from stackctl.values import dataclass

BLOCK = 512
_PIECE = 1 << 20
_ZEROS = bytes(BLOCK)
_OPAQUE = ("user.overlay.opaque", "trusted.overlay.opaque")
_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC
_KEPT = ("user.", "security.capability", "system.posix_acl_")
_DROPPED = ("user.overlay.", "user.stackctl.")

Write = Callable[[bytes], object]


@dataclass(slots=True, kw_only=True)
class Header:
    """What a tar header says; times in whole seconds."""

    name: bytes
    kind: bytes
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    link: bytes = b""
    device: int = 0
    xattrs: dict[str, bytes] | None = None


def pack(
    directory: int, write: Write, *, clamp: int | None = None, skip: Iterable[bytes] = ()
) -> int:
    """All below the descriptor `directory` to `write`; the number of entries.

    `clamp`: times later than this (Unix seconds) become it. `skip`: paths that are left
    out, with what is below them. The directory itself is not an entry.
    """
    skipped = frozenset(skip)
    packer = _Packer(write, clamp, lambda path: path not in skipped)
    packer.below(directory, b"")
    write(_ZEROS * 2)
    return packer.count


def pack_parts(
    parts: Sequence[tuple[int, bytes]],
    write: Write,
    *,
    wanted: AbstractSet[bytes],
    whiteouts: Iterable[bytes] = (),
) -> int:
    """Of several directories, each with where it belongs (b"" or b"usr"), the `wanted` paths.

    What belongs to a later directory is not taken from an earlier one. `whiteouts` are paths
    that are deleted without a mark in the directories.
    """
    targets = frozenset(target for _, target in parts)
    packer = _Packer(write, None, lambda path: path in wanted and path not in targets)
    for directory, target in parts:
        if not target:
            packer.below(directory, b"")
        elif target in wanted:
            packer.top(directory, target)
            packer.below(directory, target + b"/")
    for path in whiteouts:
        packer.whiteout(path)
    write(_ZEROS * 2)
    return packer.count


def header_bytes(header: Header) -> bytes:
    """A ustar header; with a pax header before it when something does not fit."""
    pax: list[tuple[bytes, bytes]] = []
    name, link = header.name, header.link
    prefix = b""
    if len(name) > 100 or not name.isascii():
        prefix, name = _split(name)
        if not name or not header.name.isascii():
            pax.append((b"path", header.name))
            prefix, name = b"", header.name[-100:] if not header.name.endswith(b"/") else b"long/"
    if len(link) > 100 or not link.isascii():
        pax.append((b"linkpath", link))
        link = link[:100]
    size = header.size
    if size >= 1 << 33:
        pax.append((b"size", b"%d" % size))
        size = 0
    uid, gid = header.uid, header.gid
    if uid >= 1 << 21:
        pax.append((b"uid", b"%d" % uid))
        uid = 0
    if gid >= 1 << 21:
        pax.append((b"gid", b"%d" % gid))
        gid = 0
    mtime = header.mtime
    if not 0 <= mtime < 1 << 33:
        pax.append((b"mtime", b"%d" % mtime))
        mtime = 0
    for key, value in sorted((header.xattrs or {}).items()):
        pax.append((b"SCHILY.xattr." + os.fsencode(key), value))
    out = b""
    if pax:
        content = b"".join(_record(key, value) for key, value in pax)
        out = _ustar(b"PaxHeaders/0", b"x", 0o644, 0, 0, len(content), 0, b"", b"", 0)
        out += content + bytes(-len(content) % BLOCK)
    return out + _ustar(
        name, header.kind, header.mode, uid, gid, size, mtime, link, prefix, header.device
    )


class _Packer:
    def __init__(self, write: Write, clamp: int | None, wanted: Callable[[bytes], bool]) -> None:
        self._write = write
        self._clamp = clamp
        self._wanted = wanted
        self._links: dict[tuple[int, int], bytes] = {}
        self.count = 0

    def below(self, directory: int, prefix: bytes) -> None:
        for name in sorted(os.fsencode(name) for name in os.listdir(directory)):
            path = prefix + name
            if self._wanted(path):
                self._add(directory, name, path)

    def top(self, directory: int, name: bytes) -> None:
        """The directory itself, as `name`."""
        status = os.fstat(directory)
        self._emit(self._header(name + b"/", status, b"5"))

    def whiteout(self, path: bytes) -> None:
        """It has no time: nobody sees one, and equal layers should be equal."""
        above, slash, name = path.rpartition(b"/")
        self._emit(Header(name=above + slash + b".wh." + name, kind=b"0"))

    def _header(self, path: bytes, status: os.stat_result, kind: bytes) -> Header:
        return Header(
            name=path,
            kind=kind,
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            mtime=self._time(status),
        )

    def _add(self, parent: int, name: bytes, path: bytes) -> None:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        mode = status.st_mode
        header = self._header(path, status, b"0")
        if stat.S_ISDIR(mode):
            self._directory(parent, name, header)
            return
        if stat.S_ISSOCK(mode):
            return  # no archive has them
        if stat.S_ISCHR(mode) and status.st_rdev == 0:
            self.whiteout(path)
            return
        if status.st_nlink > 1:
            first = self._links.setdefault((status.st_dev, status.st_ino), path)
            if first != path:
                header.kind, header.link = b"1", first
                self._emit(header)
                return
        if stat.S_ISREG(mode):
            self._file(parent, name, header)
        elif stat.S_ISLNK(mode):
            header.kind, header.link = b"2", os.readlink(name, dir_fd=parent)
            header.mode = 0o777
            self._emit(header)
        else:
            header.kind = b"6" if stat.S_ISFIFO(mode) else b"3" if stat.S_ISCHR(mode) else b"4"
            header.device = status.st_rdev
            self._emit(header)

    def _directory(self, parent: int, name: bytes, header: Header) -> None:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | _FLAGS, dir_fd=parent)
        try:
            attributes = _xattrs(fd)
            header.name += b"/"
            header.kind = b"5"
            header.xattrs = _kept(attributes)
            self._emit(header)
            if any(attributes.get(key) == b"y" for key in _OPAQUE):
                self._emit(
                    Header(name=header.name + b".wh..wh..opq", kind=b"0", mtime=header.mtime)
                )
            self.below(fd, header.name)
        finally:
            os.close(fd)

    def _file(self, parent: int, name: bytes, header: Header) -> None:
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | _FLAGS, dir_fd=parent)
        try:
            header.size = os.fstat(fd).st_size
            header.xattrs = _kept(_xattrs(fd))
            self._emit(header)
            left = header.size
            while left:
                piece = os.read(fd, min(left, _PIECE))
                if not piece:
                    # It was cut while we read: the header's size counts.
                    piece = bytes(min(left, _PIECE))
                self._write(piece)
                left -= len(piece)
            if header.size % BLOCK:
                self._write(bytes(-header.size % BLOCK))
        finally:
            os.close(fd)

    def _emit(self, header: Header) -> None:
        self.count += 1
        self._write(header_bytes(header))

    def _time(self, status: os.stat_result) -> int:
        seconds = int(status.st_mtime_ns // 1_000_000_000)
        return seconds if self._clamp is None else min(seconds, self._clamp)


def _xattrs(fd: int) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    try:
        names = os.listxattr(fd)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return found
        raise
    for name in names:
        if name.startswith((*_KEPT, *_OPAQUE)):
            found[name] = os.getxattr(fd, name)
    return found


def _kept(attributes: dict[str, bytes]) -> dict[str, bytes]:
    return {
        key: value
        for key, value in attributes.items()
        if key.startswith(_KEPT) and not key.startswith(_DROPPED)
    }


def _split(name: bytes) -> tuple[bytes, bytes]:
    """ustar's prefix and name; ("", "") when it does not fit."""
    if len(name) <= 256:
        at = name.rfind(b"/", 0, 156)
        while at > 0:
            rest = name[at + 1 :]
            if 0 < len(rest) <= 100:
                return name[:at], rest
            if len(rest) > 100:
                break
            at = name.rfind(b"/", 0, at)
    return b"", b""


def _record(key: bytes, value: bytes) -> bytes:
    body = b" " + key + b"=" + value + b"\n"
    size = len(body)
    total = size + len(str(size))
    if len(str(total)) != len(str(size)):
        total = size + len(str(total))
    return b"%d" % total + body


def _ustar(
    name: bytes,
    kind: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    link: bytes,
    prefix: bytes,
    device: int,
) -> bytes:
    has_device = kind in (b"3", b"4")
    raw = b"".join(
        (
            name.ljust(100, b"\0"),
            b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, uid, gid, size, mtime),
            b"        ",
            kind,
            link.ljust(100, b"\0"),
            b"ustar\00000",
            bytes(64),
            b"%07o\0" % (os.major(device) if has_device else 0),
            b"%07o\0" % (os.minor(device) if has_device else 0),
            prefix.ljust(155, b"\0"),
            bytes(12),
        )
    )
    return raw[:148] + b"%06o\0 " % sum(raw) + raw[156:]
