"""What containers say, as messages to whoever listens."""

from __future__ import annotations

import time

from stackctl.daemon.inspection import timestamp
from stackctl.daemon.jobs import EMIT, Message
from stackctl.model.record import ContainerRecord
from stackctl.runtime.logfile import LogLine

#: A line that is longer is told in parts.
_LONGEST = 16384


def log_message(record: ContainerRecord, line: LogLine) -> Message:
    message: Message = {
        "type": "log",
        "container": record.name,
        "service": record.config.service,
        "number": record.config.number,
        "stream": line.stream,
        "time": line.time,
        "line": line.text,
    }
    return {**message, "partial": True} if line.partial else message


class Lines:
    """The output of a command in a container, line by line, to whoever asked for what is being
    done. The container's log does not hold it.
    """

    def __init__(self, record: ContainerRecord) -> None:
        self._record = record
        self._emit = EMIT.get()
        self._begun: dict[int, bytes] = {}

    def take(self, stream: int, piece: bytes) -> None:
        *whole, rest = (self._begun.pop(stream, b"") + piece).split(b"\n")
        if len(rest) > _LONGEST:
            whole, rest = [*whole, rest], b""
        for line in whole:
            self._tell(stream, line)
        if rest:
            self._begun[stream] = rest

    def end(self) -> None:
        for stream, line in self._begun.items():
            self._tell(stream, line)
        self._begun = {}

    def _tell(self, stream: int, line: bytes) -> None:
        if self._emit is not None:
            name = "stderr" if stream == 2 else "stdout"
            text = line.decode(errors="replace").rstrip("\r")
            said = LogLine(time=timestamp(time.time()), stream=name, text=text)
            self._emit(log_message(self._record, said))
