"""Reads the logs that shims write: the end of it, a span of time, or as it comes.

Rotated files (log.json.4 ... log.json.1, log.json) are read as one. A follower
is woken by inotify; it holds one open file, so that a rotation under it loses
nothing, and reads no further than its consumer has come.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from stackctl.linux import inotify
from stackctl.state.paths import Paths

_BLOCK = 65536
_MAX_FILES = 100


@dataclass(frozen=True, slots=True)
class LogLine:
    """One entry. `time` is RFC 3339 with nanoseconds in UTC (such texts sort by time);
    `text` has no newline; `partial`: the line goes on in the next entry of its stream."""

    time: str
    stream: str
    text: str
    partial: bool = False


def read(
    paths: Paths,
    container_id: str,
    *,
    tail: int | None = None,
    since: float = 0.0,
    until: float = 0.0,
) -> Iterator[LogLine]:
    """Entries in order. `tail`: only the last ones; `since`, `until`: Unix seconds, 0.0 is open.

    A container that has not logged yet has none. Blocking.
    """
    first, last = _stamp(since), _stamp(until)
    found = _entries(_files(paths.container_log(container_id)), tail if not last else None)
    chosen = (line for line in found if line.time >= first and (not last or line.time <= last))
    if tail is not None:
        return iter(deque(chosen, maxlen=tail))
    return chosen


def last_lines(paths: Paths, container_id: str, count: int) -> list[str]:
    """The texts of the last `count` entries, for an error's details. Blocking, but short."""
    return [line.text for line in read(paths, container_id, tail=count)]


async def follow(
    paths: Paths,
    container_id: str,
    *,
    tail: int | None = None,
    since: float = 0.0,
    until: float = 0.0,
    until_done: asyncio.Future[Any] | None = None,
) -> AsyncIterator[LogLine]:
    """What `read` gives, then what comes, until `until_done` is done and all was read."""
    first, last = _stamp(since), _stamp(until)
    log = paths.container_log(container_id)
    changes = inotify.Watch()
    loop = asyncio.get_running_loop()
    wake = asyncio.Event()
    if until_done is not None:
        until_done.add_done_callback(lambda _: wake.set())
    loop.add_reader(changes.fd, wake.set)
    current: _Tail | None = None
    try:
        await asyncio.to_thread(log.parent.mkdir, parents=True, exist_ok=True)
        changes.add(str(log.parent), inotify.IN_CREATE | inotify.IN_MOVED_TO | inotify.IN_MODIFY)
        # Open before reading what is there: the rest is read from where that ended.
        current, history = await asyncio.to_thread(_begin, log, tail)
        for line in history:
            if last and line.time > last:
                return
            if line.time >= first:
                yield line
        while True:
            wake.clear()
            changes.drain()
            done = until_done is not None and until_done.done()
            if current is None:
                current = _Tail.open(log)
            while current is not None:
                for line in current.lines():
                    if last and line.time > last:
                        return
                    if line.time >= first:
                        yield line
                following = current.next(log)
                if following is current:
                    break
                current.close()
                current = following
            if done:
                return
            await wake.wait()
    finally:
        loop.remove_reader(changes.fd)
        changes.close()
        if current is not None:
            current.close()


class _Tail:
    """One open log file that grows."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._rest = b""

    @classmethod
    def open(cls, path: Path) -> _Tail | None:
        try:
            return cls(open(path, "rb", buffering=0))
        except FileNotFoundError:
            return None

    def skip_to_end(self) -> int:
        """Go behind the last complete entry; that offset."""
        size = self._file.seek(0, os.SEEK_END)
        while size > 0:
            step = min(_BLOCK, size)
            self._file.seek(size - step)
            end = self._file.read(step).rfind(b"\n")
            if end >= 0:
                return self._file.seek(size - step + end + 1)
            size -= step
        return self._file.seek(0)

    def lines(self) -> Iterator[LogLine]:
        """Entries that are complete by now."""
        while data := self._file.read(_BLOCK):
            self._rest += data
            *whole, self._rest = self._rest.split(b"\n")
            for raw in whole:
                if (line := parse(raw)) is not None:
                    yield line

    def next(self, path: Path) -> _Tail | None:
        """Itself while it is the current file; else the file that came after it.

        The file that follows this one is found by inode among the rotated ones.
        """
        mine = os.fstat(self._file.fileno()).st_ino
        newer = path
        for number in range(_MAX_FILES):
            here = path if number == 0 else path.with_name(f"{path.name}.{number}")
            try:
                inode = here.stat().st_ino
            except FileNotFoundError:
                break
            if inode == mine:
                if number == 0:
                    return self
                # It may have grown between the last read and its rename.
                return None if self._has_more() else _Tail.open(newer)
            newer = here
        return _Tail.open(path)

    def _has_more(self) -> bool:
        return os.fstat(self._file.fileno()).st_size > self._file.tell()

    def close(self) -> None:
        self._file.close()


def _begin(log: Path, tail: int | None) -> tuple[_Tail | None, list[LogLine]]:
    """Where to go on reading, and what came before: all of it is left to the tail unless
    only the last entries are wanted."""
    if tail is None:
        return _Tail.open(_files(log)[0]), []
    current = _Tail.open(log)
    if current is None:
        return None, []
    size = current.skip_to_end()
    return current, list(_last(_files(log), tail, size))


def parse(raw: bytes) -> LogLine | None:
    """One line of a log file; None when a crash left it damaged."""
    try:
        entry = json.loads(raw)
        text, stream, time = entry["log"], entry["stream"], entry["time"]
    except (ValueError, KeyError, TypeError):
        return None
    whole = text.endswith("\n")
    return LogLine(time, stream, text[:-1] if whole else text, not whole)


def _files(log: Path) -> list[Path]:
    """The log's files that exist, oldest first."""
    files = [log]
    for number in range(1, _MAX_FILES):
        older = log.with_name(f"{log.name}.{number}")
        if not older.exists():
            break
        files.append(older)
    return files[::-1]


def _entries(files: list[Path], tail: int | None) -> Iterator[LogLine]:
    """All entries, or (tail) not many more than the last `tail`."""
    if tail is not None:
        yield from _last(files, tail)
        return
    for path in files:
        try:
            with open(path, "rb") as file:
                for raw in file:
                    if (line := parse(raw)) is not None:
                        yield line
        except FileNotFoundError:
            continue


def _last(files: list[Path], count: int, end: int | None = None) -> Iterator[LogLine]:
    """The last `count` entries (before offset `end` of the newest file), read backwards."""
    chunks: list[list[bytes]] = []
    needed = count
    for number, path in enumerate(reversed(files)):
        if needed <= 0:
            break
        try:
            raws = _last_lines(path, needed, end if number == 0 else None)
        except FileNotFoundError:
            continue
        chunks.append(raws)
        needed -= len(raws)
    for raws in reversed(chunks):
        for raw in raws:
            if (line := parse(raw)) is not None:
                yield line


def _last_lines(path: Path, count: int, end: int | None) -> list[bytes]:
    with open(path, "rb", buffering=0) as file:
        position = file.seek(0, os.SEEK_END) if end is None else end
        data = b""
        while position > 0 and data.count(b"\n") <= count:
            step = min(_BLOCK, position)
            position -= step
            file.seek(position)
            data = file.read(step) + data
        lines = data.split(b"\n")[:-1]  # what has no newline is being written
        return lines[-count:] if count else []


def _stamp(moment: float) -> str:
    """Unix seconds as the log writes time; "" for 0.0."""
    if not moment:
        return ""
    whole = datetime.fromtimestamp(int(moment), UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{int(moment % 1 * 1e9):09d}Z"
