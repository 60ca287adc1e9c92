"""The records, and waking those who wait for one of them to change.

Every change of a container's record goes through `put`: it is written to the
store and then shown to the waiters, so nothing in the daemon polls for a state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from stackctl.errors import NotFound
from stackctl.model.record import ContainerRecord
from stackctl.state.records import Store

Predicate = Callable[[ContainerRecord | None], bool]


class Registry:
    """Containers by id and name, on top of the store; one event loop only."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._waiters: dict[
            str, list[tuple[Predicate, asyncio.Future[ContainerRecord | None]]]
        ] = {}

    def all(self) -> tuple[ContainerRecord, ...]:
        return self.store.containers()

    def of_project(self, project: str) -> tuple[ContainerRecord, ...]:
        return self.store.containers_of(project)

    def members(self, network_id: str) -> list[ContainerRecord]:
        """The containers that are in a network, running or not."""
        return [r for r in self.all() if any(e.network_id == network_id for e in r.endpoints)]

    def find(self, container_id: str) -> ContainerRecord | None:
        return self.store.container(container_id)

    def get(self, container_id: str) -> ContainerRecord:
        record = self.find(container_id)
        if record is None:
            raise NotFound(f"no such container: {container_id[:12]}")
        return record

    def find_name(self, name: str) -> ContainerRecord | None:
        return self.store.container_by_name(name)

    def by_name(self, name: str, *, successor: bool = False) -> ContainerRecord:
        """The container of this name; with `successor` rather the one about to get it, and one
        that was to have it again when nobody has it."""
        waiting: list[ContainerRecord] = []
        if successor:
            every = self.store.containers()
            waiting = [r for r in every if r.replaces and r.config.name == name]
            # An older one is what an interrupted update left.
            if successors := [r for r in waiting if not r.is_aside]:
                return max(successors, key=lambda record: record.created_at)
        record = self.find_name(name) or next(iter(waiting), None)
        if record is None:
            raise NotFound(f"no such container: {name}")
        return record

    def put(self, record: ContainerRecord) -> ContainerRecord:
        self.store.put_container(record)
        self._wake(record.id, record)
        return record

    def update(self, container_id: str, **changes: Any) -> ContainerRecord:
        """Replace fields of a record; NotFound when it was removed meanwhile."""
        return self.put(replace(self.get(container_id), **changes))

    def delete(self, container_id: str) -> None:
        self.store.delete_container(container_id)
        self._wake(container_id, None)

    async def wait(self, container_id: str, predicate: Predicate) -> ContainerRecord | None:
        """The first record (None once removed) for which `predicate` holds, now or later."""
        record = self.find(container_id)
        if record is None or predicate(record):
            return record
        future: asyncio.Future[ContainerRecord | None] = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(container_id, [])
        entry = (predicate, future)
        waiters.append(entry)
        try:
            return await future
        finally:
            waiters.remove(entry)
            if not waiters:
                self._waiters.pop(container_id, None)

    def _wake(self, container_id: str, record: ContainerRecord | None) -> None:
        for predicate, future in self._waiters.get(container_id, ()):
            if not future.done() and (record is None or predicate(record)):
                future.set_result(record)
