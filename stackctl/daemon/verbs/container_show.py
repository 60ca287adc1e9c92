"""Single containers: what they are, say and use."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from stackctl.daemon import filters, inspection
from stackctl.daemon.creation import Creation
from stackctl.daemon.jobs import Message
from stackctl.daemon.parts import Parts
from stackctl.daemon.process_table import by_ps, process_row
from stackctl.daemon.supervisor import Supervisor
from stackctl.daemon.verbs.logs import NO_LOG, Logs
from stackctl.daemon.verbs.show import container_row
from stackctl.errors import Conflict, NotFound, OperationFailed, StackctlError
from stackctl.model.record import ContainerRecord

Verb = Callable[[Mapping[str, Any]], AsyncIterator[Message]]

#: Between two looks of `stats`, and before the first difference can be shown.
_STATS_SECONDS = 1.0
_FIRST_SECONDS = 0.25


class ContainerShowVerbs:
    def __init__(
        self, parts: Parts, creation: Creation, supervisor: Supervisor, logs: Logs
    ) -> None:
        self._parts = parts
        self._creation = creation
        self._supervisor = supervisor
        self._logs = logs

    def table(self) -> dict[str, Verb]:
        return {
            "container-ls": self.ls,
            "container-inspect": self.inspect,
            "container-logs": self.logs,
            "container-top": self.top,
            "container-port": self.port,
            "container-stats": self.stats,
        }

    def _find(self, reference: object) -> ContainerRecord:
        return self._parts.registry.store.find_container(str(reference or ""))

    async def ls(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """One row a container, the latest first, with `docker ps`'s field names.

        `all`, `last` (a number), `size`, `labels` (by name), `filters`.
        """
        passes, ended_too = filters.containers(body.get("filters"), self._find)
        last = int(body.get("last") or 0)
        everything = bool(body.get("all")) or ended_too or last > 0
        records = sorted(self._parts.registry.all(), key=lambda r: r.created_at, reverse=True)
        records = [r for r in records if (everything or r.status.needs_stop) and passes(r)]
        for record in records[:last] if last > 0 else records:
            yield {"type": "row", **await self._row(record, body)}
        yield {"type": "result", "exit_code": 0}

    async def _row(self, record: ContainerRecord, body: Mapping[str, Any]) -> Message:
        row = {**container_row(record, labels=bool(body.get("labels"))), "ID": record.id}
        if body.get("size"):
            row["SizeRw"] = await self._creation.writable_size(record)
        return row

    async def inspect(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Rows in the shape of Docker's inspect; a failure for each that is not there."""
        code = 0
        for reference in body.get("containers") or ():
            try:
                record = self._find(reference)
            except StackctlError as error:
                code = 1
                yield {"type": "failure", "Name": reference, "error": error.to_json()}
                continue
            shape = self.inspected(record)
            if body.get("size"):
                shape["SizeRw"] = shape["SizeRootFs"] = await self._creation.writable_size(record)
            yield {"type": "row", "Name": reference, "Inspected": shape}
        yield {"type": "result", "exit_code": code}

    def inspected(self, record: ContainerRecord) -> Message:
        return inspection.inspected(
            record,
            directory=self._parts.paths.container(record.id),
            log=self._parts.paths.container_log(record.id),
            volume_path=self._volume_path,
            health_log=self._supervisor.health_log(record.id),
        )

    def _volume_path(self, name: str) -> str:
        volume = self._parts.registry.store.volume(name)
        return volume.mountpoint if volume is not None else ""

    def logs(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """`log` messages of one container, as `logs` of a stack; OperationFailed without one."""
        record = self._find(body.get("container"))
        if not record.config.logging.keeps:
            raise OperationFailed(f"container {record.name} {NO_LOG}")
        return self._logs.of([record], body)

    async def top(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Rows as `ps -ef` has them; with `options` a row of titles, then rows of cells."""
        record = self._find(body.get("container"))
        if not record.status.is_alive:
            raise Conflict(f"container {record.name} is not running")
        found = await self._parts.runtime.processes(record)
        if arguments := [str(word) for word in body.get("options") or ()]:
            titles, table = await by_ps({process.pid for process in found}, arguments)
            for cells in (titles, *table):
                yield {"type": "row", "Cells": cells}
        else:
            for process in found:
                yield {"type": "row", **process_row(process)}
        yield {"type": "result", "exit_code": 0}

    async def port(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """`ContainerPort` ("80/tcp") and `Address` ("0.0.0.0:8080") of each, or of `port`."""
        record = self._find(body.get("container"))
        wanted = str(body.get("port") or "")
        if wanted and "/" not in wanted:
            wanted += "/tcp"
        found = False
        for port in record.ports:
            key = f"{port.container_port}/{port.protocol}"
            if wanted in ("", key):
                found = True
                address = f"[{port.host_ip}]" if ":" in port.host_ip else port.host_ip
                yield {
                    "type": "row",
                    "ContainerPort": key,
                    "Address": f"{address}:{port.host_port}",
                }
        if wanted and not found:
            raise NotFound(f"container {record.name} does not publish port {wanted}")
        yield {"type": "result", "exit_code": 0}

    # -- stats

    async def stats(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Looks at containers (all that run when none is named), one a second.

        Each look is rows (`Round` counts them) with what each uses and, from the second on,
        what share of a CPU it had since the one before. `stream` False: two looks.
        """
        names = [str(name) for name in body.get("containers") or ()]
        for name in names:
            self._find(name)
        looks = -1 if body.get("stream", True) else 2
        before: dict[str, Any] = {}
        number = 0
        while looks < 0 or number < looks:
            if number:
                await asyncio.sleep(_FIRST_SECONDS if number == 1 else _STATS_SECONDS)
            number += 1
            now: dict[str, Any] = {}
            for record in self._watched(names, everything=bool(body.get("all"))):
                yield await self._look(record, number, before, now)
            yield {"type": "round", "Round": number}
            before = now
        yield {"type": "result", "exit_code": 0}

    def _watched(self, names: list[str], *, everything: bool) -> list[ContainerRecord]:
        if not names:
            records = self._parts.registry.all()
            return [r for r in records if everything or r.status.is_alive]
        found = []
        for name in names:
            try:
                found.append(self._find(name))
            except StackctlError:
                continue  # removed since
        return found

    async def _look(
        self, record: ContainerRecord, number: int, before: dict[str, Any], now: dict[str, Any]
    ) -> Message:
        row: Message = {"type": "row", "Round": number, "ID": record.id, "Name": record.name}
        try:
            stats = await self._parts.runtime.stats(record)
        except StackctlError:
            return row  # it does not run
        now[record.id] = stats
        earlier = before.get(record.id)
        usage = stats.usage
        row.update(
            Memory=usage.memory,
            MemoryLimit=usage.memory_limit or _memory_total(),
            Pids=usage.pids,
            Read=usage.read,
            Written=usage.written,
            Received=stats.received,
            Sent=stats.sent,
            Cpu=None,
        )
        if earlier is not None and stats.system_cpu > earlier.system_cpu:
            spent = (usage.cpu or 0.0) - (earlier.usage.cpu or 0.0)
            share = spent / (stats.system_cpu - earlier.system_cpu)
            row["Cpu"] = max(share, 0.0) * stats.processors * 100
        return row


def _memory_total() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
