"""What is: ps, ls, port, top, images, events, version, info, doctor."""

from __future__ import annotations

import asyncio
import os
import platform
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any

import stackctl
from stackctl.daemon.creation import Creation
from stackctl.daemon.inspection import command_line
from stackctl.daemon.jobs import Message
from stackctl.daemon.parts import Parts
from stackctl.daemon.process_table import process_row
from stackctl.daemon.projects import Projects
from stackctl.errors import NotFound
from stackctl.model.container import (
    BindMount,
    Health,
    ImageMount,
    Mount,
    Status,
    TmpfsMount,
    VolumeMount,
)
from stackctl.model.port_runs import port_runs
from stackctl.model.record import ContainerRecord
from stackctl.scheduler.survey import check_names

API_VERSION = "1.51"


class ShowVerbs:
    def __init__(self, parts: Parts, projects: Projects, creation: Creation) -> None:
        self._parts = parts
        self._creation = creation
        self._projects = projects

    async def ps(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """One row a container, in docker compose's field names; `size` counts what it wrote.

        Of one-offs with `all` only, as with compose.
        """
        everything = bool(body.get("all"))
        for record in await self._projects.chosen(body, oneoff=everything):
            if everything or record.status.is_alive or record.status is Status.RESTARTING:
                row = container_row(record, labels=bool(body.get("labels")))
                if body.get("size"):
                    row["SizeRw"] = await self._creation.writable_size(record)
                yield {"type": "row", **row}
        yield {"type": "result", "exit_code": 0}

    async def ls(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """One row a project: name, how many containers in which state, its files.

        As with compose those that have ended count with `all` only.
        """
        stacks = {s.name: s for s in self._parts.registry.store.stacks()}
        by_project: dict[str, list[ContainerRecord]] = {}
        everything = bool(body.get("all"))
        for record in self._parts.registry.all():
            if record.config.project and (everything or record.status.needs_stop):
                by_project.setdefault(record.config.project, []).append(record)
        for name, records in sorted(by_project.items()):
            counts = Counter(record.seen_status for record in records)
            stack = stacks.get(name)
            yield {
                "type": "row",
                "Name": name,
                "Status": ", ".join(f"{s}({n})" for s, n in sorted(counts.items())),
                "ConfigFiles": ",".join(stack.files) if stack else "",
            }
        yield {"type": "result", "exit_code": 0}

    async def port(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Where a container's port is published: HOST:PORT. Of each when none is named."""
        name = await self._projects.name(body)
        service, private = str(body.get("service")), int(body.get("private_port") or 0)
        protocol = str(body.get("protocol") or "tcp")
        record = self._projects.one(name, service, int(body.get("index") or 0))
        found = not private
        for port in record.ports:
            if private and (found or (port.container_port, port.protocol) != (private, protocol)):
                continue
            found = True
            address = f"[{port.host_ip}]" if ":" in port.host_ip else port.host_ip
            yield {
                "type": "row",
                "ContainerPort": f"{port.container_port}/{port.protocol}",
                "Address": f"{address}:{port.host_port}",
            }
        if not found:
            raise NotFound(
                f'service "{service}" publishes no port {private}/{protocol}',
                hint="it publishes: " + (_ports_text(record) or "nothing"),
            )
        yield {"type": "result", "exit_code": 0}

    async def top(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """The processes of each running container, as `ps -ef` has them."""
        for record in await self._projects.chosen(body, all=False):
            for process in await self._parts.runtime.processes(record):
                yield {"type": "row", "Container": record.name, **process_row(process)}
        yield {"type": "result", "exit_code": 0}

    async def events(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Container events of the project, from `since` on and then as they happen."""
        name = await self._projects.name(body)
        services = frozenset(body.get("services") or ())
        check_names(services, await self._projects.known(body, name, tuple(services)))
        since, until = float(body.get("since") or 0), float(body.get("until") or 0)

        def wanted(attributes: Mapping[str, str]) -> bool:
            return attributes.get("com.docker.compose.project") == name and (
                not services or attributes.get("com.docker.compose.service") in services
            )

        events = self._parts.events
        with events.subscribe() as subscription:
            for event in events.since(since) if since else ():
                if wanted(event.attributes) and (not until or event.time <= until):
                    yield event.to_json()
            if until and until <= time.time():
                yield {"type": "result", "exit_code": 0}
                return
            try:
                async with asyncio.timeout(until - time.time() if until else None):
                    async for event in subscription:
                        if wanted(event.attributes):
                            yield event.to_json()
            except TimeoutError:
                pass
        yield {"type": "result", "exit_code": 0}

    async def version(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        yield {
            "type": "result",
            "exit_code": 0,
            "Version": stackctl.__version__,
            "ApiVersion": API_VERSION,
            "PythonVersion": platform.python_version(),
            "KernelVersion": platform.release(),
            "Os": "linux",
            "Arch": platform.machine(),
        }

    async def info(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """The engine and its machine in figures."""
        records = self._parts.registry.all()
        paths = self._parts.paths
        yield {
            "type": "result",
            "exit_code": 0,
            "Version": stackctl.__version__,
            "Root": str(paths.root),
            "Run": str(paths.run),
            "Tag": paths.tag,
            "Pid": os.getpid(),
            "Containers": len(records),
            "ContainersRunning": sum(r.status is Status.RUNNING for r in records),
            "ContainersPaused": sum(r.status is Status.PAUSED for r in records),
            "ContainersStopped": sum(not r.status.is_alive for r in records),
            "Networks": len(tuple(self._parts.registry.store.networks())),
            "Volumes": len(tuple(self._parts.registry.store.volumes())),
            "Stacks": sorted({r.config.project for r in records if r.config.project}),
            "KernelVersion": platform.release(),
            "CPUs": os.cpu_count(),
            "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        }

    async def doctor(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """What this kernel and machine can and cannot do, tried."""
        from stackctl.runtime.doctor import examine

        worst = 0
        for finding in await asyncio.to_thread(examine, self._parts.paths):
            worst = max(worst, 1 if finding.state == "bad" else 0)
            yield {
                "type": "row",
                "Name": finding.name,
                "State": finding.state,
                "Fact": finding.fact,
                "Advice": finding.advice,
            }
        for found in await self._parts.net.findings():
            yield {
                "type": "row",
                "Name": found.part,
                "State": "warn" if found.is_problem else "ok",
                "Fact": found.text,
                "Advice": found.hint,
            }
        yield {"type": "result", "exit_code": worst}


def container_row(record: ContainerRecord, *, labels: bool = False) -> Message:
    """A row of ps, as docker compose's --format json has it."""
    config = record.config
    return {
        "ID": record.id[:12],
        "FullID": record.id,
        "Name": record.name,
        "Names": record.name,
        "Project": config.project,
        "Service": config.service,
        "Image": config.image,
        "Command": command_line(config.argv),
        "State": str(record.seen_status),
        "Status": status_text(record, time.time()),
        "Health": "" if record.health is Health.NONE else str(record.health),
        "ExitCode": record.exit_code or 0,
        "CreatedAt": record.created_at,
        "StartedAt": record.started_at,
        "RunningFor": _ago(time.time() - record.created_at),
        "Ports": ", ".join(filter(None, (_ports_text(record), _exposed_text(record)))),
        "Publishers": [
            {
                "URL": p.host_ip,
                "TargetPort": p.container_port,
                "PublishedPort": p.host_port,
                "Protocol": p.protocol,
            }
            for p in record.ports
        ]
        + [
            {"URL": "", "TargetPort": number, "PublishedPort": 0, "Protocol": protocol}
            for number, protocol in _only_exposed(record)
        ],
        "Labels": ",".join(f"{k}={v}" for k, v in config.labels.items()),
        "Networks": [e.network for e in record.endpoints] or [config.network_mode],
        "Mounts": list(filter(None, map(_mount_name, config.mounts))),
        "LocalVolumes": sum(isinstance(m, VolumeMount) for m in config.mounts),
        # Labels by name for who asks for one: the text cannot be taken apart again.
        **({"LabelMap": dict(config.labels)} if labels else {}),
    }


def _mount_name(mount: Mount) -> str:
    """A volume's name or what is mounted, as docker lists it; memory has neither."""
    match mount:
        case VolumeMount():
            return mount.volume
        case BindMount():
            return mount.source
        case ImageMount():
            return mount.image
        case TmpfsMount():
            return ""


def status_text(record: ContainerRecord, now: float) -> str:
    """ "Up 3 seconds (healthy)", "Exited (137) 2 minutes ago"."""
    match record.seen_status:
        case Status.RUNNING | Status.PAUSED:
            text = f"Up {_span(now - record.started_at)}"
            if record.error:
                # It runs, but not as it should: a published port was lost.
                text += f", {record.error}"
            if record.status is Status.PAUSED:
                return f"{text} (Paused)"
            if record.health is Health.STARTING:
                return f"{text} (health: starting)"
            return text if record.health is Health.NONE else f"{text} ({record.health})"
        case Status.EXITED:
            code = "unknown" if record.exit_code is None else record.exit_code
            return f"Exited ({code}) {_ago(now - record.finished_at)}"
        case Status.RESTARTING:
            return f"Restarting ({record.exit_code}) {_ago(now - record.finished_at)}"
        case _:
            return str(record.seen_status).capitalize()


def _span(seconds: float) -> str:
    """A length of time as docker words it, in its largest whole unit."""
    seconds = max(seconds, 0.0)
    if seconds < 1:
        return "Less than a second"
    for size, unit in ((604800, "week"), (86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count != 1 else ''}"
    count = int(seconds)
    return f"{count} second{'s' if count != 1 else ''}"


def _ago(seconds: float) -> str:
    return f"{_span(seconds)} ago"


def _only_exposed(record: ContainerRecord) -> list[tuple[int, str]]:
    """Ports of a running container that others may use, and that nobody has published."""
    published = {(p.container_port, p.protocol) for p in record.ports}
    found = [text.partition("/") for text in record.config.expose if record.status.is_alive]
    ports = {(int(number), protocol or "tcp") for number, _, protocol in found if number.isdigit()}
    return sorted(ports - published)


def _exposed_text(record: ContainerRecord) -> str:
    ports = ((protocol, number, number) for number, protocol in _only_exposed(record))
    return ", ".join(f"{numbers}/{protocol}" for protocol, numbers, _ in port_runs(ports))


def _ports_text(record: ContainerRecord) -> str:
    ports = (((p.host_ip, p.protocol), p.host_port, p.container_port) for p in record.ports)
    return ", ".join(
        f"{f'[{address}]' if ':' in address else address}:{outside}->{inside}/{protocol}"
        for (address, protocol), outside, inside in port_runs(ports)
    )
