"""/containers: list, inspect, create, and what changes a container's life."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any

from stackctl.api.docker.call import Call, DockerError, Filters, NotModified, moment, object_at
from stackctl.api.docker.failures import (
    container_found,
    creation_failed,
    kill_failed,
    start_failed,
)
from stackctl.api.docker.port import DockerEngine, Message
from stackctl.api.docker.table import Table
from stackctl.daemon.process_table import start_shown
from stackctl.daemon.wish import CREATE, HOST_CONFIG, canonical, checked
from stackctl.errors import Conflict, NotFound, StackctlError
from stackctl.model.container import (
    BindMount,
    Health,
    ImageMount,
    Status,
    TmpfsMount,
    VolumeMount,
)
from stackctl.model.record import ContainerRecord

_FILTERS = (
    *("ancestor", "before", "expose", "exited", "health", "id", "isolation", "is-task", "label"),
    *("label!", "name", "network", "publish", "since", "status", "volume"),
)
_STATES = ("created", "restarting", "running", "removing", "paused", "exited", "dead")
_TITLES = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
_CONDITIONS = ("not-running", "next-exit", "removed")


class ContainerRoutes:
    def __init__(self, engine: DockerEngine) -> None:
        self._engine = engine
        #: Entries of lists as JSON without their end: a record that has not changed, is
        #: the same object, and most of what it says is the same in the next list.
        self._rendered: dict[str, tuple[ContainerRecord, bytes]] = {}

    def register(self, table: Table) -> None:
        add = table.add
        add("GET", "/containers/json", self.list)
        add("POST", "/containers/create", self.create)
        add("POST", "/containers/prune", self.prune)
        add("GET", "/containers/{id}/json", self.inspect)
        add("GET", "/containers/{id}/top", self.top)
        add("GET", "/containers/{id}/stats", self.stats)
        add("GET", "/containers/{id}/changes", self.changes)
        add("POST", "/containers/{id}/start", self.start)
        add("POST", "/containers/{id}/stop", self.stop)
        add("POST", "/containers/{id}/restart", self.restart)
        add("POST", "/containers/{id}/kill", self.kill)
        add("POST", "/containers/{id}/pause", self.pause)
        add("POST", "/containers/{id}/unpause", self.unpause)
        add("POST", "/containers/{id}/rename", self.rename)
        add("POST", "/containers/{id}/update", self.update)
        add("POST", "/containers/{id}/resize", self.resize)
        add("POST", "/containers/{id}/wait", self.wait)
        add("DELETE", "/containers/{id}", self.remove)

    def _find(self, call: Call) -> ContainerRecord:
        return container_found(self._engine, call["id"])

    # -- what is

    async def list(self, call: Call) -> None:
        filters = call.filters(_FILTERS)
        chosen = self._chosen(call, filters)
        if call.flag("size"):
            entries = []
            for record in chosen:
                entry = json.loads(self._entry(record))
                entry["SizeRw"], entry["SizeRootFs"] = await self._engine.sizes(record)
                entries.append(entry)
            await call.reply(entries)
            return
        linked = _linked_names(self._engine)
        rows = (
            _with_names(self._entry(record), linked[record.id])
            if record.id in linked
            else self._entry(record)
            for record in chosen
        )
        body = b"[" + b",".join(rows) + b"]\n"
        await call.exchange.respond(200, body, "application/json")

    def _entry(self, record: ContainerRecord) -> bytes:
        kept = self._rendered.get(record.id)
        if kept is None or kept[0] is not record:
            if len(self._rendered) > 2 * len(self._engine.containers()) + 16:
                self._rendered.clear()
            shape = json.dumps(self._engine.listed(record), separators=(",", ":")).encode()
            kept = self._rendered[record.id] = (record, shape[:-1])
        # Words and figures alone: nothing in it needs to be escaped.
        status = self._engine.status_text(record, time.time()).encode()
        return b'%b,"Status":"%b"}' % (kept[1], status)

    def _chosen(self, call: Call, filters: Filters) -> Sequence[ContainerRecord]:
        """Newest first; without `all` only what runs, unless a filter speaks of states."""
        limit = call.number("limit") or 0
        everything = call.flag("all") or limit > 0 or "status" in filters or "exited" in filters
        for status in filters["status"]:
            if status not in _STATES:
                raise DockerError(400, f"invalid filter 'status={status}'")
        records = sorted(self._engine.containers(), key=lambda r: r.created_at, reverse=True)
        if not filters:
            # What `ps` asks for most of the time.
            chosen = [r for r in records if everything or r.status.needs_stop]
            return chosen[:limit] if limit > 0 else chosen
        before = _moment_of(self._engine, filters, "before", default=float("inf"))
        since = _moment_of(self._engine, filters, "since", default=float("-inf"))
        chosen = [
            r
            for r in records
            if (everything or r.status.needs_stop)
            and since < r.created_at < before
            and _passes(filters, r)
        ]
        return chosen[:limit] if limit > 0 else chosen

    async def inspect(self, call: Call) -> None:
        record = self._find(call)
        shape = self._engine.inspected(record)
        if call.flag("size"):
            shape["SizeRw"], shape["SizeRootFs"] = await self._engine.sizes(record)
        await call.reply(shape)

    async def top(self, call: Call) -> None:
        record = self._find(call)
        if not record.status.is_alive:
            raise DockerError(409, f"container {record.id} is not running")
        words = call.text("ps_args").split()
        if words not in ([], ["-ef"]):
            titles, rows = await self._engine.processes_by_ps(record, words)
            await call.reply({"Titles": titles, "Processes": rows})
            return
        rows = [
            [
                *(str(p.uid), str(p.pid), str(p.ppid), "0"),
                *(start_shown(p.start_time), "?", _cpu_time(p.time), p.command),
            ]
            for p in await self._engine.processes(record)
        ]
        await call.reply({"Titles": _TITLES, "Processes": rows})

    async def stats(self, call: Call) -> None:
        """A sample a second; one alone with stream=false, with an earlier one to compare."""
        record = self._find(call)
        streams = call.flag("stream", default=True)
        sample = await self._engine.statistics(record)
        sample["precpu_stats"] = {}
        sample["preread"] = "0001-01-01T00:00:00Z"
        if not streams:
            if not call.flag("one-shot") and record.status.is_alive:
                await asyncio.sleep(1.0)
                sample = _after(sample, await self._engine.statistics(record))
            await call.reply(sample)
            return
        call.stream()
        await call.line(sample)
        while True:
            # The API's promise is a sample a second, whoever asks.
            await asyncio.sleep(1.0)
            try:
                record = self._engine.container(record.id)
                sample = _after(sample, await self._engine.statistics(record))
            except NotFound:
                break
            await call.line(sample)
        await call.exchange.end()

    async def changes(self, call: Call) -> None:
        await call.reply(await self._engine.changes(self._find(call)) or None)

    # -- what becomes

    async def create(self, call: Call) -> None:
        name, wish = call.text("name"), await call.body()
        if not wish:
            raise DockerError(400, "invalid JSON: got EOF while reading request body")
        if not wish.get("Image"):
            raise DockerError(400, "no image specified")
        endpoints = object_at(object_at(wish, "NetworkingConfig"), "EndpointsConfig")
        if call.version < (1, 44) and len(endpoints) > 1:
            raise DockerError(
                400, "Container cannot be created with multiple network endpoints before API 1.44"
            )
        try:
            record, warnings = await self._engine.create(
                name, _as_new(wish, call.version), call.text("platform")
            )
        except StackctlError as error:
            raise creation_failed(self._engine, error, name, str(wish["Image"])) from error
        await call.reply({"Id": record.id, "Warnings": warnings}, 201)

    async def start(self, call: Call) -> None:
        record = self._find(call)
        if record.status is Status.PAUSED:
            raise DockerError(409, "cannot start a paused container, try unpause instead")
        if record.status.is_alive:
            raise NotModified(f"container {record.name} is running")
        try:
            await self._engine.start(record)
        except StackctlError as error:
            raise start_failed(record, error) from error
        await call.done()

    async def stop(self, call: Call) -> None:
        record = self._find(call)
        if not record.status.needs_stop:
            raise NotModified(f"container {record.name} is not running")
        await self._engine.stop(record, _timeout(call), call.text("signal"))
        await call.done()

    async def restart(self, call: Call) -> None:
        record = self._find(call)
        try:
            await self._engine.restart(record, _timeout(call), call.text("signal"))
        except StackctlError as error:
            raise start_failed(record, error) from error
        await call.done()

    async def kill(self, call: Call) -> None:
        record = self._find(call)
        try:
            await self._engine.kill(record, call.text("signal") or "SIGKILL")
        except StackctlError as error:
            raise kill_failed(record, error) from error
        await call.done()

    async def pause(self, call: Call) -> None:
        record = self._find(call)
        if record.status is Status.PAUSED:
            raise DockerError(409, f"container {record.id} is already paused")
        if not record.status.is_alive:
            raise DockerError(409, f"container {record.id} is not running")
        await self._engine.pause(record)
        await call.done()

    async def unpause(self, call: Call) -> None:
        record = self._find(call)
        if record.status is not Status.PAUSED:
            raise DockerError(409, f"Container {record.id} is not paused")
        await self._engine.unpause(record)
        await call.done()

    async def rename(self, call: Call) -> None:
        record, name = self._find(call), call.text("name").removeprefix("/")
        if not name:
            raise DockerError(400, "Neither old nor new names may be empty")
        if name == record.name:
            raise DockerError(
                400, "Error when allocating new name: new name is the same as the old one"
            )
        try:
            await self._engine.rename(record, name)
        except NotFound:
            raise  # it was removed meanwhile
        except StackctlError as error:
            raise creation_failed(self._engine, error, name, record.config.image) from error
        await call.done()

    async def update(self, call: Call) -> None:
        wish = await call.body()
        record = self._find(call)
        checked(wish, HOST_CONFIG)
        await call.reply({"Warnings": await self._engine.update(record, wish)})

    async def resize(self, call: Call) -> None:
        record = self._find(call)
        if not record.status.is_alive:
            raise DockerError(409, f"cannot resize: container {record.id} is not running")
        width, height = size(call)
        await self._engine.resize(record, width, height)
        await call.done(200)

    async def wait(self, call: Call) -> None:
        record = self._find(call)
        condition = call.text("condition") or "not-running"
        if condition not in _CONDITIONS:
            raise DockerError(400, f'invalid condition: "{condition}"')
        waiting = asyncio.ensure_future(self._engine.wait(record, condition))
        try:
            # It must be waiting when the client reads the head: what it does next is start.
            await asyncio.sleep(0)
            call.stream()
            code, error = await waiting
        finally:
            waiting.cancel()
        result: Message = {"StatusCode": code}
        if error:
            result["Error"] = {"Message": error}
        await call.line(result)
        await call.exchange.end()

    async def remove(self, call: Call) -> None:
        record = self._find(call)
        if call.flag("link"):
            raise DockerError(400, "links are not kept apart from their containers")
        force = call.flag("force")
        if record.status.needs_stop and not force:
            state = "paused" if record.status is Status.PAUSED else "running"
            raise DockerError(
                409,
                f'cannot remove container "/{record.name}": container is {state}: '
                "stop the container before removing or force remove",
            )
        if record.status is Status.REMOVING:
            raise DockerError(409, f"removal of container {record.id} is already in progress")
        await self._engine.remove(record, force=force, volumes=call.flag("v"))
        await call.done()

    async def prune(self, call: Call) -> None:
        filters = call.filters(("until", "label", "label!"))
        limit = min((moment(text) for text in filters["until"]), default=float("inf"))
        deleted, reclaimed = [], 0
        for record in self._engine.containers():
            labels = record.config.labels
            if (
                record.status in (Status.CREATED, Status.EXITED, Status.DEAD)
                and record.created_at < limit
                and filters.labels(labels)
                and filters.without_labels(labels)
            ):
                try:
                    used, _ = await self._engine.sizes(record)
                    await self._engine.remove(record, force=False, volumes=False)
                except (Conflict, NotFound):
                    continue  # it was started, or removed, meanwhile
                deleted.append(record.id)
                reclaimed += used
        await call.reply({"ContainersDeleted": deleted, "SpaceReclaimed": reclaimed})


def _linked_names(engine: DockerEngine) -> dict[str, list[str]]:
    """By id: what others that link to a container call it."""
    found: dict[str, list[str]] = {}
    for record in engine.containers():
        for alias, target in record.config.links:
            try:
                other = engine.container(target)
            except (NotFound, Conflict):
                continue
            found.setdefault(other.id, []).append(f"/{record.name}/{alias}")
    return found


def _with_names(entry: bytes, more: Sequence[str]) -> bytes:
    shape = json.loads(entry)
    shape["Names"] += more
    return json.dumps(shape, separators=(",", ":")).encode()


def size(call: Call) -> tuple[int, int]:
    """Width and height of a terminal."""
    width, height = call.number("w"), call.number("h")
    if width is None or height is None or width < 0 or height < 0:
        raise DockerError(400, "w and h are the terminal's width and height")
    return min(width, 0xFFFF), min(height, 0xFFFF)


def _timeout(call: Call) -> float | None:
    seconds = call.number("t")
    if seconds is None:
        return None
    # Docker's clients say "without end" with a negative number.
    return float(seconds) if seconds >= 0 else 1e9


def _as_new(wish: Message, version: tuple[int, int]) -> Message:
    """An older client's create request as the newest would have made it."""
    wish = canonical(wish, CREATE)
    if isinstance(wish.get("HostConfig"), dict):
        wish["HostConfig"] = canonical(wish["HostConfig"], HOST_CONFIG)
    if isinstance(wish.get("Cmd"), str):
        wish["Cmd"] = [wish["Cmd"]]
    return wish


