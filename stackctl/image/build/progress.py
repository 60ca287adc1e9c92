"""What a build tells while it works: one vertex a step, its state, its output.

{"type": "vertex", "number", "name", "line", "state": running|cached|done|failed|canceled,
 "elapsed"}    {"type": "vertex-log", "number", "stream", "text"}
"""

from __future__ import annotations

import codecs
import time
from collections import deque
from collections.abc import Callable

from stackctl.image.build.request import Emit

#: Lines of a failed step that its error carries.
_SHOWN = 20


class Vertex:
    """One step; a context manager that tells how it ends."""

    def __init__(self, emit: Emit, number: int, name: str, line: int, image: str) -> None:
        self._emit = emit
        self._number = number
        self._name = name
        self._line = line
        self._image = image
        self._began = time.monotonic()
        self._cached = False
        self._decoders = {n: codecs.getincrementaldecoder("utf-8")("replace") for n in (1, 2)}
        self._last: deque[str] = deque(maxlen=_SHOWN)
        self._partial = ""

    def cached(self) -> None:
        self._cached = True

    def output(self, stream: int, data: bytes) -> None:
        text = self._decoders[stream].decode(data)
        *lines, self._partial = (self._partial + text).split("\n")
        self._partial = self._partial[-4096:]
        self._last.extend(lines)
        self._emit({"type": "vertex-log", "number": self._number, "stream": stream, "text": text})

    @property
    def last_lines(self) -> tuple[str, ...]:
        return tuple([*self._last, self._partial] if self._partial else self._last)

    def __enter__(self) -> Vertex:
        self._tell("running")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._tell("cached" if self._cached else "done")
        else:
            self._tell("failed" if issubclass(kind, Exception) else "canceled")

    def _tell(self, state: str) -> None:
        elapsed = time.monotonic() - self._began
        self._emit(
            {
                "type": "vertex",
                "number": self._number,
                "name": self._name,
                "line": self._line,
                "image": self._image,
                "state": state,
                "elapsed": elapsed,
            }
        )


class Progress:
    """Numbers the vertices of one build."""

    def __init__(self, emit: Emit, image: str = "", count: Callable[[], int] | None = None) -> None:
        self._emit = emit
        self._image = image
        self._last = 0
        self._count = count

    def vertex(self, name: str, line: int = 0) -> Vertex:
        self._last += 1
        number = self._count() if self._count else self._last
        return Vertex(self._emit, number, name, line, self._image)

    def warn(self, text: str, place: str = "") -> None:
        self._emit({"type": "warning", "text": text, "place": place})
