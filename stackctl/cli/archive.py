"""Tar streams of `cp`: packing what is here, unpacking what a container sent.

What comes out of a container is untrusted and we may be root. Names are taken
apart and opened one by one relative to descriptors, links never followed; set-id
bits are dropped; devices are left out. Ownership is the caller's unless asked.
Not tarfile's extract: its filters have let names escape (CVE-2025-4517 and others).
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import IO, cast

from stackctl.cli.connection import Readable
from stackctl.errors import Conflict, StackctlError

_CHUNK = 1 << 18
_BLOCK = 512
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class UnsafeArchive(StackctlError):
    """The container sent names that leave the destination."""

    kind = "archive"


def pack(source: Path, name: str, *, follow: bool = False, owners: bool = False) -> Iterator[bytes]:
    """The tar stream of a file or tree that is called `name` in it ("" for its contents only).

    `follow` resolves `source` itself if it is a link. Owners are 0:0 unless
    `owners`. Raises OSError naming what cannot be read.
    """
    if follow:
        source = source.resolve()
    yield from pack_each(_walk(source, name), owners=owners)


def pack_each(entries: Iterable[tuple[Path, str]], *, owners: bool = False) -> Iterator[bytes]:
    """The tar stream of these files and directories, each under its name and without what is
    below it. What is gone by now is left out."""
    # An archive that is never written: it knows how to describe a file, hard links included.
    describer = tarfile.TarFile(fileobj=BytesIO(), mode="w")
    for path, inside in entries:
        try:
            info = describer.gettarinfo(str(path), inside)
        except FileNotFoundError:
            continue
        if info is None:
            continue  # a socket
        if not owners:
            info.uid = info.gid = 0
            info.uname = info.gname = ""
        yield info.tobuf(tarfile.PAX_FORMAT)
        if info.isreg() and info.size:
            yield from _content(path, info.size)
    yield b"\0" * (2 * _BLOCK)


def _walk(source: Path, name: str) -> Iterator[tuple[Path, str]]:
    if name:
        yield source, name
    if source.is_dir() and not source.is_symlink():
        for child in sorted(source.iterdir()):
            yield from _walk(child, f"{name}/{child.name}" if name else child.name)


def _content(path: Path, size: int) -> Iterator[bytes]:
    """Exactly `size` bytes and the padding, though the file may grow or shrink meanwhile."""
    left = size
    with open(path, "rb") as file:
        while left and (data := file.read(min(_CHUNK, left))):
            left -= len(data)
            yield data
    while left:
        data = b"\0" * min(_CHUNK, left)
        left -= len(data)
        yield data
    if size % _BLOCK:
        yield b"\0" * (_BLOCK - size % _BLOCK)


class Chunks:
    """Byte chunks as a file that is read once."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._buffer = b""

    def read(self, size: int = _CHUNK, /) -> bytes:
        parts, have = [self._buffer], len(self._buffer)
        while have < size and (chunk := next(self._chunks, None)) is not None:
            parts.append(chunk)
            have += len(chunk)
        data = b"".join(parts)
        self._buffer = data[size:]
        return data[:size]


def unpack(
    content: Readable,
    directory: Path,
    *,
    rename: str | None,
    bare: bool = False,
    owners: bool = False,
) -> list[str]:
    """Write a container's archive below `directory`, which exists; names of what was left out.

    All names of the archive begin with one component, the base name of what was
    copied; it becomes `rename`, or goes away for "" (contents only). None keeps it. `bare`
    ones have none such (contents of a root), and get `rename` in front.
    Raises UnsafeArchive, Conflict, OSError.
    """
    skipped = []
    with ExitStack() as stack:
        root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, root)
        writer = _Writer(root, rename, bare, owners)
        # Only reads, whatever its type says; it can be neither told nor sought.
        source = cast("IO[bytes]", content)
        reader = stack.enter_context(tarfile.open(fileobj=source, mode="r|"))
        for member in reader:
            if not writer.write(member, reader):
                skipped.append(member.name)
        writer.finish()
    return skipped