def _after(earlier: Message, sample: Message) -> Message:
    sample["precpu_stats"] = earlier["cpu_stats"]
    sample["preread"] = earlier["read"]
    return sample


def _cpu_time(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"


def _moment_of(engine: DockerEngine, filters: Filters, name: str, default: float) -> float:
    if name not in filters:
        return default
    return container_found(engine, filters[name][0]).created_at


def _passes(filters: Filters, record: ContainerRecord) -> bool:
    config, status = record.config, record.status
    shown = "running" if status is Status.STARTING else str(status)
    return (
        filters.exact("status", shown)
        and filters.matches("name", f"/{record.name}", record.name)
        and ("id" not in filters or any(record.id.startswith(i) for i in filters["id"]))
        and filters.labels(config.labels)
        and filters.without_labels(config.labels)
        and _exited(filters, record)
        and _descends(filters, record)
        and filters.exact("health", str(record.health if config.health else Health.NONE))
        and _networked(filters, record)
        and _mounted(filters, record)
        and _ported(filters, "publish", [(p.container_port, p.protocol) for p in record.ports])
        and _ported(filters, "expose", [_port(text) for text in config.expose])
        and not filters.one("is-task", default=False)
    )


def _exited(filters: Filters, record: ContainerRecord) -> bool:
    if "exited" not in filters:
        return True
    try:
        codes = [int(code) for code in filters["exited"]]
    except ValueError:
        raise DockerError(400, f"invalid filter 'exited={filters['exited'][0]}'") from None
    return record.status is Status.EXITED and (record.exit_code or 0) in codes


def _descends(filters: Filters, record: ContainerRecord) -> bool:
    config = record.config
    digest = config.image_id.removeprefix("sha256:")
    return "ancestor" not in filters or any(
        wanted in (config.image, config.image_id)
        or f"{wanted}:latest" == config.image
        or (":" not in wanted and config.image == f"{wanted}:latest")
        or (len(wanted) >= 4 and digest.startswith(wanted.removeprefix("sha256:")))
        for wanted in filters["ancestor"]
    )


def _networked(filters: Filters, record: ContainerRecord) -> bool:
    names = [record.config.network_mode, *(e.network for e in record.endpoints)]
    ids = [e.network_id for e in record.endpoints]
    return "network" not in filters or any(
        wanted in names or any(len(wanted) >= 4 and i.startswith(wanted) for i in ids)
        for wanted in filters["network"]
    )


def _mounted(filters: Filters, record: ContainerRecord) -> bool:
    places: list[str] = []
    for mount in record.config.mounts:
        match mount:
            case BindMount():
                places += (mount.source, mount.target)
            case VolumeMount():
                places += (mount.volume, mount.target)
            case TmpfsMount() | ImageMount():
                places.append(mount.target)
    return filters.exact("volume", *places)


def _port(text: str) -> tuple[Any, str]:
    number, _, protocol = text.partition("/")
    return (int(number) if number.isdigit() else number), protocol or "tcp"


def _ported(filters: Filters, name: str, ports: list[tuple[Any, str]]) -> bool:
    if name not in filters:
        return True
    for wanted in filters[name]:
        numbers, _, protocol = wanted.partition("/")
        first, _, last = numbers.partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            raise DockerError(400, f"invalid filter '{name}={wanted}'")
        low, high = int(first), int(last or first)
        if any(low <= n <= high and p == (protocol or "tcp") for n, p in ports):
            return True
    return False
