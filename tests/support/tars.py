"""Tars made by hand, entry by entry: also those that no tool would write."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

from stackctl.image.pack import BLOCK, Header, header_bytes
from stackctl.image.unpack.extract import Extractor
from stackctl.image.unpack.stream import Source

END = bytes(2 * BLOCK)


def entry(name: str | bytes, content: bytes = b"", kind: bytes = b"0", **more: object) -> bytes:
    """One entry with its content; `more` are a Header's fields."""
    raw = name if isinstance(name, bytes) else os.fsencode(name)
    size = len(content) if kind == b"0" else 0
    header = header_bytes(Header(name=raw, kind=kind, size=size, **more))  # type: ignore[arg-type]
    return header + content + bytes(-len(content) % BLOCK)


def directory(name: str, mode: int = 0o755) -> bytes:
    return entry(name + "/", kind=b"5", mode=mode)


def symlink(name: str, target: str) -> bytes:
    return entry(name, kind=b"2", link=os.fsencode(target), mode=0o777)


def hard_link(name: str, target: str) -> bytes:
    return entry(name, kind=b"1", link=os.fsencode(target))


def tar(*entries: bytes) -> bytes:
    return b"".join(entries) + END


def gz(raw: bytes) -> bytes:
    return gzip.compress(raw, 1, mtime=0)


def extract(raw: bytes, target: Path) -> Extractor:
    """Unpack into `target` in this process. Raises what the extractor raises."""
    position = 0

    def read(size: int) -> bytes:
        nonlocal position
        piece = raw[position : position + size]
        position += len(piece)
        return piece

    root = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    source = Source(read)
    try:
        extractor = Extractor(root)
        extractor.run(source)
        source.finish()
        return extractor
    finally:
        source.close()
        os.close(root)
