"""Blobs by digest: written under another name, hashed, synced, then renamed.

    ROOT/images/blobs/sha256/<hex>    complete and verified
    ROOT/images/ingest/<name>         being written; <hex>.part of a pull may be resumed

Who sees a blob sees all of it. Nothing here knows what is in one.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from stackctl.errors import ImageError, NotFound
from stackctl.image.content import Descriptor, hexadecimal

_PIECE = 1 << 20


class Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


class Blobs:
    """Blocking. All methods may be called from several threads."""

    def __init__(self, images: Path) -> None:
        self._home = images / "blobs" / "sha256"
        self._ingest = images / "ingest"
        self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._ingest.mkdir(parents=True, exist_ok=True, mode=0o700)

    def path(self, digest: str) -> Path:
        """Where the blob is, or would be. Raises ImageError for what is no digest."""
        return self._home / hexadecimal(digest)

    def part(self, digest: str) -> Path:
        """Where a download of the blob is collected; survives the process."""
        return self._ingest / f"{hexadecimal(digest)}.part"

    def has(self, digest: str) -> bool:
        return self.path(digest).exists()

    def size(self, digest: str) -> int:
        """Raises NotFound."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            raise _missing(digest) from None

    def open(self, digest: str) -> BinaryIO:
        """Raises NotFound."""
        try:
            return open(self.path(digest), "rb", buffering=0)
        except FileNotFoundError:
            raise _missing(digest) from None

    def read(self, digest: str, limit: int) -> bytes:
        """All of a small blob, its digest verified. Raises ImageError, NotFound."""
        with self.open(digest) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise ImageError(f"{digest} is larger than {limit} bytes")
        if "sha256:" + hashlib.sha256(data).hexdigest() != digest:
            raise _damaged(digest)
        return data

    def writer(self, media_type: str = "") -> BlobWriter:
        """A new blob whose digest nobody knows yet; close or publish it."""
        return BlobWriter(self, self._ingest / f"new-{secrets.token_hex(8)}", media_type)

    def publish(self, source: Path, digest: str) -> None:
        """A complete file whose hash the caller has verified becomes the blob, durably."""
        sync_file(source)
        source.rename(self.path(digest))
        sync_directory(self._home)

    def remove(self, digest: str) -> int:
        """Bytes that are free now; a blob that is not there is 0."""
        path = self.path(digest)
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return 0
        return size

    def all(self) -> Iterator[str]:
        """The digests of all blobs."""
        for entry in os.scandir(self._home):
            if len(entry.name) == 64:
                yield f"sha256:{entry.name}"

    def hashes_right(self, digest: str) -> bool:
        """Whether the blob is what its name says; reads all of it."""
        total = hashlib.sha256()
        with self.open(digest) as file:
            while piece := file.read(_PIECE):
                total.update(piece)
        return "sha256:" + total.hexdigest() == digest

    def sweep(self) -> None:
        """At start: removes what a killed process was writing, but for downloads."""
        for entry in list(os.scandir(self._ingest)):
            if not entry.name.endswith(".part"):
                Path(entry.path).unlink(missing_ok=True)

    def forget_parts(self) -> None:
        """Removes downloads that could be resumed; nobody may be downloading."""
        for entry in list(os.scandir(self._ingest)):
            if entry.name.endswith(".part"):
                Path(entry.path).unlink(missing_ok=True)


class BlobWriter:
    """Collects a blob under a temporary name; a context manager that drops what is unpublished."""

    def __init__(self, blobs: Blobs, path: Path, media_type: str) -> None:
        self._blobs = blobs
        self._path = path
        self._media_type = media_type
        self._file = open(path, "xb", buffering=0)  # noqa: SIM115  (close)
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | memoryview) -> int:
        self._hash.update(data)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self.size += len(data)
        return len(data)

    def write_all(self, source: bytes | Readable | Iterable[bytes]) -> None:
        """All of it: bytes, a file, or pieces."""
        for piece in _pieces(source):
            self.write(piece)

    @property
    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()

    def publish(self, *, expected: str = "") -> Descriptor:
        """Raises ImageError when the digest is not `expected`."""
        found = self.digest
        if expected and found != expected:
            raise ImageError(f"content of {expected} has the digest {found}")
        if self._blobs.has(found):
            self.close()
        else:
            self._file.close()
            self._blobs.publish(self._path, found)
        return Descriptor(digest=found, size=self.size, media_type=self._media_type)

    def close(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> BlobWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def sync_file(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _pieces(source: bytes | Readable | Iterable[bytes]) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
    elif hasattr(source, "read"):
        while piece := source.read(_PIECE):
            yield piece
    else:
        yield from source


def _missing(digest: str) -> NotFound:
    return NotFound(
        f"content {digest[:19]} is not in the store",
        hint="`stackctl image verify` tells what is missing; pull or load the image again",
    )


def _damaged(digest: str) -> ImageError:
    return ImageError(
        f"content {digest[:19]} is damaged on the disk",
        hint="`stackctl image verify --repair` removes it; then pull or load the image again",
    )
