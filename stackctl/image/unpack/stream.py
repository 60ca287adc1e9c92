"""A layer's bytes: decompressed and hashed in a thread of its own, taken by the extractor.

Both decompression and hashing release the interpreter's lock, so that they run
beside the extractor. gzip is isal's (three times as fast as zlib), zstd the
standard library's or its backport; bzip2 and xz are for images of olden times.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from stackctl.image.unpack.failure import BadLayer

_READ = 256 << 10
_LONGEST = 4 << 20
#: Pieces on their way from thread to thread.
_WAITING = 6
#: Zeros compress 1,030 to 1 with gzip; a layer that is more than so many times larger than
#: its blob AND larger than so many bytes is meant to fill the disk.
_BOMB_RATIO = 300
_BOMB_BYTES = 16 << 30


class Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...


class Source:
    """`read(n)` gives compressed bytes; the attributes are known after `finish`."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(_WAITING)
        self._stop = False
        self._hash = hashlib.sha256()
        self._current = memoryview(b"")
        self._ended = False
        self.size = 0
        self._compressed = 0
        self._thread = threading.Thread(target=self._work, name="decompress", daemon=True)
        self._thread.start()

    @property
    def diff_id(self) -> str:
        return "sha256:" + self._hash.hexdigest()

    def take(self, size: int) -> bytes:
        """Exactly `size` bytes, or b"" when nothing at all is left. BadLayer when it ends early."""
        current = self._current
        if len(current) >= size:
            self._current = current[size:]
            return bytes(current[:size])
        collected = bytearray()
        for piece in self.pieces(size, allow_end=True):
            collected += piece
        return bytes(collected)

    def pieces(self, size: int, *, allow_end: bool = False) -> Iterator[memoryview]:
        """`size` bytes as they come, without copies."""
        left = size
        while left:
            if not self._current and not self._next():
                if allow_end and left == size:
                    return
                raise BadLayer("it ends in the middle of an entry")
            piece = self._current[:left]
            self._current = self._current[len(piece) :]
            left -= len(piece)
            yield piece

    def skip(self, size: int) -> None:
        for _ in self.pieces(size):
            pass

    def finish(self) -> None:
        """Read to the end, so that the digest covers all of it."""
        while self._next():
            pass
        self._thread.join()

    def close(self) -> None:
        """Give up: the thread ends with its next piece."""
        self._stop = True
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.05)
            except queue.Empty:
                pass

    def _next(self) -> bool:
        if self._ended:
            return False
        found = self._queue.get()
        if found is None:
            self._ended = True
            return False
        if isinstance(found, BaseException):
            self._ended = True
            raise found
        self._current = memoryview(found)
        return True

    # -- the thread

    def _work(self) -> None:
        try:
            for piece in self._decompressed():
                self._hash.update(piece)
                self.size += len(piece)
                if self.size > _BOMB_BYTES and self.size > _BOMB_RATIO * self._compressed:
                    raise BadLayer("it is a decompression bomb")
                self._queue.put(piece)
                if self._stop:
                    return
            self._queue.put(None)
        except BaseException as error:
            self._queue.put(error)

    def _more(self) -> bytes:
        data = self._read(_READ)
        self._compressed += len(data)
        return data

    def _decompressed(self) -> Iterator[bytes]:
        data = self._more()
        while 0 < len(data) < 10 and (more := self._more()):
            data += more
        make = _decompressor(data)
        if make is None:
            while data:
                yield data
                data = self._more()
            return
        engine = make()
        while True:
            try:
                piece = engine.decompress(data, _LONGEST)
            except Exception as error:
                raise BadLayer(f"its compressed content is damaged: {error}") from None
            if piece:
                yield piece
            if engine.eof:
                # Several members in one file (pigz, stargz) follow one another.
                data = engine.unused_data or self._more()
                if not data.strip(b"\0"):
                    return
                engine = make()
                continue
            data = getattr(engine, "unconsumed_tail", b"")
            if not data and getattr(engine, "needs_input", True) and len(piece) < _LONGEST:
                data = self._more()
                if not data:
                    raise BadLayer("it ends in the middle of its compressed content")


def _decompressor(head: bytes) -> Callable[[], Any] | None:
    """By the first bytes: media types are not always right. None: not compressed."""
    if head.startswith(b"\x1f\x8b"):
        from isal import isal_zlib

        return lambda: isal_zlib.decompressobj(wbits=31)
    if head.startswith(b"\x28\xb5\x2f\xfd") or (head[1:4] == b"\x2a\x4d\x18" and head[0] >> 4 == 5):
        zstd = zstd_module()
        # A frame may ask for a window of gigabytes; 128 MiB is what zstd itself allows.
        options = {zstd.DecompressionParameter.window_log_max: 27}
        return lambda: zstd.ZstdDecompressor(options=options)
    if head.startswith(b"BZh"):
        import bz2

        return bz2.BZ2Decompressor
    if head.startswith(b"\xfd7zXZ\0"):
        import lzma

        return lambda: lzma.LZMADecompressor(memlimit=256 << 20)
    return None


def zstd_module() -> Any:
    """compression.zstd (Python 3.14) or its backport."""
    import sys

    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd
