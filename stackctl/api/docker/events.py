"""GET /events: what happens, in the old fields and the new, as long as the client listens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from stackctl.api.docker.call import Call, Filters
from stackctl.api.docker.port import DockerEngine, Happening, Message
from stackctl.api.docker.table import Table

_FILTERS = (
    *("config", "container", "daemon", "event", "image", "label", "network", "node", "plugin"),
    *("scope", "secret", "service", "type", "volume"),
)


class EventRoutes:
    def __init__(self, engine: DockerEngine) -> None:
        self._engine = engine

    def register(self, table: Table) -> None:
        table.add("GET", "/events", self.events)

    async def events(self, call: Call) -> None:
        filters = call.filters(_FILTERS)
        since, until = call.moment("since"), call.moment("until")
        with self._engine.subscribe() as coming:
            # At once: clients wait for the head before they cause what they want to see.
            call.stream()
            # The past is for who says when it begins (0: all of it) or when it ends.
            past = call.text("since") or until
            for event in self._engine.events_since(since) if past else ():
                if wanted(filters, event) and (not until or event.time <= until):
                    await call.line(shape(event))
            left = until - time.time() if until else None
            if left is None or left > 0:
                try:
                    async with asyncio.timeout(left):
                        async for event in coming:
                            if wanted(filters, event):
                                await call.line(shape(event))
                except TimeoutError:
                    pass
        await call.exchange.end()


def shape(event: Happening) -> Message:
    """An event with Actor (since 1.22), and status, id and from as before."""
    attributes = dict(event.attributes)
    shaped: Message = {}
    if event.kind in ("container", "image"):
        shaped = {"status": event.action, "id": event.id}
        if event.kind == "container" and "image" in attributes:
            shaped["from"] = attributes["image"]
    return {
        **shaped,
        "Type": event.kind,
        "Action": event.action,
        "Actor": {"ID": event.id, "Attributes": attributes},
        "scope": "local",
        "time": int(event.time),
        "timeNano": int(event.time * 1e9),
    }


def wanted(filters: Filters, event: Happening) -> bool:
    attributes = event.attributes
    return (
        filters.exact("type", event.kind)
        and _is_action(filters, event.action)
        and filters.exact("scope", "local")
        and filters.labels(attributes)
        and _is_object(filters, "container", event, attributes)
        and _is_object(filters, "network", event, attributes)
        and _is_object(filters, "volume", event, attributes)
        and _is_image(filters, event, attributes)
        and not any(kind in filters for kind in ("node", "service", "secret", "config", "plugin"))
    )


def _is_action(filters: Filters, action: str) -> bool:
    """`health_status` stands for `health_status: healthy` and the like."""
    return filters.exact("event", action, action.partition(":")[0])


def _is_object(
    filters: Filters, kind: str, event: Happening, attributes: Mapping[str, str]
) -> bool:
    if kind not in filters:
        return True
    if event.kind != kind:
        return False
    name = attributes.get("name", "")
    return any(
        wanted in (event.id, name) or (len(wanted) >= 4 and event.id.startswith(wanted))
        for wanted in filters[kind]
    )


def _is_image(filters: Filters, event: Happening, attributes: Mapping[str, str]) -> bool:
    if "image" not in filters:
        return True
    if event.kind not in ("image", "container"):
        return False
    name = attributes.get("image" if event.kind == "container" else "name", "")
    return filters.exact("image", event.id, name, name.partition(":")[0])
