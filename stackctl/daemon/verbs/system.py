"""The engine as a whole: events of everything, what takes disk space."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stackctl.daemon import build_cache, filters
from stackctl.daemon.creation import Creation, tree_size
from stackctl.daemon.events import Event
from stackctl.daemon.jobs import Message
from stackctl.daemon.parts import Parts
from stackctl.daemon.verbs.show import container_row
from stackctl.image.usage import usage
from stackctl.model.reference import parse

Verb = Callable[[Mapping[str, Any]], AsyncIterator[Message]]


class SystemVerbs:
    def __init__(self, parts: Parts, creation: Creation) -> None:
        self._parts = parts
        self._creation = creation

    def table(self) -> dict[str, Verb]:
        return {
            "system-events": self.events,
            "system-df": self.df,
            "system-prune-networks": self.prune_networks,
            "build-prune": self.prune_build_cache,
        }

    async def prune_networks(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Rows with the names of networks that nothing was in, and that have gone."""
        for name in await self._creation.prune_networks(filters.prunable(body.get("filters"))):
            yield {"type": "row", "Name": name}
        yield {"type": "result", "exit_code": 0}

    async def events(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Events of all kinds: `since` and `until` (Unix seconds), Docker's `filters`."""
        chosen = filters.facts(body.get("filters"))
        since, until = float(body.get("since") or 0), float(body.get("until") or 0)
        with self._parts.events.subscribe() as subscription:
            for event in self._parts.events.since(since) if since or until else ():
                if self._fits(event, chosen) and (not until or event.time <= until):
                    yield event.to_json()
            left = until - time.time()
            if not until or left > 0:
                try:
                    async with asyncio.timeout(left if until else None):
                        async for event in subscription:
                            if self._fits(event, chosen):
                                yield event.to_json()
                except TimeoutError:
                    pass
        yield {"type": "result", "exit_code": 0}

    def _fits(self, event: Event, chosen: filters.Filters) -> bool:
        attributes = event.attributes

        def one_of(name: str, fits: Callable[[str], bool]) -> bool:
            values = chosen.get(name, ())
            return not values or any(fits(value) for value in values)

        def thing(kind: str) -> Callable[[str], bool]:
            def fits(value: str) -> bool:
                if event.kind != kind:
                    return kind == "network" and attributes.get("network") == value
                return event.id.startswith(value) or attributes.get("name") == value

            return fits

        def action(value: str) -> bool:
            return event.action == value or event.action.partition(":")[0] == value

        return (
            one_of("type", lambda v: event.kind == v)
            and one_of("event", action)
            and one_of("action", action)
            and one_of("container", thing("container"))
            and one_of("network", thing("network"))
            and one_of("volume", thing("volume"))
            and one_of("image", lambda v: attributes.get("image") == v)
            and filters.labels_fit(attributes, chosen.get("label", ()))
        )

    async def df(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """The result has Images, Containers, Volumes, BuildCache, each with sizes in bytes;
        LayersSize is what all images take, layers that several have counted once."""
        store = self._parts.registry.store
        records = self._parts.registry.all()
        containers = [
            {**container_row(r), "SizeRw": await self._creation.writable_size(r)} for r in records
        ]
        volumes = [
            {
                "Name": v.config.name,
                "Links": len(self._parts.volumes.users(v.config.name)),
                "Size": await asyncio.to_thread(tree_size, Path(v.mountpoint)),
            }
            for v in store.volumes()
        ]
        yield {
            "type": "result",
            "exit_code": 0,
            **await self._images(Counter(r.config.image_id for r in records)),
            "Containers": containers,
            "Volumes": volumes,
            "BuildCache": [asdict(row) for row in await self._cached()],
        }

    async def _images(self, used: Mapping[str, int]) -> Message:
        images = self._parts.images
        found = await images.blocking(lambda: usage(images.store, used), "look at the images")
        rows = [
            {
                "ID": each.id,
                "Names": [parse(name).familiar for name in each.names],
                "Created": each.created_at,
                "Size": each.size,
                "UniqueSize": each.unique,
                "Containers": used.get(each.id, 0),
            }
            for each in found.images
        ]
        return {"Images": rows, "LayersSize": found.total, "LayersReclaimable": found.reclaimable}

    async def _cached(self) -> list[build_cache.CacheRow]:
        images = self._parts.images
        return await images.blocking(lambda: build_cache.rows(images), "look at the build cache")

    async def prune_build_cache(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Rows with the ids of what was forgotten: unused since `until` (Unix seconds), and with
        `all` also what images have as well; `keep` bytes may stay."""
        until, every = float(body.get("until") or 0), bool(body.get("all"))
        images, keep = self._parts.images, int(body.get("keep") or 0)

        def wanted(row: build_cache.CacheRow) -> bool:
            return (every or not row.shared) and (not until or row.used < until)

        pruned = await images.blocking(
            lambda: build_cache.prune(images, wanted, keep), "prune the build cache"
        )
        for name in pruned.ids:
            yield {"type": "row", "Name": name}
        yield {"type": "result", "exit_code": 0, "SpaceReclaimed": pruned.freed}