class _Writer:
    """Members below one directory descriptor."""

    def __init__(self, root: int, rename: str | None, bare: bool, owners: bool) -> None:
        self._root = root
        self._rename = rename
        self._bare = bare
        self._owners = owners
        #: Modes of new directories: set at the end, or a read-only one could not be filled.
        self._modes: list[tuple[list[str], int]] = []

    def write(self, member: tarfile.TarInfo, reader: tarfile.TarFile) -> bool:
        """False for what is not copied: devices."""
        parts = self._parts(member.name)
        if not parts:
            return True  # the directory itself, whose contents are wanted
        parent = self._open(parts[:-1])
        try:
            return self._make(member, reader, parent, parts)
        finally:
            os.close(parent)

    def _make(
        self, member: tarfile.TarInfo, reader: tarfile.TarFile, parent: int, parts: list[str]
    ) -> bool:
        name = parts[-1]
        if member.isdir():
            if self._directory(parent, name):
                self._modes.append((parts, member.mode & 0o777))
                self._own(member, parent, name)
            return True
        if not (member.isreg() or member.issym() or member.islnk() or member.isfifo()):
            return False
        _make_room(parent, name, member.name)
        if member.issym():
            os.symlink(member.linkname, name, dir_fd=parent)
        elif member.islnk():
            self._link(member, parent, name)
        elif member.isfifo():
            os.mkfifo(name, member.mode & 0o777, dir_fd=parent)
        else:
            self._file(member, reader, parent, name)
        if not member.islnk():
            self._own(member, parent, name)
        return True

    def _parts(self, name: str) -> list[str]:
        """Components below the root. Raises UnsafeArchive for those that lead elsewhere."""
        if name.startswith("/"):
            raise UnsafeArchive(f'the container sent an absolute name: "{name}"')
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise UnsafeArchive(f'the container sent a name that leaves the directory: "{name}"')
        if self._bare:
            return [self._rename, *parts] if self._rename else parts
        if parts and self._rename is not None:
            parts[:1] = [self._rename] if self._rename else []
        return parts

    def _open(self, parts: list[str]) -> int:
        """Descriptor of a directory below the root; links are refused, missing ones made."""
        descriptor = os.dup(self._root)
        try:
            for part in parts:
                self._directory(descriptor, part)
                try:
                    inner = os.open(part, _DIRECTORY, dir_fd=descriptor)
                except OSError as error:
                    raise Conflict(
                        f'"{"/".join(parts)}" is not a directory here: {error.strerror}'
                    ) from error
                os.close(descriptor)
                descriptor = inner
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _directory(self, parent: int, name: str) -> bool:
        """True when it was made."""
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            return False
        return True

    def _file(
        self, member: tarfile.TarInfo, reader: tarfile.TarFile, parent: int, name: str
    ) -> None:
        source = reader.extractfile(member)
        descriptor = os.open(name, _NEW_FILE, 0o600, dir_fd=parent)
        with open(descriptor, "wb") as file:
            while source is not None and (data := source.read(_CHUNK)):
                file.write(data)
            file.flush()
            os.fchmod(file.fileno(), member.mode & 0o777)
            os.utime(file.fileno(), (member.mtime, member.mtime))

    def _link(self, member: tarfile.TarInfo, parent: int, name: str) -> None:
        target = self._parts(member.linkname)
        if not target:
            raise UnsafeArchive(f'the container sent a link to nothing: "{member.name}"')
        holder = self._open(target[:-1])
        try:
            os.link(target[-1], name, src_dir_fd=holder, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(holder)

    def _own(self, member: tarfile.TarInfo, parent: int, name: str) -> None:
        if self._owners:
            os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)

    def finish(self) -> None:
        for parts, mode in reversed(self._modes):
            descriptor = self._open(parts)
            os.fchmod(descriptor, mode)
            os.close(descriptor)


def _make_room(parent: int, name: str, shown: str) -> None:
    """A file replaces a file or a link, never a directory."""
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(found.st_mode):
        raise Conflict(f'"{shown}" is a directory here and a file in the container')
    os.unlink(name, dir_fd=parent)
