"""Watches over what runs: exits, restarts by policy, health.

The decisions are scheduler.restart's and scheduler.health's; here are the
timers and the records. What a container's end means for its network, ports and
shim is done here, under the container's lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Iterator
from dataclasses import replace

from stackctl.daemon import names
from stackctl.daemon.containers import Containers
from stackctl.daemon.parts import Parts
from stackctl.daemon.probes import HealthWatch
from stackctl.errors import StackctlError
from stackctl.model.container import Health, Status
from stackctl.model.record import ContainerRecord
from stackctl.runtime.container import ExitInfo
from stackctl.scheduler.restart import ending_of, next_restart, starts_with_daemon

#: A shim without containers is kept this long: a restart then needs no new interpreter.
_SHIM_IDLE_SECONDS = 10.0

log = logging.getLogger(__name__)


class Supervisor:
    """Hears of starts and ends; `connect` gives it what it acts on."""

    def __init__(self) -> None:
        self._watches: dict[str, HealthWatch] = {}
        self._restarts: dict[str, asyncio.TimerHandle] = {}
        self._delays: dict[str, float] = {}
        #: Those that are stopped to be started again.
        self._kept: set[str] = set()
        self._healthy_at: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def connect(self, parts: Parts, containers: Containers) -> None:
        self._parts = parts
        self._containers = containers

    # -- what it hears

    def started(self, record: ContainerRecord) -> None:
        """A container runs: watch its health."""
        if record.config.health is not None and record.config.health.test:
            watch = HealthWatch(record, self._parts.runtime, self._health_changed)
            self._watches[record.id] = watch
            watch.started()

    def resume(self, record: ContainerRecord) -> None:
        """At the daemon's start: go on with what runs, restart what policy brings back."""
        if record.status.is_alive:
            if record.config.health is not None and record.config.health.test:
                watch = HealthWatch(record, self._parts.runtime, self._health_changed)
                self._watches[record.id] = watch
                if record.status is Status.RUNNING:
                    watch.adopted()
            return
        rebooted = bool(record.boot_id) and record.boot_id != self._parts.machine.boot_id
        if starts_with_daemon(record, rebooted=rebooted):
            self._schedule(self._parts.registry.update(record.id, status=Status.RESTARTING), 0.0)

    def ending(self, container_id: str) -> None:
        """The container is about to be stopped, removed or started: forget what was planned."""
        if timer := self._restarts.pop(container_id, None):
            timer.cancel()
        self._delays.pop(container_id, None)
        self._unwatch(container_id)

    def paused(self, container_id: str) -> None:
        if watch := self._watches.get(container_id):
            watch.paused()

    def resumed(self, container_id: str) -> None:
        if watch := self._watches.get(container_id):
            watch.resumed()

    @contextlib.contextmanager
    def coming_back(self, container_id: str) -> Iterator[None]:
        """Its end, meanwhile, is no reason to remove it."""
        self._kept.add(container_id)
        try:
            yield
        finally:
            self._kept.discard(container_id)

    def exited(self, info: ExitInfo) -> None:
        """The runtime says that a container's process has ended."""
        self._spawn(self._ended(info))

    # -- what others ask

    def last_probe(self, container_id: str) -> str:
        watch = self._watches.get(container_id)
        return watch.last_probe() if watch else "no probe has finished"

    def health_log(self, container_id: str) -> list[dict[str, object]]:
        """The last probes as Docker's inspect has them; none without a living check."""
        watch = self._watches.get(container_id)
        return watch.log() if watch else []

    def healthy_at(self, container_id: str) -> float:
        """When it became healthy last (Unix seconds), 0.0 if never."""
        return self._healthy_at.get(container_id, 0.0)

    @property
    def idle(self) -> bool:
        return not self._restarts and not self._tasks

    async def close(self) -> None:
        for container_id in [*self._watches, *self._restarts]:
            self.ending(container_id)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- how

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("supervision failed: %s", error, exc_info=error)

    async def _ended(self, info: ExitInfo) -> None:
        container_id = info.container_id
        async with self._containers.lock(container_id):
            record = self._parts.registry.find(container_id)
            if record is None or not record.status.is_alive:
                return
            self._unwatch(container_id)
            record = replace(
                record,
                status=Status.EXITED,
                process=None,
                exit_code=info.exit_code,
                oom_killed=info.oom_killed,
                finished_at=info.finished_at,
                error=info.error,
                health=Health.NONE,
            )
            await self._parts.net.leave(container_id, ())
            await self._parts.runtime.forget(record)
            delay = self._delay(record)
            if delay is None and record.ports:
                # Who comes back keeps its ports.
                await self._parts.net.unpublish(record.ports)
                record = replace(record, ports=())
            if delay is not None:
                record = replace(record, status=Status.RESTARTING)
            self._parts.registry.put(record)
            exit_code = "" if record.exit_code is None else str(record.exit_code)
            self._event(record, "die", exitCode=exit_code)
            if record.oom_killed:
                self._event(record, "oom")
        if delay is not None:
            self._schedule(record, delay)
        elif record.config.auto_remove and container_id not in self._kept:
            await self._containers.remove(container_id, anonymous_volumes=True)
        self._consider_shim(record)

    def _delay(self, record: ContainerRecord) -> float | None:
        delay = next_restart(
            record.config.restart,
            ending_of(record),
            restart_count=record.restart_count,
            last_delay=self._delays.get(record.id, 0.0),
        )
        if delay is None:
            self._delays.pop(record.id, None)
        else:
            self._delays[record.id] = delay
        return delay

    def _schedule(self, record: ContainerRecord, delay: float) -> None:
        loop = asyncio.get_running_loop()
        self._restarts[record.id] = loop.call_later(
            delay, lambda: self._spawn(self._restart(record.id))
        )

    async def _restart(self, container_id: str) -> None:
        self._restarts.pop(container_id, None)
        record = self._parts.registry.find(container_id)
        if record is None or record.status is not Status.RESTARTING:
            return  # somebody stopped or started it meanwhile
        try:
            restarted = await self._containers.start(container_id, by_policy=True)
            if restarted.restart_count > record.restart_count:
                self._event(record, "restart")
        except StackctlError as error:
            log.warning("restart of %s failed: %s", record.name, error)
            self._retry(container_id)

    def _retry(self, container_id: str) -> None:
        """A start that failed counts as an end: the policy decides again."""
        record = self._parts.registry.find(container_id)
        if record is None or record.status is not Status.EXITED:
            return
        delay = self._delay(record)
        if delay is not None:
            self._parts.registry.update(container_id, status=Status.RESTARTING)
            self._schedule(record, delay)

    def _unwatch(self, container_id: str) -> None:
        if watch := self._watches.pop(container_id, None):
            watch.stop()

    def _health_changed(self, container_id: str, health: Health) -> None:
        record = self._parts.registry.find(container_id)
        if record is None or not record.status.is_alive:
            return
        watch = self._watches.get(container_id)
        if health is Health.HEALTHY and watch is not None:
            self._healthy_at[container_id] = watch.healthy_at
        was_weak = record.health is Health.UNHEALTHY
        record = self._parts.registry.update(container_id, health=health)
        if record.endpoints and was_weak != (health is Health.UNHEALTHY):
            # Names lead to it when there is nobody better, or again.
            self._spawn(self._parts.net.name(names.naming(record, "keep")))
        self._event(record, f"health_status: {health}")

    def _consider_shim(self, record: ContainerRecord) -> None:
        """The last container of a stack has ended: its shim leaves, unless one comes back soon."""
        loop = asyncio.get_running_loop()
        loop.call_later(_SHIM_IDLE_SECONDS, lambda: self._spawn(self._close_shim(record)))

    async def _close_shim(self, record: ContainerRecord) -> None:
        project = record.config.project
        if any(r.status.needs_stop for r in self._parts.registry.of_project(project)):
            return
        await self._parts.runtime.close_stack(project)

    def _event(self, record: ContainerRecord, action: str, **more: str) -> None:
        attributes = {**names.attributes(record.config), **more}
        self._parts.events.publish("container", action, record.id, attributes)
