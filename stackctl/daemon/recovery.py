"""At start: make records, run-time state and the kernel agree.

What is true is what the kernel says. A container that lives is taken over, one
that ended while no engine looked gets its exit code from what its shim wrote,
one whose shim was killed is ended and its code is honestly unknown. Removals
that were cut short are finished, directories without a record are deleted.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from dataclasses import replace

from stackctl.daemon import names
from stackctl.daemon.containers import Containers
from stackctl.daemon.parts import Parts
from stackctl.daemon.supervisor import Supervisor
from stackctl.errors import StackctlError
from stackctl.model.container import Health, Status
from stackctl.model.record import ContainerRecord
from stackctl.runtime.container import Alive, ExitInfo, Lost

log = logging.getLogger(__name__)


async def recover(parts: Parts, containers: Containers, supervisor: Supervisor) -> None:
    registry, store = parts.registry, parts.registry.store
    await parts.runtime.open()
    records = registry.all()
    truths = await parts.runtime.adopt(records)
    for record in records:
        _settle(parts, record, truths.get(record.id))
    survivors = registry.all()
    lost = await parts.net.open(
        tuple(store.networks()),
        tuple(e for r in survivors for e in r.endpoints),
        tuple(p for r in survivors if r.status.is_alive for p in r.ports),
        running={r.id for r in survivors if r.status.is_alive},
    )
    for port in lost:
        note_lost_port(parts, port.protocol, port.host_ip, port.host_port)
    await asyncio.gather(*(_unplug(parts, r) for r in survivors if not r.status.is_alive))
    await asyncio.gather(*(_mend(parts, r) for r in survivors))
    for record in registry.all():
        if record.status is Status.REMOVING:
            await containers.finish_removal(record)
    await parts.volumes.sweep()
    await asyncio.to_thread(_sweep_directories, parts)
    await parts.images.sweep({i for r in registry.all() for i in r.config.images})
    for record in registry.all():
        supervisor.resume(record)


def note_lost_port(parts: Parts, protocol: str, host_ip: str, host_port: int) -> None:
    """Somebody took a published port while nobody held it: its container's status says so."""
    for record in parts.registry.all():
        for port in record.ports:
            if (port.protocol, port.host_ip, port.host_port) != (protocol, host_ip, host_port):
                continue
            text = f"host port {host_port}/{protocol} was taken by somebody else; restart to retry"
            log.warning("%s: %s", record.name, text)
            kept = tuple(p for p in record.ports if p != port)
            parts.registry.update(record.id, ports=kept, error=text)
            parts.events.publish("container", "port_lost", record.id, {"name": record.name})
            return


async def _unplug(parts: Parts, record: ContainerRecord) -> None:
    """A container that ended while no engine looked: its wires may still be there."""
    if record.endpoints:
        await parts.net.drop_names(record.id)
        await parts.net.detach(record.id)


async def _mend(parts: Parts, record: ContainerRecord) -> None:
    """A daemon may have been killed while it connected the container, or took it away."""
    if record.process is None or not record.status.is_alive or not record.endpoints:
        return
    try:
        naming = names.naming(record, "keep")
        for problem in await parts.net.mend(record.process.pid, record.endpoints, naming):
            log.warning("container %s: %s", record.name, problem)
    except StackctlError:
        log.exception("%s: its networks could not be mended", record.name)


def _settle(parts: Parts, record: ContainerRecord, truth: object) -> None:
    """Write down what is true of one container."""
    registry = parts.registry
    match truth:
        case Alive():
            status = Status.PAUSED if truth.paused else Status.RUNNING
            started = record.started_at or time.time()
            registry.put(replace(record, status=status, process=truth.process, started_at=started))
        case ExitInfo():
            registry.put(
                replace(
                    record,
                    status=Status.EXITED,
                    process=None,
                    ports=(),  # nobody holds them: the next start takes them again
                    exit_code=truth.exit_code,
                    oom_killed=truth.oom_killed,
                    finished_at=truth.finished_at,
                    error=truth.error,
                    health=Health.NONE,
                )
            )
        case Lost() | None:
            if not record.status.is_alive:
                return
            rebooted = record.boot_id != parts.machine.boot_id
            why = "the machine was rebooted" if rebooted else "its supervisor was killed"
            registry.put(
                replace(
                    record,
                    status=Status.EXITED,
                    process=None,
                    ports=(),
                    exit_code=None,
                    finished_at=time.time(),
                    error=f"{why}; the exit code is unknown",
                    health=Health.NONE,
                )
            )


def _sweep_directories(parts: Parts) -> None:
    """Directories of containers that no record knows: a create that was killed."""
    known = {r.id for r in parts.registry.all()}
    parent = parts.paths.root / "containers"
    for entry in parent.iterdir() if parent.is_dir() else ():
        if entry.name not in known:
            shutil.rmtree(entry, ignore_errors=True)
