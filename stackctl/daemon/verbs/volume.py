"""Volumes that are not a stack's business: ls, create, inspect, rm, prune."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from stackctl.daemon import filters
from stackctl.daemon.creation import tree_size
from stackctl.daemon.inspection import timestamp
from stackctl.daemon.jobs import Message
from stackctl.daemon.parts import Parts
from stackctl.errors import NotFound, StackctlError
from stackctl.model.network import VolumeConfig
from stackctl.model.record import VolumeRecord

Verb = Callable[[Mapping[str, Any]], AsyncIterator[Message]]


class VolumeVerbs:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def table(self) -> dict[str, Verb]:
        return {
            "volume-ls": self.ls,
            "volume-create": self.create,
            "volume-inspect": self.inspect,
            "volume-rm": self.rm,
            "volume-prune": self.prune,
        }

    def find(self, name: str) -> VolumeRecord:
        record = self._parts.registry.store.volume(name)
        if record is None:
            raise NotFound(f"no such volume: {name}", hint="stackctl volume ls lists them")
        return record

    async def ls(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Rows by name; filters name, label, driver, dangling."""
        chosen = filters.parse(body.get("filters"), ("name", "label", "driver", "dangling"))
        for record in sorted(self._parts.registry.store.volumes(), key=lambda r: r.config.name):
            if self._passes(record, chosen):
                yield {"type": "row", **shape(record)}
        yield {"type": "result", "exit_code": 0}

    def _passes(self, record: VolumeRecord, chosen: filters.Filters) -> bool:
        config = record.config
        drivers, dangling = chosen.get("driver", ()), chosen.get("dangling", ())
        if not filters.name_fits(config.name, chosen.get("name", ())):
            return False
        if drivers and config.driver not in drivers:
            return False
        if not filters.labels_fit(config.labels, chosen.get("label", ())):
            return False
        unused = not self._parts.volumes.users(config.name)
        return not dangling or any(unused == (d in ("true", "1")) for d in dangling)

    async def create(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Idempotent; without a name it is anonymous. The result has the name."""
        name = str(body.get("name") or "")
        config = VolumeConfig(
            name=name or secrets.token_hex(32),
            driver=str(body.get("driver") or "local"),
            driver_opts={str(k): str(v) for k, v in (body.get("options") or {}).items()},
            labels={
                **{str(k): str(v) for k, v in (body.get("labels") or {}).items()},
                **({} if name else {"com.docker.volume.anonymous": ""}),
            },
            anonymous=not name,
        )
        existed = self._parts.volumes.exists(config.name)
        record = await self._parts.volumes.create(config)
        if not existed:
            self._parts.events.publish(
                "volume", "create", config.name, {"driver": config.driver, **config.labels}
            )
        yield {"type": "result", "exit_code": 0, "Name": record.config.name}

    async def inspect(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        code = 0
        for name in map(str, body.get("volumes") or ()):
            try:
                yield {"type": "row", "Name": name, "Inspected": shape(self.find(name))}
            except StackctlError as error:
                code = 1
                yield {"type": "failure", "Name": name, "error": error.to_json()}
        yield {"type": "result", "exit_code": code}

    async def rm(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """`force`: one that is not there is no failure."""
        code = 0
        for name in map(str, body.get("volumes") or ()):
            try:
                if not (body.get("force") and not self._parts.volumes.exists(name)):
                    self.find(name)
                    await self.remove(name)
            except StackctlError as error:
                code = 1
                yield {"type": "failure", "Name": name, "error": error.to_json()}
            else:
                yield {"type": "row", "Name": name}
        yield {"type": "result", "exit_code": code}

    async def remove(self, name: str) -> None:
        await self._parts.volumes.remove(name)
        self._parts.events.publish("volume", "destroy", name, {"driver": "local"})

    async def prune(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Removes volumes that no container mounts: anonymous ones, with filter all every one."""
        raw = dict(body.get("filters") or {})
        chosen = filters.parse(raw, ("until", "label", "label!", "all"))
        everything = any(v in ("true", "1") for v in chosen.get("all", ()))
        wanted, freed = filters.prunable(raw), 0
        for record in self._parts.registry.store.volumes():
            config = record.config
            if not (config.anonymous or everything) or self._parts.volumes.users(config.name):
                continue
            if not wanted(record.created_at, config.labels):
                continue
            size = await asyncio.to_thread(tree_size, Path(record.mountpoint))
            try:
                await self.remove(config.name)
            except StackctlError:
                continue  # somebody has begun to use it
            freed += size
            yield {"type": "row", "Name": config.name}
        yield {"type": "result", "exit_code": 0, "SpaceReclaimed": freed}


def shape(record: VolumeRecord) -> Message:
    """As Docker's API has a volume."""
    config = record.config
    return {
        "CreatedAt": timestamp(record.created_at),
        "Driver": config.driver or "local",
        "Labels": dict(config.labels),
        "Mountpoint": record.mountpoint,
        "Name": config.name,
        "Options": dict(config.driver_opts) or None,
        "Scope": "local",
    }
