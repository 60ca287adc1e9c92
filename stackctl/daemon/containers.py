"""One container at a time: create, start, stop, remove, as the engine's parts do it.

Each change of a container happens under its own lock, so that an exit that is
reported while a start is still being recorded waits its turn. A step that makes
something registers its undoing at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import signal
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import replace
from typing import Protocol

from stackctl.daemon import additions, generated, hooks, names, own_mounts, sharing
from stackctl.daemon.link_variables import told
from stackctl.daemon.parts import Parts
from stackctl.daemon.signals import is_end, signal_number
from stackctl.errors import Conflict, ContainerError, MachineError, NotFound
from stackctl.model.container import ContainerConfig, Health, Status
from stackctl.model.image import Snapshot
from stackctl.model.network import PublishedPort, VolumeConfig
from stackctl.model.record import ContainerRecord, ProcessRef
from stackctl.runtime.archive import Archive
from stackctl.runtime.container import StartRequest

#: After SIGKILL the kernel needs a moment, not a grace period.
_KILL_LIMIT = 10.0


class Watcher(Protocol):
    """Who is told what happens to a container (the supervisor)."""

    def started(self, record: ContainerRecord) -> None: ...

    def ending(self, container_id: str) -> None: ...

    def paused(self, container_id: str) -> None: ...

    def resumed(self, container_id: str) -> None: ...

    def coming_back(self, container_id: str) -> AbstractContextManager[None]: ...


class Containers:
    """Effects on single containers."""

    def __init__(self, parts: Parts, watcher: Watcher) -> None:
        self._parts = parts
        self._registry = parts.registry
        self._watcher = watcher
        self._locks: dict[str, asyncio.Lock] = {}
        #: Roots of those that were made and not started yet.
        self._fresh: dict[str, Snapshot] = {}
        #: Where the resolver listens inside. One for all: each is in a namespace of its own.
        self._resolver_port = 32768 + secrets.randbelow(28000)

    def lock(self, container_id: str) -> asyncio.Lock:
        return self._locks.setdefault(container_id, asyncio.Lock())

    # -- create, rename, remove

    async def create(
        self,
        config: ContainerConfig,
        *,
        replaces: str = "",
        name_from: str = "",
        renew_volumes: bool = False,
        container_id: str = "",
        volumes: Mapping[str, VolumeConfig] | None = None,
    ) -> ContainerRecord:
        """Record, writable layer, leases, volumes; nothing runs yet.

        `volumes`: what is asked, by name, of those that do not exist yet. Raises StackctlError;
        for the successor of a container also for what would keep it from starting.
        """
        container_id = container_id or secrets.token_hex(32)
        is_named = not (replaces or name_from)
        if is_named and self._registry.find_name(config.name) is not None:
            raise Conflict(
                f'the container name "{config.name}" is in use',
                hint="remove or rename that container, or choose another name",
            )
        home = self._parts.paths.container(container_id)
        self._parts.runtime.check_limits(config.limits)
        former = self._registry.find(replaces) if replaces else None
        socket = self._parts.paths.socket
        mounts = await own_mounts.settled(config, former, self._parts.images, socket, renew_volumes)
        mounts = additions.mounts(config, mounts, home, socket, self._registry)
        store = self._registry.store
        async with AsyncExitStack() as undo:
            private = config.security.userns == "private" and not config.security.privileged
            id_base = store.allocate_id_range() if private else 0
            undo.callback(store.release_id_range, id_base)
            endpoints = []
            joins = (*config.networks, *additions.networks(config, former, store))
            wished = {join.interface_name for join in joins}
            for attachment in joins:
                network = store.network_by_name(attachment.network)
                if network is None:
                    raise NotFound(f'network "{attachment.network}" does not exist')
                endpoint = self._parts.net.lease(network, container_id, attachment, wished)
                undo.callback(self._parts.net.release, endpoint)
                endpoints.append(endpoint)
            record = ContainerRecord(
                id=container_id,
                config=replace(
                    config, mounts=mounts, files=generated.without_content(config.files)
                ),
                created_at=time.time(),
                replaces=replaces or name_from,
                id_base=id_base,
                endpoints=tuple(endpoints),
            )
            # Before anything is made: whatever a kill leaves behind can be found by it.
            self._registry.put(record)
            undo.callback(self._registry.delete, container_id)
            undo.callback(shutil.rmtree, home, ignore_errors=True)
            await generated.write(home, config.files)
            if replaces:
                await self._check_start(record)
            snapshot = await self._parts.images.prepare(container_id, *record.config.images)
            undo.push_async_callback(self._parts.images.release, container_id)
            await own_mounts.make_volumes(self._parts.volumes, record, volumes or {})
            undo.pop_all()
        self._fresh[container_id] = snapshot
        self._publish_event(record, "create")
        return record

    async def _check_start(self, successor: ContainerRecord) -> None:
        """What it would fail with is told while the container that it replaces is still there. Of
        a first one nothing is lost then, and what starts before it may make what it mounts."""
        self._parts.runtime.check_start(successor)
        await own_mounts.check_bind_sources(self._parts.volumes.mounted(successor).config)

    async def rename(self, name: str) -> ContainerRecord:
        """Give a successor (see CreateContainer.replaces) its final name."""
        record = self._registry.by_name(name, successor=True)
        if not record.replaces:
            return record
        if self._registry.find_name(name) is not None:
            raise Conflict(f'the container name "{name}" is in use')
        record = self._registry.put(replace(record, replaces=""))
        # It may have started before the old one was gone, under another name.
        await self._tell_names(record)
        self._publish_event(record, "rename")
        return record

    async def set_aside(self, container_id: str) -> None:
        """Its name becomes free for another, until `rename` gives it back."""
        async with self.lock(container_id):
            record = self._registry.find(container_id)
            if record is None or record.replaces:
                return  # it has gone meanwhile, and its name with it
            record = self._registry.put(replace(record, replaces=container_id))
        await self._tell_names(record)
        self._publish_event(record, "rename")

    async def set_name(self, container_id: str, name: str) -> ContainerRecord:
        """Another name, as the user wants it. Conflict when it is taken."""
        async with self.lock(container_id):
            record = self._registry.get(container_id)
            if self._registry.find_name(name) is not None:
                raise Conflict(f'the container name "{name}" is in use')
            old = record.name
            record = self._registry.put(
                replace(record, config=replace(record.config, name=name), replaces="")
            )
        await self._tell_names(record)
        attributes = {**names.attributes(record.config), "oldName": f"/{old}"}
        self._parts.events.publish("container", "rename", record.id, attributes)
        return record

    async def _tell_names(self, record: ContainerRecord) -> None:
        """Its networks know a container that lives by other names from now on."""
        if record.status.is_alive and record.endpoints:
            await self._parts.net.name(names.naming(record, "keep"))

    async def remove(self, container_id: str, *, anonymous_volumes: bool = False) -> None:
        """Writable layer, log, leases and record go; it must not be running."""
        async with self.lock(container_id):
            record = self._registry.find(container_id)
            if record is None:
                return
            if record.status.is_alive:
                raise Conflict(
                    f"container {record.name} is running",
                    hint="stop it first",
                )
            self._watcher.ending(container_id)
            record = self._registry.update(container_id, status=Status.REMOVING)
            await self.finish_removal(record)
            if anonymous_volumes:
                await own_mounts.remove_anonymous(self._parts.volumes, record)
            self._publish_event(record, "destroy")
        self._locks.pop(container_id, None)

    async def finish_removal(self, record: ContainerRecord) -> None:
        """The part of a removal that a killed engine takes up again."""
        parts = self._parts
        await parts.net.leave(record.id, record.ports)
        await parts.runtime.forget(record)
        await parts.images.release(record.id)
        self._fresh.pop(record.id, None)
        await asyncio.to_thread(shutil.rmtree, parts.paths.container(record.id), ignore_errors=True)
        for endpoint in record.endpoints:
            parts.net.release(endpoint)
        self._registry.delete(record.id)

    # -- start

    async def start(
        self,
        container_id: str,
        *,
        by_policy: bool = False,
        size: tuple[int, int] | None = None,
    ) -> ContainerRecord:
        """Start it; returns at once when it already runs.

        A start `by_policy` counts as a restart, of one that is to be restarted; a user's begins
        anew. `size`: columns and rows that its terminal begins with.
        """
        async with self.lock(container_id):
            record = self._registry.get(container_id)
            if not record.status.can_start:
                return record
            if not by_policy:
                self._watcher.ending(container_id)
            elif record.status is not Status.RESTARTING:
                return record  # somebody has ended it while this start waited for its turn
            before = record
            record = self._registry.put(
                replace(
                    record,
                    status=Status.STARTING,
                    restart_count=record.restart_count + 1 if by_policy else 0,
                    boot_id=self._parts.machine.boot_id,
                    oom_killed=False,
                    error="",
                    stopped_by_user=False,
                    health=Health.STARTING if record.config.health else Health.NONE,
                )
            )
            try:
                record = await self._run(record, size)
            except asyncio.CancelledError:
                self._given_up(before)
                raise
            except BaseException as error:
                self._failed(record, error)
                raise
        self._publish_event(record, "start")
        self._watcher.started(record)
        if record.config.post_start:
            await hooks.run(self._parts.runtime, record, "post_start", record.config.post_start)
        return record

    async def _run(self, record: ContainerRecord, size: tuple[int, int] | None) -> ContainerRecord:
        parts = self._parts
        sharing.check_networks(record, parts.net.has_network)
        async with AsyncExitStack() as undo:
            await own_mounts.make_bind_sources(parts.volumes.mounted(record).config)
            ports = record.ports or await self.publish_ports(record)
            if ports and not record.ports:
                undo.push_async_callback(parts.net.unpublish, ports)
                record = self._registry.put(replace(record, ports=ports))
            resolver_port = self._resolver_port if record.endpoints else 0

            began = time.time()

            async def attach(process: ProcessRef) -> None:
                # Taken before its first instruction: whoever follows the log from the start
                # of this run would miss what it says before we hear that it runs.
                nonlocal began
                began = time.time()
                if not record.endpoints:
                    return
                naming = names.naming(record, (process.pid, resolver_port))
                await parts.net.attach(process.pid, record.endpoints, naming)

            undo.push_async_callback(parts.net.leave, record.id)
            fresh = self._fresh.pop(record.id, None)
            named = sharing.named(record, self._registry)
            request = StartRequest(
                record=told(parts.volumes.mounted(record), self._registry),
                snapshot=fresh or await parts.images.prepare(record.id, *record.config.images),
                volumes=parts.volumes.paths(record.config),
                hosts=names.hosts_file(named, parts.machine.hosts),
                resolv_conf=names.resolver_file(named.config, parts.machine.resolver_lines),
                hostname=record.config.hostname or names.hostname(named),
                netns_blobs=parts.net.netns_blobs(resolver_port) if resolver_port else (),
                partners=sharing.partners(record, self._registry),
                size=size,
            )
            process = await parts.runtime.start(request, attach)
            undo.pop_all()
        return self._registry.put(
            replace(
                record, status=Status.RUNNING, process=process, started_at=began, exit_code=None
            )
        )

    def _given_up(self, before: ContainerRecord) -> None:
        """Nobody wants the start any more: it is again what it was before."""
        never_ran = before.status is Status.CREATED
        self._registry.update(
            before.id,
            status=Status.CREATED if never_ran else Status.EXITED,
            ports=(),
            process=None,
            exit_code=before.exit_code,
            oom_killed=before.oom_killed,
            error=before.error,
            restart_count=before.restart_count,
            stopped_by_user=before.stopped_by_user,
            health=Health.NONE,
        )

    def _failed(self, record: ContainerRecord, error: BaseException) -> None:
        """It never ran: say why, with the exit code that a shell would give."""
        code = error.exit_code if isinstance(error, ContainerError) else 128
        self._registry.update(
            record.id,
            status=Status.EXITED,
            ports=(),
            process=None,
            exit_code=code,
            finished_at=time.time(),
            error=str(error) or type(error).__name__,
            health=Health.NONE,
        )

    async def archive(self, record: ContainerRecord) -> Archive:
        """Its files, for `cp`: of its running process, or of the root that a start would get."""
        snapshot = await self._parts.images.prepare(record.id, *record.config.images)
        volumes = self._parts.volumes
        return self._parts.runtime.archive(
            volumes.mounted(record), snapshot, volumes.paths(record.config)
        )

    async def publish_ports(self, record: ContainerRecord) -> tuple[PublishedPort, ...]:
        if not record.config.ports or not record.endpoints:
            return ()
        return await self._parts.net.publish(
            record.id,
            record.endpoints,
            record.config.ports,
            self._parts.machine.publish_address,
        )

    # -- stop

    async def stop(
        self, container_id: str, timeout: float | None = None, signal_name: str = ""
    ) -> None:
        """Stop signal, grace period, then the whole container is killed.

        `timeout` None takes the container's own grace period (seconds), `signal_name` ""
        its own stop signal.
        """
        while (record := await self._stopped_by_user(container_id)) is not None:
            if await self._stop_alive(record, timeout, signal_name):
                self._publish_event(record, "stop")
                return

    async def _stopped_by_user(
        self, container_id: str, *, for_certain: bool = True
    ) -> ContainerRecord | None:
        """Mark one that is alive as what its user ends; None when nothing of it is left to end.

        Under its lock, as its start, its own end and what follows from that by its policy: none
        of them is half done, and whichever comes next reads the mark. Not `for_certain`: it may
        not care for the signal, and is watched on.
        """
        async with self.lock(container_id):
            record = self._registry.find(container_id)
            if record is None or not record.status.needs_stop:
                return None
            if for_certain or record.status is Status.RESTARTING:
                self._watcher.ending(container_id)
            record = replace(record, stopped_by_user=True)
            if record.status is Status.RESTARTING:
                # Who comes back has kept its ports.
                await self._parts.net.unpublish(record.ports)
                record = replace(record, status=Status.EXITED, ports=())
            self._registry.put(record)
        return record if record.status.is_alive else None

    async def _stop_alive(
        self, record: ContainerRecord, timeout: float | None, signal_name: str
    ) -> bool:
        """False when it ended by itself and came back: then it is to be stopped again."""
        container_id = record.id
        if record.status is Status.PAUSED:
            await self.unpause(container_id)
        if record.config.pre_stop:
            await hooks.run_before_stop(
                self._parts.runtime, record, lambda: not self._is_alive(container_id)
            )
        signum = signal_number(signal_name or record.config.stop_signal)
        grace = record.config.stop_grace if timeout is None else timeout
        try:
            if not self._parts.runtime.is_in_vain(record, signum, grace):
                await self._parts.runtime.signal(record, signum)
                if await self._has_ended(container_id, grace):
                    return True
            await self._kill(record)
        except Conflict:
            # Its process has gone by itself; that the engine hears of it is a matter of time.
            return await self._has_ended(container_id, _KILL_LIMIT)
        return True

    async def _kill(self, record: ContainerRecord) -> None:
        """End it for certain; MachineError when even the kernel cannot."""
        await self._parts.runtime.kill(record)
        if await self._has_ended(record.id, _KILL_LIMIT / 5):
            return
        await self._parts.runtime.kill_group(record)
        if not await self._has_ended(record.id, _KILL_LIMIT):
            raise MachineError(
                f"container {record.name} did not end after SIGKILL",
                hint="a process in it hangs in the kernel, in state D",
            )

    def coming_back(self, container_id: str) -> AbstractContextManager[None]:
        """Around a stop: one that goes when it ends stays."""
        return self._watcher.coming_back(container_id)

    def _is_alive(self, container_id: str) -> bool:
        record = self._registry.find(container_id)
        return record is not None and record.status.is_alive

    async def _has_ended(self, container_id: str, limit: float) -> bool:
        try:
            async with asyncio.timeout(max(limit, 0.0)):
                await self._registry.wait(
                    container_id, lambda r: r is None or not r.status.is_alive
                )
        except TimeoutError:
            return False
        return True

    async def kill(self, container_id: str, signum: int = signal.SIGKILL) -> None:
        """Send a signal to the container's process; SIGKILL ends the whole container, and
        what `ends` one that waits for its next restart ends that.

        One that ends by itself in the same moment has what was wanted of it, as in Docker.
        """
        record = self._registry.get(container_id)
        if not record.status.needs_stop:
            raise Conflict(f"container {record.name} is not running")
        # Before it dies of it: who reads events is told the cause first.
        self._publish_event(record, "kill")
        if is_end(record, signum):
            # As in Docker: who sends what stops it wants it to stay stopped.
            certain = signum == signal.SIGKILL
            alive = await self._stopped_by_user(container_id, for_certain=certain)
        else:
            async with self.lock(container_id):
                alive = self._registry.find(container_id)
        if alive is None or not alive.status.is_alive:
            return
        if signum == signal.SIGKILL:
            await self._kill(alive)
            return
        with contextlib.suppress(Conflict):
            await self._parts.runtime.signal(alive, signum)

    async def pause(self, container_id: str) -> None:
        record = self._registry.get(container_id)
        if record.status is Status.PAUSED:
            raise Conflict(f"container {record.name} is paused already")
        if record.status is not Status.RUNNING:
            raise Conflict(f"container {record.name} is not running")
        await self._parts.runtime.pause(record)
        self._registry.update(container_id, status=Status.PAUSED)
        self._watcher.paused(container_id)
        self._publish_event(record, "pause")

    async def unpause(self, container_id: str) -> None:
        record = self._registry.get(container_id)
        if record.status is not Status.PAUSED:
            raise Conflict(f"container {record.name} is not paused")
        await self._parts.runtime.unpause(record)
        self._registry.update(container_id, status=Status.RUNNING)
        self._watcher.resumed(container_id)
        self._publish_event(record, "unpause")

    def _publish_event(self, record: ContainerRecord, action: str) -> None:
        self._parts.events.publish("container", action, record.id, names.attributes(record.config))
