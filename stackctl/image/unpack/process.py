"""Starts a layer's process, feeds it, and reads what became of it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from stackctl.errors import ImageError, InternalError
from stackctl.values import dataclass

_PIPE = 1 << 20
_F_SETPIPE_SZ = 1031


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """What a layer turned out to be: sizes in bytes; `implied` directories lack an entry."""

    diff_id: str
    tar_size: int
    size: int
    entries: int
    implied: tuple[str, ...]


class Unpacking:
    """A layer on its way into a directory: `write` its (compressed) bytes, then `finish`.

    A context manager: left without `finish`, the process is ended. What is in the directory
    then is rubbish. Fed by a pipe it ends when this process is killed; with `source`, an open
    file that it reads itself, it does not: only for what nobody sweeps.
    """

    def __init__(self, directory: Path, source: int | None = None) -> None:
        self._done = False
        self._process = subprocess.Popen(
            _command(directory),
            stdin=subprocess.PIPE if source is None else source,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            close_fds=True,
            env={},
            cwd="/",
            bufsize=0,
        )
        self._input: IO[bytes] | None = self._process.stdin
        if self._input is not None:
            with contextlib.suppress(OSError):
                # One system call a piece, and the writer need not wait for the reader.
                fcntl.fcntl(self._input, _F_SETPIPE_SZ, _PIPE)
        self._complaint = bytearray()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def write(self, data: bytes | memoryview) -> None:
        """A process that has given up says why in `finish`."""
        if self._input is None:
            return
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._input.fileno(), view) :]
        except BrokenPipeError:
            self._close_input()

    def feed(self, source: int) -> None:
        """All of an open file, from where it stands; nothing is copied on the way."""
        if self._input is None:
            return
        try:
            while os.splice(source, self._input.fileno(), _PIPE):
                pass
        except BrokenPipeError:
            self._close_input()

    def finish(self) -> Unpacked:
        """Raises ImageError for a layer that is refused, OSError for the machine's refusal."""
        self._close_input()
        out = self._process.stdout
        assert out is not None
        text = out.read()
        self._reap()
        try:
            raw: dict[str, Any] = json.loads(text)
        except ValueError:
            lines = self._complaint.decode(errors="replace").strip().splitlines()
            raise InternalError(
                f"a layer's process ended with code {self._process.returncode}",
                hint="perhaps the machine ran out of memory; otherwise this is a bug in stackctl",
                details=tuple(lines[-10:]),
            ) from None
        if "bad" in raw:
            raise ImageError(f"the layer is refused: {raw['bad']}")
        if "errno" in raw:
            raise OSError(raw["errno"], raw["text"] or errno.errorcode.get(raw["errno"], "?"))
        return Unpacked(
            diff_id=raw["diff_id"],
            tar_size=raw["tar_size"],
            size=raw["size"],
            entries=raw["entries"],
            implied=tuple(raw["implied"]),
        )

    def close(self) -> None:
        if not self._done:
            self._process.kill()
            self._close_input()
            self._reap()

    def __enter__(self) -> Unpacking:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _listen(self) -> None:
        err = self._process.stderr
        assert err is not None
        while piece := err.read(4096):
            self._complaint += piece
            del self._complaint[:-65536]

    def _close_input(self) -> None:
        if self._input is not None:
            self._input.close()
            self._input = None

    def _reap(self) -> None:
        self._done = True
        self._process.wait()
        self._listener.join()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()


def _command(directory: Path) -> Sequence[str]:
    code = (
        f"import sys; sys.path[:0] = {_module_paths()!r}; "
        "from stackctl.image.unpack.worker import main; main()"
    )
    return (sys.executable, "-I", "-S", "-X", "frozen_modules=on", "-c", code, str(directory))


def _module_paths() -> list[str]:
    """Where this package and what it decompresses with are installed."""
    found: list[str] = []
    for name in ("stackctl", "isal", "backports"):
        spec = importlib.util.find_spec(name)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            parent = str(Path(place).parent)
            if parent not in found:
                found.append(parent)
    return found
