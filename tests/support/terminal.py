"""A command at a pseudo terminal of ours."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager


class Terminal:
    """A command of the CLI at a pseudo terminal of ours."""

    def __init__(self, master: int, process: subprocess.Popen[bytes]) -> None:
        self._master = master
        self.process = process
        self.seen = b""
        #: What had come in front of the text that was expected last.
        self.before = b""

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def expect(self, text: bytes, limit: float = 20.0) -> None:
        """Reads on until `text` has come."""
        deadline = time.monotonic() + limit
        while text not in self.seen:
            left = deadline - time.monotonic()
            ready = select.select([self._master], [], [], max(left, 0))[0]
            assert ready, f"{text!r} did not come: {self.seen!r}"
            try:
                data = os.read(self._master, 65536)
            except OSError:  # EIO: the other end is closed
                data = b""
            assert data, f"the end came instead of {text!r}: {self.seen!r}"
            self.seen += data
        self.before, self.seen = self.seen.split(text, 1)

    def resize(self, columns: int, rows: int) -> None:
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)
        self.process.send_signal(signal.SIGWINCH)

    def end(self, limit: float = 20.0) -> int:
        """Reads until the command has ended; its exit code."""
        try:
            while select.select([self._master], [], [], limit)[0]:
                data = os.read(self._master, 65536)
                if not data:
                    break
                self.seen += data
        except OSError:
            pass
        return self.process.wait(limit)

    @property
    def is_raw(self) -> bool:
        return not termios.tcgetattr(self._master)[3] & termios.ICANON


@contextmanager
def terminal(argv: Sequence[str], environment: Mapping[str, str]) -> Iterator[Terminal]:
    """The command at a terminal of 100 columns and 30 rows; killed at the end if it still runs."""
    master, slave = pty.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    process = subprocess.Popen(
        argv,
        env={**environment, "TERM": "xterm"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    # Else the end of the command would be no end of its terminal.
    os.close(slave)
    try:
        yield Terminal(master, process)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        os.close(master)
