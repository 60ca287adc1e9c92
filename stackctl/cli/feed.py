"""Several streams of messages and the process's signals as one sequence.

A reader thread a stream puts messages into one queue, so that a display can
redraw while nothing arrives and Ctrl-C is an event among others. SimpleQueue's
put is documented as safe in signal handlers.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from stackctl.cli.connection import Message


@dataclass(frozen=True, slots=True)
class Said:
    """A message of the stream that was added under this name."""

    stream: str
    message: Message


@dataclass(frozen=True, slots=True)
class Ended:
    """The stream is over; with what it raised."""

    stream: str
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Interrupted:
    """SIGINT, SIGTERM or SIGHUP arrived; `count` from 1."""

    count: int
    signum: int


Event = Said | Ended | Interrupted


class Feed:
    """One reader; `add` may be called at any time."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Event] = SimpleQueue()
        self._signals = 0

    def add(self, name: str, stream: Iterable[Message]) -> None:
        # A daemon thread: it may hang in a read when the command is over.
        threading.Thread(target=self._read, args=(name, stream), daemon=True).start()

    def _read(self, name: str, stream: Iterable[Message]) -> None:
        try:
            for message in stream:
                self._queue.put(Said(name, message))
        except BaseException as error:
            self._queue.put(Ended(name, error))
        else:
            self._queue.put(Ended(name))

    def next(self, timeout: float | None = None) -> Event | None:
        """The next event; None when `timeout` seconds passed without one."""
        try:
            return self._queue.get(timeout=timeout)
        except Empty:
            return None

    def interrupt(self, signum: int) -> None:
        """As if the signal had arrived."""
        self._signals += 1
        self._queue.put(Interrupted(self._signals, signum))

    @contextmanager
    def signals(self, *signums: int) -> Iterator[None]:
        """While the block runs these signals are events; the old handlers come back after it."""
        before = {s: signal.signal(s, lambda signum, _: self.interrupt(signum)) for s in signums}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)
