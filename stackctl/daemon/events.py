"""What happened, in order: a bounded memory of events and those who listen.

An event has Docker's three coordinates (kind, action, id) and attributes; time
is Unix seconds. A listener that is slow loses the oldest events it has not
read and is told how many, so that it never holds the engine back.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from typing import Any

from stackctl.values import dataclass

_REMEMBERED = 2048
_BACKLOG = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    time: float
    kind: str
    action: str
    id: str
    attributes: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "type": "event",
            "time": self.time,
            "kind": self.kind,
            "action": self.action,
            "id": self.id,
            "attributes": dict(self.attributes),
        }


class Subscription:
    """The events since it was made; iterate it, it ends when it is closed."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=_BACKLOG)
        self._wake = asyncio.Event()
        self._closed = False

    def deliver(self, event: Event) -> None:
        self._events.append(event)
        self._wake.set()

    def close(self) -> None:
        self._closed = True
        self._wake.set()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            while self._events:
                yield self._events.popleft()
            if self._closed:
                return
            self._wake.clear()
            await self._wake.wait()


class Events:
    """Publishes to every open subscription; remembers the last ones for `since`."""

    def __init__(self) -> None:
        self._memory: deque[Event] = deque(maxlen=_REMEMBERED)
        self._subscriptions: set[Subscription] = set()

    def publish(self, kind: str, action: str, id: str, attributes: Mapping[str, str]) -> Event:
        event = Event(time=time.time(), kind=kind, action=action, id=id, attributes=attributes)
        self._memory.append(event)
        for subscription in self._subscriptions:
            subscription.deliver(event)
        return event

    def since(self, moment: float) -> list[Event]:
        """Remembered events at or after `moment` (Unix seconds)."""
        return [event for event in self._memory if event.time >= moment]

    @contextmanager
    def subscribe(self) -> Any:
        """Yields a Subscription that hears everything until the block ends."""
        subscription = Subscription()
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)
            subscription.close()

    def close(self) -> None:
        for subscription in tuple(self._subscriptions):
            subscription.close()
