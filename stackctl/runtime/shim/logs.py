"""Writes a container's log: one JSON object a line, as Docker's json-file driver does.

    {"log":"text\\n","stream":"stdout","time":"2024-05-01T10:00:00.123456789Z"}

Memory is bounded by one unfinished line of PARTIAL bytes a stream: a longer
line is written in pieces, all but the last without "\\n". Order is the order
in which the shim read.
"""

from __future__ import annotations

import os
import time
from _json import encode_basestring

#: Docker's limit for one line; what is longer is split.
PARTIAL = 16384


class LogWriter:
    """Appends to `path` ("": nowhere), renaming it to .1, .2 ... beyond `max_size` bytes: a
    file is at most one line larger, as Docker's.

    A full disk loses lines and never stops the container; as soon as there is room again, the
    log says how many.
    """

    __slots__ = (
        "_fd",
        "_lost",
        "_max_files",
        "_max_size",
        "_path",
        "_second",
        "_size",
        "_tails",
        "_why",
    )

    def __init__(self, path: str, max_size: int, max_files: int) -> None:
        self._path = path
        self._max_size = max_size
        self._max_files = max_files
        self._tails: dict[str, bytes] = {}
        self._second = (-1, "")
        self._lost = 0
        self._why = ""
        self._fd, self._size = self._open()

    def feed(self, stream: str, data: bytes, now: int) -> None:
        """Take bytes as read at `now` (nanoseconds); whole lines are written at once."""
        if self._fd < 0:
            return
        tail = self._tails.pop(stream, b"")
        if tail:
            data = tail + data
        end = data.rfind(b"\n") + 1
        lines = data[:end].split(b"\n")[:-1] if end else []
        pieces: list[bytes] = []
        for line in lines:
            if len(line) > PARTIAL:
                pieces += _split(line + b"\n")
            else:
                pieces.append(line + b"\n")
        rest = data[end:]
        while len(rest) > PARTIAL:
            cut = _boundary(rest, PARTIAL)
            pieces.append(rest[:cut])
            rest = rest[cut:]
        if rest:
            self._tails[stream] = rest
        if pieces:
            self._write(stream, pieces, now)

    def finish(self, now: int) -> None:
        """Write what is left without a newline, and close."""
        for stream, tail in self._tails.items():
            self._write(stream, [tail], now)
        self._tails.clear()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write(self, stream: str, pieces: list[bytes], now: int) -> None:
        tail = f',"stream":"{stream}","time":"{self._time(now)}"}}\n'
        text = "".join(
            [f'{{"log":{encode_basestring(p.decode("utf-8", "replace"))}{tail}' for p in pieces]
        )
        told = ""
        if self._lost:
            told = f"stackctl: {self._lost} lines of output are missing here: {self._why}\\n"
            told = f'{{"log":"{told}","stream":"stderr","time":"{self._time(now)}"}}\n'
        raw = f"{told}{text}".encode("utf-8", "surrogatepass")
        start = 0
        while start < len(raw):
            end = self._room(raw, start)
            written = start
            try:
                while written < end:  # a nearly full disk takes a part
                    written += os.write(self._fd, raw[written:end])
            except OSError as error:
                self._cut()
                self._lost += raw.count(b"\n", start) - bool(told)
                self._why = error.strerror or ""
                return
            self._size += end - start
            self._lost, told, start = 0, "", end

    def _room(self, raw: bytes, start: int) -> int:
        """How much of it the file takes before it is full, whole lines; rotates a full one."""
        if self._max_size and self._size >= self._max_size:
            self._rotate()
        room = self._max_size - self._size
        if room <= 0 or start + room >= len(raw):
            return len(raw)
        return raw.index(b"\n", start + room - 1) + 1

    def _cut(self) -> None:
        """Take back the part of a line that a full disk took: the next one begins afresh."""
        try:
            os.ftruncate(self._fd, self._size)
        except OSError:
            pass  # the reader skips what is no JSON

    def _time(self, now: int) -> str:
        second, nanosecond = divmod(now, 1_000_000_000)
        if self._second[0] != second:
            self._second = (second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)))
        return f"{self._second[1]}.{nanosecond:09d}Z"

    def _open(self) -> tuple[int, int]:
        if not self._path:
            return -1, 0
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        fd = os.open(self._path, flags, 0o640)
        return fd, os.fstat(fd).st_size

    def _rotate(self) -> None:
        try:
            if self._max_files <= 1:
                os.ftruncate(self._fd, 0)
                self._size = 0
                return
            for number in range(self._max_files - 2, 0, -1):
                try:
                    os.rename(f"{self._path}.{number}", f"{self._path}.{number + 1}")
                except FileNotFoundError:
                    pass
            os.rename(self._path, f"{self._path}.1")
        except OSError:
            return  # go on in the same file
        os.close(self._fd)
        self._fd, self._size = self._open()


def _split(line: bytes) -> list[bytes]:
    pieces = []
    while len(line) > PARTIAL + 1:
        cut = _boundary(line, PARTIAL)
        pieces.append(line[:cut])
        line = line[cut:]
    pieces.append(line)
    return pieces


def _boundary(data: bytes, at: int) -> int:
    """The largest cut <= `at` that does not divide a UTF-8 character."""
    for cut in range(at, at - 4, -1):
        if data[cut : cut + 1] and data[cut] & 0xC0 != 0x80:
            return cut
    return at
