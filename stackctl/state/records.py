"""The store: what the engine remembers of containers, networks, volumes and stacks.

Synchronous and for one thread, the event loop's: a commit takes a fraction of a
millisecond. What is true is what the kernel says; these records say what ought
to be there and what was last seen.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace

from stackctl.errors import Conflict, NotFound
from stackctl.model.record import ContainerRecord, NetworkRecord, StackRecord, VolumeRecord
from stackctl.state.db import Database
from stackctl.state.directories import prepare
from stackctl.state.id_ranges import IdRanges, read_subordinate_ranges
from stackctl.state.paths import Paths
from stackctl.state.table import Table

#: What is true of a living container alone.
_OF_LIFE = ("status", "process", "boot_id", "started_at", "health")


def _only_lives(old: ContainerRecord, new: ContainerRecord) -> bool:
    """The change says only that a container lives, and how: a power cut makes it untrue."""
    if not new.status.is_alive:
        return False
    return replace(new, **{name: getattr(old, name) for name in _OF_LIFE}) == old


class Store:
    """All records of one engine. Reads come from memory; `put_...` and `delete_...` commit."""

    def __init__(self, database: Database, ranges: IdRanges) -> None:
        """Reads everything. Raises MachineError when a record cannot be read."""
        self._database = database
        self._ranges = ranges
        self._containers = Table(
            database,
            "containers",
            "container",
            ContainerRecord,
            lambda r: r.id,
            lambda r: r.name,
        )
        self._networks = Table(
            database, "networks", "network", NetworkRecord, lambda r: r.id, lambda r: r.config.name
        )
        self._volumes = Table(
            database,
            "volumes",
            "volume",
            VolumeRecord,
            lambda r: r.config.name,
            lambda r: r.config.name,
        )
        self._stacks = Table(
            database, "stacks", "stack", StackRecord, lambda r: r.name, lambda r: r.name
        )

    @classmethod
    def open(cls, paths: Paths) -> Store:
        """Makes the directories and the database when missing.

        Raises MachineError, NotPermitted, OutOfSpace.
        """
        prepare(paths)
        database = Database(paths.database)
        try:
            return cls(database, IdRanges(paths.tag, read_subordinate_ranges()))
        except BaseException:
            database.close()
            raise

    def close(self) -> None:
        self._database.close()

    def transaction(self) -> AbstractContextManager[None]:
        """Several changes, all or none, one commit. No await inside. Nests."""
        return self._database.transaction()

    # -- containers

    def containers(self) -> tuple[ContainerRecord, ...]:
        """In the order of making."""
        return self._containers.all()

    def container(self, container_id: str) -> ContainerRecord | None:
        return self._containers.get(container_id)

    def container_by_name(self, name: str) -> ContainerRecord | None:
        """The one that has this name now; a successor has a temporary one."""
        return self._containers.named(name)

    def containers_of(self, project: str) -> tuple[ContainerRecord, ...]:
        return tuple(r for r in self._containers.all() if r.config.project == project)

    def find_container(self, reference: str) -> ContainerRecord:
        """By id, name or the beginning of an id. Raises NotFound, Conflict (ambiguous)."""
        exact = self._containers.get(reference) or self._containers.named(reference)
        if exact is not None:
            return exact
        found = [r for r in self._containers.all() if reference and r.id.startswith(reference)]
        if len(found) > 1:
            raise Conflict(
                f'"{reference}" is the beginning of {len(found)} container ids',
                hint="give more of the id, or the name",
            )
        if not found:
            raise NotFound(f"no such container: {reference}", hint="stackctl ps --all lists them")
        return found[0]

    def put_container(self, record: ContainerRecord) -> None:
        """Raises Conflict when another container has the name."""
        old = self._containers.get(record.id)
        self._containers.put(record, volatile=old is not None and _only_lives(old, record))

    def delete_container(self, container_id: str) -> None:
        """Forgets it; its id range is free again."""
        self._containers.delete(container_id)

    # -- networks

    def networks(self) -> tuple[NetworkRecord, ...]:
        return self._networks.all()

    def network(self, network_id: str) -> NetworkRecord | None:
        return self._networks.get(network_id)

    def network_by_name(self, name: str) -> NetworkRecord | None:
        return self._networks.named(name)

    def networks_of(self, project: str) -> tuple[NetworkRecord, ...]:
        return tuple(r for r in self._networks.all() if r.config.project == project)

    def put_network(self, record: NetworkRecord) -> None:
        """Raises Conflict when another network has the name."""
        self._networks.put(record)

    def delete_network(self, network_id: str) -> None:
        self._networks.delete(network_id)

    # -- volumes

    def volumes(self) -> tuple[VolumeRecord, ...]:
        return self._volumes.all()

    def volume(self, name: str) -> VolumeRecord | None:
        return self._volumes.get(name)

    def volumes_of(self, project: str) -> tuple[VolumeRecord, ...]:
        return tuple(r for r in self._volumes.all() if r.config.project == project)

    def put_volume(self, record: VolumeRecord) -> None:
        self._volumes.put(record)

    def delete_volume(self, name: str) -> None:
        self._volumes.delete(name)

    # -- stacks

    def stacks(self) -> tuple[StackRecord, ...]:
        return self._stacks.all()

    def stack(self, name: str) -> StackRecord | None:
        return self._stacks.get(name)

    def put_stack(self, record: StackRecord) -> None:
        self._stacks.put(record)

    def delete_stack(self, name: str) -> None:
        self._stacks.delete(name)

    # -- ranges of host ids

    def allocate_id_range(self) -> int:
        """First of 65536 host ids that no other container has. Raises MachineError.

        The lease is the container's record itself (`id_base`), so that none can
        outlive it: put that record, or call release_id_range.
        """
        return self._ranges.allocate(r.id_base for r in self._containers.all())

    def release_id_range(self, base: int) -> None:
        """For a range that came into no record."""
        self._ranges.release(base)
