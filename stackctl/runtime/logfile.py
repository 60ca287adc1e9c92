"""Reads the logs that shims write: the end of it, a span of time, or as it comes.

Rotated files (log.json.4 ... log.json.1, log.json) are read as one. A follower
is woken by inotify; it holds one open file, so that a rotation under it loses
nothing, and reads no further than its consumer has come.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
from collections import deque
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stackctl.linux import inotify
from stackctl.state.paths import Paths
from stackctl.values import dataclass

_BLOCK = 65536
_MAX_FILES = 100
#: Characters of a line that are kept until it ends.
_LONGEST = 1 << 20
#: How often the files are looked for while rotations come between.
_TRIES = 20


@dataclass(frozen=True, slots=True)
class LogLine:
    """One entry. `time` is RFC 3339 with nanoseconds in UTC (such texts sort by time);
    `text` has no newline; `partial`: the line goes on in the next entry of its stream."""

    time: str
    stream: str
    text: str
    partial: bool = False


class Whole:
    """Puts the entries of one container together to whole lines, each stream's by itself.

    A line longer than `_LONGEST` comes in parts that long.
    """

    def __init__(self) -> None:
        self._begun: dict[str, list[LogLine]] = {}
        self._length: dict[str, int] = {}

    def take(self, entry: LogLine) -> LogLine | None:
        """The line that this entry ends, if it does."""
        stream = entry.stream
        begun = self._begun.get(stream)
        if entry.partial:
            self._length[stream] = self._length.get(stream, 0) + len(entry.text)
            self._begun.setdefault(stream, []).append(entry)
            return self._ended(stream, partial=True) if self._length[stream] > _LONGEST else None
        if begun is None:
            return entry
        begun.append(entry)
        return self._ended(stream, partial=False)

    def rest(self) -> list[LogLine]:
        """What nobody has ended; `partial`."""
        return [self._ended(stream, partial=True) for stream in list(self._begun)]

    def _ended(self, stream: str, *, partial: bool) -> LogLine:
        entries = self._begun.pop(stream)
        del self._length[stream]
        text = "".join(entry.text for entry in entries)
        return LogLine(time=entries[0].time, stream=stream, text=text, partial=partial)


def whole(entries: Iterator[LogLine]) -> Iterator[LogLine]:
    """The entries of one container as whole lines."""
    lines = Whole()
    for entry in entries:
        if (line := lines.take(entry)) is not None:
            yield line
    yield from lines.rest()


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
    found = _entries(paths.container_log(container_id), tail if not last else None)
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
                current = _Tail.oldest(log)
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

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self._rest = b""

    @classmethod
    def oldest(cls, log: Path) -> _Tail | None:
        """The file with which the log begins; None when it has none yet."""
        found = _opened(log)
        for file in found[:-1]:
            file.close()
        return cls(found[-1]) if found else None

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

    def next(self, path: Path) -> _Tail:
        """Itself while it is the current file; else the file that came after it, by inode.

        When it is no longer among the rotated ones, the oldest of them comes next.
        """
        mine = os.fstat(self._file.fileno()).st_ino
        if _inode(path) == mine:
            return self  # as nearly always: a follower asks after each line
        found = _opened(path)
        newer: io.FileIO | None = None
        for file in found:
            if os.fstat(file.fileno()).st_ino == mine:
                break
            newer = file
        # It may have grown between the last read and its rename: we were woken for that.
        stays = newer is None or self._has_more()
        for file in found:
            if stays or file is not newer:
                file.close()
        return self if stays or newer is None else _Tail(newer)

    def _has_more(self) -> bool:
        return os.fstat(self._file.fileno()).st_size > self._file.tell()

    def close(self) -> None:
        self._file.close()


def _begin(log: Path, tail: int | None) -> tuple[_Tail | None, list[LogLine]]:
    """Where to go on reading, and what came before: all of it is left to the tail unless
    only the last entries are wanted."""
    if tail is None:
        return _Tail.oldest(log), []
    found = _opened(log)
    if not found:
        return None, []
    # The newest is read twice: for what it has, and from there on.
    current = _Tail(io.FileIO(f"/proc/self/fd/{found[0].fileno()}"))
    return current, list(_last(found, tail, current.skip_to_end()))


def parse(raw: bytes) -> LogLine | None:
    """One line of a log file; None when a crash left it damaged."""
    try:
        entry = json.loads(raw)
        text, stream, time = entry["log"], entry["stream"], entry["time"]
    except (ValueError, KeyError, TypeError):
        return None
    whole = text.endswith("\n")
    return LogLine(time, stream, text[:-1] if whole else text, not whole)


def _opened(log: Path) -> list[io.FileIO]:
    """All files that the log has, newest first, open (to be closed by the caller).

    Taken anew when a rotation came between, so that it hides none.
    """
    for _ in range(_TRIES):
        found, is_whole = _look(log)
        if is_whole:
            return found
        for file in found:
            file.close()
    return _look(log)[0]  # half of a rotation, left by a shim that was killed


def _look(log: Path) -> tuple[list[io.FileIO], bool]:
    """The files, and whether they are all: no name was missing in between, and the newest
    is still the one that was met first."""
    found: dict[int, io.FileIO] = {}
    gaps = missing = 0
    for number in range(_MAX_FILES):
        path = log.with_name(f"{log.name}.{number}") if number else log
        try:
            file = io.FileIO(path)
        except FileNotFoundError:
            missing += 1
            if missing == 2:
                break
            continue
        gaps += missing
        missing = 0
        if found.setdefault(os.fstat(file.fileno()).st_ino, file) is not file:
            file.close()
    return list(found.values()), not gaps and _inode(log) == next(iter(found), -1)


def _inode(path: Path) -> int:
    """-1 when there is none."""
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return -1


def _entries(log: Path, tail: int | None) -> Iterator[LogLine]:
    """All entries, or (tail) not many more than the last `tail`."""
    files = _opened(log)
    if tail is not None:
        yield from _last(files, tail)
        return
    with contextlib.ExitStack() as stack:
        for file in files:
            stack.enter_context(file)
        for file in reversed(files):
            for raw in io.BufferedReader(file):
                if (line := parse(raw)) is not None:
                    yield line


def _last(files: list[io.FileIO], count: int, end: int | None = None) -> Iterator[LogLine]:
    """The last `count` entries (before offset `end` of the newest file), read backwards.

    Closes the files, which are the newest first.
    """
    chunks: list[list[bytes]] = []
    needed = count
    for number, file in enumerate(files):
        with file:
            if needed > 0:
                raws = _last_lines(file, needed, end if number == 0 else None)
                chunks.append(raws)
                needed -= len(raws)
    for raws in reversed(chunks):
        for raw in raws:
            if (line := parse(raw)) is not None:
                yield line


def _last_lines(file: io.FileIO, count: int, end: int | None) -> list[bytes]:
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
