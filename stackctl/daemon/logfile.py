"""The daemon's log: JSON lines in a file that does not grow without bound."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from typing import Any, TextIO

#: Bytes after which the file becomes `daemon.log.1` and a new one begins.
_CAP = 10 * 1024 * 1024

_KNOWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class JsonLines(logging.Formatter):
    """time, level, logger, message, what `extra` gave, and a trace if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        fraction = f"{record.created % 1:.3f}"[1:]
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + fraction[:4]
            + "Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _KNOWN}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class CappedFile(logging.Handler):
    """Appends to a file. With `stdio` the process's own output goes there too: a crash's trace."""

    def __init__(self, path: Path, *, stdio: bool = False, cap: int = _CAP) -> None:
        super().__init__()
        self._path = path
        self._stdio = stdio
        self._cap = cap
        self._fd = -1
        self._size = 0
        self._open()
        self.setFormatter(JsonLines())

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record).encode(errors="backslashreplace") + b"\n"
            if self._size + len(line) > self._cap:
                self._path.rename(self._path.with_name(self._path.name + ".1"))
                self._open()
            self._size += os.write(self._fd, line)
        except Exception:
            # A full disk must not take the engine down with its log.
            pass

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        super().close()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        fd = os.open(self._path, flags, 0o600)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self._size = os.fstat(fd).st_size
        if self._stdio:
            os.dup2(fd, 1)
            os.dup2(fd, 2)


def begin(path: Path, *, stdio: bool, also: TextIO | None = None, level: str = "INFO") -> None:
    """Sends all of the process's log to `path`, and to `also` in the same form. Raises OSError."""
    root = logging.getLogger()
    root.setLevel(level if level in ("DEBUG", "INFO", "WARNING", "ERROR") else "INFO")
    root.addHandler(CappedFile(path, stdio=stdio))
    if also is not None:
        stream = logging.StreamHandler(also)
        stream.setFormatter(JsonLines())
        root.addHandler(stream)
