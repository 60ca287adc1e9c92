"""What Docker's API asks of the engine, on the real parts.

Implements api.docker.port.DockerEngine: each operation is the engine's own, found by
record; nothing here knows of HTTP.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from stackctl.daemon import inspection, names, process_table
from stackctl.daemon import wish as wishes
from stackctl.daemon.committing import Committing
from stackctl.daemon.connections import Connections
from stackctl.daemon.containers import Containers
from stackctl.daemon.creation import Creation, tree_size
from stackctl.daemon.docker_images import DockerImages
from stackctl.daemon.engine import Engine
from stackctl.daemon.events import Event, Subscription
from stackctl.daemon.execs import Exec, Execs
from stackctl.daemon.jobs import heard_warnings
from stackctl.daemon.parts import Parts
from stackctl.daemon.samples import sample
from stackctl.daemon.sessions import OpenSession
from stackctl.daemon.signals import signal_number
from stackctl.daemon.supervisor import Supervisor
from stackctl.daemon.verbs.interactive import InteractiveVerbs
from stackctl.daemon.verbs.show import status_text
from stackctl.errors import Conflict, NotFound
from stackctl.model.build import BuildRequest
from stackctl.model.container import Status
from stackctl.model.network import NetworkConfig, VolumeConfig
from stackctl.model.record import ContainerRecord, NetworkRecord, VolumeRecord
from stackctl.runtime.container import Stats
from stackctl.runtime.logfile import LogLine, follow, read
from stackctl.runtime.procfs import ProcessRow

Message = dict[str, Any]

_LINES = 512


class DockerOperations:
    def __init__(
        self,
        parts: Parts,
        containers: Containers,
        creation: Creation,
        engine: Engine,
        supervisor: Supervisor,
        interactive: InteractiveVerbs,
    ) -> None:
        self._parts = parts
        self._registry = parts.registry
        self._containers = containers
        self._creation = creation
        self._engine = engine
        self._supervisor = supervisor
        self._interactive = interactive
        self._connections = Connections(parts, containers)
        self._committing = Committing(parts, containers)
        #: Operations on images.
        self.images = DockerImages(parts, self._build)
        self._execs = Execs(interactive.exec, parts.events)

    def close(self) -> None:
        self._execs.close()

    async def _build(self, request: BuildRequest) -> object:
        build = self._engine.build
        assert build is not None, "the service gives the engine its builder"
        return await build(request)

    # -- the engine

    @property
    def root(self) -> Path:
        return self._parts.paths.root

    @property
    def run(self) -> Path:
        return self._parts.paths.run

    @property
    def engine_id(self) -> str:
        return self._parts.paths.tag

    def events_since(self, moment: float) -> Sequence[Event]:
        return self._parts.events.since(moment)

    def subscribe(self) -> AbstractContextManager[Subscription]:
        found: AbstractContextManager[Subscription] = self._parts.events.subscribe()
        return found

    async def disk_usage(self) -> Message:
        containers = []
        for record in self._registry.all():
            entry = self.listed(record)
            entry["Status"] = str(record.status)
            entry["SizeRw"], entry["SizeRootFs"] = await self.sizes(record)
            containers.append(entry)
        volumes = []
        for volume in self._registry.store.volumes():
            size = await self.volume_size(volume)
            users = self._parts.volumes.users(volume.config.name)
            volumes.append(
                {
                    "Name": volume.config.name,
                    "Driver": "local",
                    "Mountpoint": volume.mountpoint,
                    "Labels": dict(volume.config.labels),
                    "Scope": "local",
                    "Options": dict(volume.config.driver_opts),
                    "CreatedAt": inspection.timestamp(volume.created_at),
                    "UsageData": {"RefCount": len(users), "Size": size},
                }
            )
        return {
            "Images": [],
            "Containers": containers,
            "Volumes": volumes,
            "BuildCache": [],
        }

    # -- containers

    def containers(self) -> Sequence[ContainerRecord]:
        return self._registry.all()

    def container(self, reference: str) -> ContainerRecord:
        return self._registry.store.find_container(reference)

    async def create(
        self, name: str, wish: Message, platform: str
    ) -> tuple[ContainerRecord, list[str]]:
        with heard_warnings() as heard:
            record = await self._creation.create(wish, name=name, platform=platform)
        return record, [*wishes.warnings(wish), *heard]

    async def start(self, record: ContainerRecord) -> None:
        await self._creation.start(record)
        height, width = inspection.console_size(record.config)
        if record.config.tty and height and width:
            await self.resize(record, width, height)

    async def stop(self, record: ContainerRecord, timeout: float | None, signal: str) -> None:
        await self._containers.stop(record.id, timeout, signal)

    async def restart(self, record: ContainerRecord, timeout: float | None, signal: str) -> None:
        await self._creation.restart(record, timeout, signal)
        self._parts.events.publish(
            "container", "restart", record.id, names.attributes(record.config)
        )

    async def kill(self, record: ContainerRecord, signal: str) -> None:
        await self._containers.kill(record.id, signal_number(signal))

    async def pause(self, record: ContainerRecord) -> None:
        await self._containers.pause(record.id)

    async def unpause(self, record: ContainerRecord) -> None:
        await self._containers.unpause(record.id)

    async def rename(self, record: ContainerRecord, name: str) -> None:
        from stackctl.daemon.single import checked_name

        await self._containers.set_name(record.id, checked_name(name))

    async def update(self, record: ContainerRecord, wish: Message) -> list[str]:
        await self._creation.update(record, wish)
        return []

    async def remove(self, record: ContainerRecord, *, force: bool, volumes: bool) -> None:
        await self._creation.remove(record, force=force, volumes=volumes)

    async def wait(self, record: ContainerRecord, condition: str) -> tuple[int, str]:
        """Exit code and error. A container that goes when it ends is still asked for both."""
        last = record

        def ended(now: ContainerRecord | None) -> bool:
            nonlocal last
            if now is None:
                return True
            last = now
            match condition:
                case "removed":
                    return False
                case "next-exit":
                    return not now.status.is_alive and now.finished_at > record.finished_at
                case _:
                    # A policy may start it again: who waits for an end is told of this one.
                    return not now.status.needs_stop or (
                        now.status is Status.RESTARTING and now.finished_at > record.finished_at
                    )

        await self._registry.wait(record.id, ended)
        if condition == "not-running" and last.exit_code is None and not last.error:
            return 0, ""
        return (last.exit_code if last.exit_code is not None else 137), ""

    async def processes(self, record: ContainerRecord) -> Sequence[ProcessRow]:
        return await self._parts.runtime.processes(record)

    async def processes_by_ps(
        self, record: ContainerRecord, arguments: Sequence[str]
    ) -> tuple[list[str], list[list[str]]]:
        pids = {row.pid for row in await self._parts.runtime.processes(record)}
        return await process_table.by_ps(pids, arguments)

    async def statistics(self, record: ContainerRecord) -> Message:
        if not record.status.is_alive:
            return sample(record, Stats())
        try:
            return sample(record, await self._parts.runtime.stats(record))
        except Conflict:
            return sample(record, Stats())

    async def changes(self, record: ContainerRecord) -> list[Message]:
        return await self._committing.changes(record)

    async def commit(self, record: ContainerRecord, wish: Message) -> str:
        """The id of the new image; `wish` as in Committing.commit."""
        return (await self._committing.commit(record, wish)).id

    def inspected(self, record: ContainerRecord) -> Message:
        return inspection.inspected(
            record,
            directory=self._parts.paths.container(record.id),
            log=self._parts.paths.container_log(record.id),
            volume_path=self._volume_path,
            exec_ids=self._execs.ids(record.id),
            health_log=self._supervisor.health_log(record.id),
        )

    def listed(self, record: ContainerRecord) -> Message:
        return inspection.listed(record, self._volume_path)

    def _volume_path(self, name: str) -> str:
        volume = self._registry.store.volume(name)
        return volume.mountpoint if volume is not None else ""

    def status_text(self, record: ContainerRecord, now: float) -> str:
        return status_text(record, now)

    async def sizes(self, record: ContainerRecord) -> tuple[int, int]:
        own = await self._creation.writable_size(record)
        try:
            image = await self._parts.images.get(record.config.image_id)
        except NotFound:
            return own, own
        return own, own + image.size

    async def logs(
        self,
        record: ContainerRecord,
        *,
        follow: bool,
        tail: int | None,
        since: float,
        until: float,
    ) -> AsyncIterator[LogLine]:
        lines = (
            self._followed(record, tail=tail, since=since, until=until)
            if follow
            else self._written(record, tail=tail, since=since, until=until)
        )
        async for line in lines:
            yield line

    async def _followed(
        self, record: ContainerRecord, *, tail: int | None, since: float, until: float
    ) -> AsyncIterator[LogLine]:
        """Until the container has ended for good."""
        ended = asyncio.ensure_future(
            self._registry.wait(record.id, lambda r: r is None or not r.status.needs_stop)
        )
        try:
            async for line in follow(
                self._parts.paths,
                record.id,
                tail=tail,
                since=since,
                until=until,
                until_done=ended,
            ):
                yield line
        finally:
            ended.cancel()

    async def _written(
        self, record: ContainerRecord, *, tail: int | None, since: float, until: float
    ) -> AsyncIterator[LogLine]:
        found = read(self._parts.paths, record.id, tail=tail, since=since, until=until)
        while batch := await asyncio.to_thread(_some, found):
            for line in batch:
                yield line

    async def attach(self, record: ContainerRecord) -> OpenSession:
        session = await self._interactive.attach({"container": record.id})
        self._parts.events.publish(
            "container", "attach", record.id, names.attributes(record.config)
        )
        return session

    def detached(self, record: ContainerRecord) -> None:
        self._parts.events.publish(
            "container", "detach", record.id, names.attributes(record.config)
        )

    async def resize(self, record: ContainerRecord, width: int, height: int) -> None:
        """Of the main process's terminal; who is attached shares it."""
        session = await self._parts.runtime.attach(record)
        try:
            await session.resize(width, height)
        finally:
            await session.close()

    # -- exec

    def exec_create(self, record: ContainerRecord, wish: Message) -> Exec:
        return self._execs.create(record, wish)

    def exec_find(self, exec_id: str) -> Exec:
        return self._execs.find(exec_id)

    async def exec_start(self, made: Exec, *, detach: bool, width: int, height: int) -> OpenSession:
        record = self._registry.get(made.container_id)
        return await self._execs.start(record, made, detach=detach, width=width, height=height)

    async def exec_ended(self, made: Exec) -> None:
        await self._execs.ended(made)

    def exec_detached(self, made: Exec) -> None:
        self._execs.detached(self._registry.get(made.container_id), made)

    async def exec_resize(self, made: Exec, width: int, height: int) -> None:
        if made.session is not None:
            await made.session.resize(width, height)

    # -- networks

    def networks(self) -> Sequence[NetworkRecord]:
        return self._registry.store.networks()

    def network(self, reference: str) -> NetworkRecord:
        """By id, name, or the beginning of an id. NotFound, Conflict."""
        store = self._registry.store
        exact = store.network(reference) or store.network_by_name(reference)
        if exact is not None:
            return exact
        found = [r for r in store.networks() if reference and r.id.startswith(reference)]
        if len(found) > 1:
            raise Conflict(f'"{reference}" is the beginning of {len(found)} network ids')
        if not found:
            raise NotFound(f"no such network: {reference}")
        return found[0]

    async def network_create(self, config: NetworkConfig) -> NetworkRecord:
        return await self._engine.make_network(config)

    async def network_remove(self, record: NetworkRecord) -> bool:
        return await self._engine.remove_network(record)

    async def network_connect(
        self, record: NetworkRecord, container: ContainerRecord, settings: Message
    ) -> None:
        await self._connections.connect(record, container.id, settings)

    async def network_disconnect(self, container: ContainerRecord, network_id: str) -> None:
        await self._connections.disconnect(network_id, container.id)

    # -- volumes

    def volumes(self) -> Sequence[VolumeRecord]:
        return self._registry.store.volumes()

    def volume(self, name: str) -> VolumeRecord:
        record = self._registry.store.volume(name)
        if record is None:
            raise NotFound(f"no such volume: {name}")
        return record

    async def volume_create(self, config: VolumeConfig) -> VolumeRecord:
        if (existing := self._registry.store.volume(config.name)) is not None:
            return existing
        record = await self._parts.volumes.create(config)
        self._parts.events.publish("volume", "create", config.name, {"driver": "local"})
        return record

    async def volume_remove(self, name: str, *, force: bool) -> None:
        await self._parts.volumes.remove(name)
        self._parts.events.publish("volume", "destroy", name, {"driver": "local"})

    async def volume_size(self, record: VolumeRecord) -> int:
        return await asyncio.to_thread(tree_size, Path(record.mountpoint))

    def volume_users(self, name: str) -> Sequence[str]:
        """Ids of the containers that mount it, running or not."""
        by_name = {r.name: r.id for r in self._registry.all()}
        return [by_name.get(user, user) for user in self._parts.volumes.users(name)]


def _some(lines: Iterator[LogLine]) -> list[LogLine]:
    return list(itertools.islice(lines, _LINES))
