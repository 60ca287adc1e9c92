"""The engine: performs the operations of a plan on the real parts.

The executor hands it one operation at a time, many at once; it matches the
closed union exhaustively and decides nothing. A text that `perform` returns is
shown as the step's progress.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import assert_never
from weakref import WeakValueDictionary

from stackctl.daemon.containers import Containers
from stackctl.daemon.jobs import warn
from stackctl.daemon.parts import Parts
from stackctl.daemon.providers import Providers
from stackctl.daemon.supervisor import Supervisor
from stackctl.errors import Conflict, ContainerError, NotFound, OperationFailed, StackctlError
from stackctl.model.build import BuildRequest
from stackctl.model.container import Health, Status
from stackctl.model.network import NetworkConfig
from stackctl.model.record import ContainerRecord, NetworkRecord
from stackctl.runtime.logfile import last_lines
from stackctl.scheduler.ops import (
    BuildImage,
    CreateContainer,
    CreateNetwork,
    CreateVolume,
    Op,
    Pause,
    PullImage,
    RemoveContainer,
    RemoveNetwork,
    RemoveVolume,
    RenameContainer,
    RunInit,
    RunProvider,
    SetAside,
    StartContainer,
    StopContainer,
    WaitCompleted,
    WaitHealthy,
)

#: Log lines of a failed service that are shown with its error.
_SHOWN_LINES = 10


class Engine:
    """Implements scheduler.executor.Engine."""

    def __init__(self, parts: Parts, containers: Containers, supervisor: Supervisor) -> None:
        self._parts = parts
        #: By name of a network that is being made or removed.
        self._network_locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._containers = containers
        self._supervisor = supervisor
        self.providers = Providers(parts.paths)
        #: Given once the service has a builder: its code is not loaded before it is needed.
        self.build: Callable[[BuildRequest], Awaitable[object]] | None = None

    async def perform(self, op: Op) -> str | None:
        """Carry out one operation; raises StackctlError when it fails."""
        match op:
            case PullImage():
                return await self._pull(op)
            case BuildImage():
                await self._build(op.build)
            case CreateNetwork():
                await self._ensure_network(op.network)
            case RemoveNetwork():
                record = self._parts.registry.store.network_by_name(op.name)
                if record is not None:
                    await self.remove_network(record)
            case CreateVolume():
                await self._parts.volumes.create(op.volume)
                self._parts.events.publish("volume", "create", op.volume.name, {})
            case RemoveVolume():
                await self._parts.volumes.remove(op.name, alive_only=op.renews)
                self._parts.events.publish("volume", "destroy", op.name, {})
            case CreateContainer():
                await self._containers.create(
                    op.config,
                    replaces=op.replaces,
                    name_from=op.name_from,
                    renew_volumes=op.renew_volumes,
                )
            case RenameContainer():
                await self._containers.rename(op.name)
            case SetAside():
                await self._containers.set_aside(op.id)
            case StartContainer():
                await self._start(op.name)
            case WaitHealthy():
                return await self._wait_healthy(op)
            case WaitCompleted():
                return await self._wait_completed(op.name)
            case StopContainer():
                await self._containers.stop(op.id, op.timeout)
            case RemoveContainer():
                await self._containers.remove(op.id, anonymous_volumes=op.anonymous_volumes)
            case RunInit():
                return await self._run_init(op)
            case RunProvider():
                await self.providers.run(op.provider, op.command)
            case Pause():
                await asyncio.sleep(op.seconds)
            case _:
                assert_never(op)
        return None

    async def _run_init(self, op: RunInit) -> str:
        """What a killed engine or a failed run has left of it goes first."""
        registry, containers = self._parts.registry, self._containers
        left = registry.find_name(op.config.name)
        if left is not None:
            await containers.stop(left.id, 0.0)
            await containers.remove(left.id, anonymous_volumes=True)
        beside = registry.by_name(op.beside, successor=True)
        config = replace(op.config, volumes_from=(*op.config.volumes_from, beside.name))
        record = await containers.create(config)
        try:
            await containers.start(record.id)
            final = await registry.wait(record.id, lambda r: r is None or r.status.has_ended)
        except asyncio.CancelledError:
            await containers.stop(record.id, 0.0)
            await containers.remove(record.id, anonymous_volumes=True)
            raise
        if final is not None and final.exit_code != 0:
            raise OperationFailed(
                f"pre_start hook of {_subject(final)} {_how_ended(final)}: {' '.join(config.argv)}",
                hint=f"it is kept as {config.name}: see `stackctl container logs {config.name}`",
                details=tuple(last_lines(self._parts.paths, record.id, _SHOWN_LINES)),
            )
        await containers.remove(record.id, anonymous_volumes=True)
        return "completed"

    async def _pull(self, op: PullImage) -> str:
        """What can be built need not be to be had: then what is here counts, or it is built."""
        images = self._parts.images
        try:
            return await images.pull(op.reference)
        except StackctlError as error:
            if op.build is None:
                raise
            warn(f"{op.reference} could not be pulled: {error.brief}")
            if images.exists(op.reference):
                return "not pulled"
            await self._build(op.build)
            return "built"

    async def _build(self, request: BuildRequest) -> None:
        assert self.build is not None, "the service gives the engine its builder"
        await self.build(request)

    async def _start(self, name: str) -> None:
        record = self._parts.registry.by_name(name, successor=True)
        try:
            await self._containers.start(record.id)
        except ContainerError as error:
            if not error.details:
                error.details = tuple(last_lines(self._parts.paths, record.id, _SHOWN_LINES))
            raise

    async def _wait_healthy(self, op: WaitHealthy) -> str:
        record = self._parts.registry.by_name(op.name, successor=True)
        began = record.started_at
        final = await self._parts.registry.wait(record.id, _health_is_decided)
        if final is None:
            raise NotFound(f"{op.name} was removed while it was waited for")
        # A health check may have come with the image, after the plan was made.
        patient = op.ended_ok and final.config.health is None
        if patient and final.status.has_ended and final.exit_code == 0:
            return "completed"
        if final.status.has_ended or final.status is Status.RESTARTING:
            raise self.died(final)
        if final.health is Health.UNHEALTHY:
            lines = tuple(last_lines(self._parts.paths, final.id, _SHOWN_LINES))
            raise OperationFailed(
                f"{_subject(final)} is unhealthy: {self._supervisor.last_probe(final.id)}",
                hint="see its log below, and its `healthcheck`" if lines else "see `healthcheck`",
                details=lines,
            )
        if final.health is Health.NONE and op.checked:
            raise OperationFailed(
                f"{_subject(final)} cannot become healthy: it has no health check, and its image "
                "brings none",
                hint="give it a `healthcheck`, or let others depend on it with service_started",
            )
        if final.health is Health.NONE:
            return "running"
        took = self._supervisor.healthy_at(final.id) - (began or final.started_at)
        return f"healthy after {max(took, 0.0):.1f} s"

    async def _wait_completed(self, name: str) -> str:
        record = self._parts.registry.by_name(name, successor=True)
        final = await self._parts.registry.wait(
            record.id, lambda r: r is None or r.status.has_ended
        )
        if final is None:
            raise NotFound(f"{name} was removed while it was waited for")
        if final.exit_code != 0:
            raise self.died(final)
        return "completed"

    def died(self, record: ContainerRecord) -> OperationFailed:
        """The error for a service that ended when it should not have."""
        lines = tuple(last_lines(self._parts.paths, record.id, _SHOWN_LINES))
        return OperationFailed(
            f"{_subject(record)} {_how_ended(record)}",
            hint="its last log lines are below; `stackctl logs` has them all"
            if lines
            else "it wrote nothing to its log",
            details=lines,
        )

    async def make_network(self, config: NetworkConfig) -> NetworkRecord:
        """Conflict when the name is taken, also by whoever was quicker."""
        store = self._parts.registry.store
        async with self._network_lock(config.name):
            if store.network_by_name(config.name) is not None:
                raise Conflict(f'network "{config.name}" exists', hint="choose another name")
            async with AsyncExitStack() as undo:
                record = await self._parts.net.create_network(config, secrets.token_hex(32))
                undo.push_async_callback(self._parts.net.remove_network, record)
                store.put_network(record)
                undo.pop_all()
        self._parts.events.publish("network", "create", record.id, {"name": config.name})
        return record

    async def _ensure_network(self, config: NetworkConfig) -> None:
        try:
            await self.make_network(config)
        except Conflict:
            if self._parts.registry.store.network_by_name(config.name) is None:
                raise

    async def remove_network(self, record: NetworkRecord, *, is_unused: bool = False) -> bool:
        """Whether it was there. Conflict while a container in it runs, or is about to.

        Who is in it and has ended keeps its membership, and is told when it is started;
        with `is_unused` that is a Conflict, too.
        """
        store, name = self._parts.registry.store, record.config.name
        async with self._network_lock(name):
            if store.network(record.id) is None:
                return False
            members = self._parts.registry.members(record.id)
            users = [r.name for r in members if is_unused or r.status.needs_stop]
            if users:
                who = ", ".join(users[:5]) + ", ..." * (len(users) > 5)
                raise Conflict(f'network "{name}" is in use by {who}', hint=_hint(is_unused))
            for member in members:
                for endpoint in member.endpoints:
                    if endpoint.network_id == record.id:
                        self._parts.net.release(endpoint)
            # From here on it is nobody's to join or to start in; the record goes last, so
            # that a removal that is cut short is taken up again.
            await self._parts.net.remove_network(record)
            store.delete_network(record.id)
        self._parts.events.publish("network", "destroy", record.id, {"name": name})
        return True

    def _network_lock(self, name: str) -> asyncio.Lock:
        """Making a network waits until a former one of its name has gone."""
        return self._network_locks.setdefault(name, asyncio.Lock())


def _hint(is_unused: bool) -> str:
    if is_unused:
        return "a container that has stopped is in it, too: remove these, or disconnect them"
    return "stop and remove these containers first (--remove-orphans removes orphans)"


def _how_ended(record: ContainerRecord) -> str:
    if record.error and record.exit_code is None:
        return f"ended: {record.error}"
    if record.oom_killed:
        return f"was killed for using more than its memory limit (exit code {record.exit_code})"
    return f"exited with code {record.exit_code}"


def _health_is_decided(record: ContainerRecord | None) -> bool:
    if record is None or record.status.has_ended or record.status is Status.RESTARTING:
        return True
    if record.status is not Status.RUNNING:
        return False
    return record.health in (Health.NONE, Health.HEALTHY, Health.UNHEALTHY)


def _subject(record: ContainerRecord) -> str:
    config = record.config
    return f'service "{config.service}"' if config.service else f"container {config.name}"
