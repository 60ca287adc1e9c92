"""Builds images from Dockerfiles: only the stages that are needed, independent ones at once.

The builder itself executes nothing: RUN goes to a `Runner` that the engine gives, and
everything else is files. All blocking work happens in threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import platform as machine
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stackctl.errors import ImageError, Place, UsageError
from stackctl.image import base
from stackctl.image.build import cache, graph
from stackctl.image.build import instructions as ins
from stackctl.image.build.contexts import Contexts, read_dockerfile
from stackctl.image.build.copying import Digests, Source
from stackctl.image.build.graph import FromContext, FromImage, FromNothing, FromStage, Origin
from stackctl.image.build.parse import parse, trigger
from stackctl.image.build.progress import Progress
from stackctl.image.build.request import BaseImage, BuildRequest, Emit, Runner
from stackctl.image.build.settings import DEFAULT_PATH, Settings
from stackctl.image.build.stage import StageRun, State
from stackctl.image.build.tree import Tree
from stackctl.image.drivers import Overlay, Part
from stackctl.image.host import HostImage
from stackctl.image.reference import HOST
from stackctl.image.reference import parse as parse_reference
from stackctl.image.removal import remove_tree
from stackctl.image.store import Store
from stackctl.model.image import Image, OverlayMount, Snapshot
from stackctl.state.paths import Paths

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
#: Cache entries that nobody used for this long go when an engine begins to build (seconds).
_FORGOTTEN = 14 * 86400.0
_IMAGE_SCHEME = "docker-image://"
#: What changes when the machine's programs do; a derived image's layers are made on them.
_HOST_SIGNS = ("/var/lib/dpkg/status", "/var/lib/rpm", "/lib/apk/db/installed", "/usr/bin")


class Builder:
    """One an engine. `runner` carries out RUN, `base_image` finds or pulls what FROM names."""

    def __init__(
        self,
        paths: Paths,
        store: Store,
        host: HostImage,
        runner: Runner,
        base_image: BaseImage,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.paths = paths
        self.store = store
        self.host = host
        self.runner = runner
        self.base_image = base_image
        self.clock = clock
        self.home = paths.root / "build"
        self.cache = cache.Cache(self.home / "cache", store, clock)
        self.digests = Digests()
        self.cache_locks: dict[str, asyncio.Lock] = {}

    def sweep(self) -> None:
        """At start: what a killed build left behind. Blocking."""
        remove_tree(self.home / "work")
        self.cache.prune(_FORGOTTEN)
        remove_tree(self.paths.run / "build")

    async def build(self, request: BuildRequest, emit: Emit) -> Image:
        """The image, named as the request says. Raises StackctlError."""
        work = self.home / "work" / secrets.token_hex(8)
        await asyncio.to_thread(work.mkdir, mode=0o700, parents=True)
        contexts = Contexts(work)
        try:
            with self.store.lease():
                return await Build(self, request, emit, work, contexts).run()
        finally:
            contexts.close()
            await asyncio.to_thread(remove_tree, work)
            with contextlib.suppress(OSError):
                work.parent.rmdir()  # its absence tells the next engine that no build was killed


class Build:
    """One build under way; what its stages share."""

    file: ins.Dockerfile
    graph: graph.Graph
    context: Source
    lines: list[str]

    def __init__(
        self, builder: Builder, request: BuildRequest, emit: Emit, work: Path, contexts: Contexts
    ) -> None:
        self._builder = builder
        self.request = request
        self.store = builder.store
        self.cache = builder.cache
        self.digests = builder.digests
        self.runner = builder.runner
        self._contexts = contexts
        self._work = work
        self.progress = Progress(emit, request.names[0] if request.names else "")
        self.platform = own_platform()
        self.arguments: dict[str, str] = dict(request.arguments)
        self.epoch = _epoch(self.arguments.get("SOURCE_DATE_EPOCH", ""))
        self.imports = [_local(text, "src") for text in request.cache_from]
        self._exports = [_local(text, "dest") for text in request.cache_to]
        self.used: set[str] = set()
        self._stages: dict[int, asyncio.Task[State]] = {}
        self._images: dict[str, asyncio.Task[State]] = {}
        self._host_mark = ""

    async def run(self) -> Image:
        request = self.request
        for platform in request.platforms:
            if not graph.same_platform(platform, self.platform):
                raise ImageError(
                    f"this machine builds for {self.platform} only, not for {platform[:60]}",
                    hint="build it on such a machine",
                )
        for name in request.names:
            parse_reference(name)
        await asyncio.to_thread(self._read)
        self.graph = graph.graph(
            self.file,
            target=request.target,
            arguments=self.arguments,
            platform=self._platform_arguments(),
            contexts=frozenset(request.contexts),
        )
        for line, text in self.file.warnings:
            self.progress.warn(text, str(Place(self.file.file, line)))
        try:
            tasks = [self._stage_task(index) for index in self.graph.needed]
            await _all(tasks)
            state = await self.stage(self.graph.target)
        finally:
            await _end([*self._stages.values(), *self._images.values()])
        image = await asyncio.to_thread(self._publish, state)
        for place in self._exports:
            await asyncio.to_thread(self.cache.export, self.used, place)
        return image

    def _read(self) -> None:
        """Context and Dockerfile."""
        request = self.request
        inside = not os.path.isabs(request.dockerfile) and request.text is None
        self.context = self._contexts.source(
            request.context, request.dockerfile if inside else "", title="the build context"
        )
        if request.text is not None:
            content, shown = request.text, request.dockerfile
        else:
            content, shown = read_dockerfile(self.context, request.dockerfile)
        self.lines = content.decode(errors="replace").splitlines()
        self.file = parse(content, shown)

    # -- stages

    async def stage(self, index: int) -> State:
        return await asyncio.shield(self._stage_task(index))

    def _stage_task(self, index: int) -> asyncio.Task[State]:
        if index not in self._stages:
            self._stages[index] = asyncio.create_task(self._build_stage(index))
        return self._stages[index]

    async def _build_stage(self, index: int) -> State:
        stage = self.file.stages[index]
        state = (await self._base(stage)).branch()
        return await StageRun(self, stage, state).run()

    async def _base(self, stage: ins.Stage) -> State:
        origin = self.graph.bases[stage.index]
        match origin:
            case FromStage(index=index):
                return await self.stage(index)
            case FromNothing():
                config = {"WorkingDir": "/", "Env": [f"PATH={DEFAULT_PATH}"]}
                return State(settings=Settings(config=config))
            case FromContext(name=name):
                reference = self.context_image(name)
                if not reference:
                    raise ImageError(
                        f"the context {name!r} is a directory, and FROM needs an image",
                        hint="use it with COPY --from",
                        place=Place(self.file.file, stage.begin.first),
                    )
            case FromImage(reference=reference):
                pass
        title = f"{stage.title} " if len(self.graph.needed) > 1 else ""
        with self.progress.vertex(f"[{title}1] FROM {reference}", stage.begin.first) as vertex:
            state = await self.image_state(reference)
            vertex.cached()
        return state

    def triggers(self, stage: ins.Stage, state: State) -> list[ins.StageInstruction]:
        """The base's ONBUILD instructions, at the line of FROM."""
        begin = stage.begin
        return [
            replace(trigger(text, self.file.file, begin.first), first=begin.first, last=begin.last)
            for text in state.triggers
        ]

    def origin(self, stage: ins.Stage, name: str, made: ins.Instruction) -> Origin:
        return graph.origin(self.file, stage.index, name, made, frozenset(self.request.contexts))

    async def image_state(self, reference: str) -> State:
        """An image as a stage that is finished."""
        if reference not in self._images:
            self._images[reference] = asyncio.create_task(self._load_image(reference))
        return await asyncio.shield(self._images[reference])

    async def _load_image(self, reference: str) -> State:
        image = await self._builder.base_image(reference, self.request.pull)
        return await asyncio.to_thread(self._image_state, image)

    def _image_state(self, image: Image) -> State:
        if image.reference == HOST:
            config = image.config
            return State(
                settings=Settings(
                    config={
                        "Cmd": list(config.command),
                        "Env": list(config.env),
                        "WorkingDir": "/",
                    }
                ),
                on_host=True,
                host_mark=self._mark(),
                created=image.created_at,
            )
        document = self.store.config(image.id)
        on_host = base.is_on_host(document)
        return State(
            settings=Settings(
                config=dict(document.get("config") or {}), author=str(document.get("author") or "")
            ),
            layers=list(self.store.layers(image.id)),
            history=list(document.get("history") or ()),
            on_host=on_host,
            host_mark=self._mark() if on_host else "",
            created=image.created_at,
        )

    def _mark(self) -> str:
        """Changes when the machine's programs do."""
        if not self._host_mark:
            total = hashlib.sha256(self._builder.host.current().id.encode())
            for path in _HOST_SIGNS:
                with contextlib.suppress(OSError):
                    status = os.stat(path)
                    total.update(f"{path}\0{status.st_mtime_ns}\0{status.st_size}".encode())
            self._host_mark = total.hexdigest()
        return self._host_mark

    # -- files

    def _parts(self, state: State) -> tuple[Part, ...]:
        layers = self.store.unpacked.ensure(state.layers) if state.layers else ()
        if state.on_host:
            host = self._builder.host
            return base.stacked(layers, host.parts(host.current()))
        return (Part("/", layers or (str(self._empty()),)),)

    def snapshot(self, state: State, directory: Path) -> Snapshot:
        """Mounts for RUN: the first part's upper directory is <directory>/upper."""
        parts = self._parts(state)
        first = Overlay().prepare(directory / "parts", parts)
        (directory / "work").mkdir()
        root = OverlayMount(
            target="/",
            lower=parts[0].layers,
            upper=str(directory / "upper"),
            work=str(directory / "work"),
        )
        return Snapshot(mounts=(root, *first.mounts[1:]))

    def tree_of(self, state: State, upper: Path | None) -> Tree:
        parts = self._parts(state)
        top = [str(upper)] if upper else []
        return Tree(
            [*top, *parts[0].layers],
            mounts={part.target: part.layers[-1] for part in parts[1:]},
        )

    def _empty(self) -> Path:
        empty = self._work / "empty-root"
        empty.mkdir(exist_ok=True, mode=0o755)
        return empty

    def context_image(self, name: str) -> str:
        """The image that a named context is; "" for a directory."""
        value = self.request.contexts[name]
        return value.removeprefix(_IMAGE_SCHEME) if value.startswith(_IMAGE_SCHEME) else ""

    def named_context(self, name: str) -> Source:
        value = self.request.contexts[name]
        if "://" in value:
            raise ImageError(
                f"the context {name}={value[:80]} is of a kind that is not supported yet",
                hint="give a directory, or docker-image://REFERENCE",
            )
        return self._contexts.source(value, title=f"the context {name!r}")

    @contextlib.contextmanager
    def work_directory(self) -> Iterator[Path]:
        """For one step; gone after it."""
        place = self._work / secrets.token_hex(6)
        # Not searchable by others, but the container's root passes through its layers only.
        place.mkdir(mode=0o700)
        try:
            yield place
        finally:
            remove_tree(place)

    def scratch(self) -> Path:
        place = self._work / "fetched"
        place.mkdir(exist_ok=True)
        return place

    def secret_directory(self) -> Path:
        """On the run-time file system: secrets do not come near the disk."""
        place = self._builder.paths.run / "build" / self._work.name
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        return place

    @property
    def cache_mounts(self) -> Path:
        return self._builder.home / "mounts"

    def cache_lock(self, name: str) -> asyncio.Lock:
        return self._builder.cache_locks.setdefault(name, asyncio.Lock())

    def unique(self) -> str:
        return secrets.token_hex(8)

    # -- time and cache

    def skips_cache(self, stage: ins.Stage) -> bool:
        return self.request.no_cache or bool(
            {stage.name, str(stage.index)} & set(self.request.no_cache_stages)
        )

    def now(self) -> float:
        return float(self.epoch) if self.epoch is not None else self._builder.clock()

    def clamped(self, moment: float) -> float:
        return moment if self.epoch is None else min(moment, float(self.epoch))

    def _platform_arguments(self) -> dict[str, str]:
        system, _, architecture = self.platform.partition("/")
        values = {}
        for side in ("TARGET", "BUILD"):
            values[f"{side}PLATFORM"] = self.platform
            values[f"{side}OS"] = system
            values[f"{side}ARCH"] = architecture
            values[f"{side}VARIANT"] = ""
        values["TARGETSTAGE"] = self.request.target or "default"
        return values

    # -- the image

    def _publish(self, state: State) -> Image:
        config = dict(state.settings.config)
        if self.request.labels:
            config["Labels"] = {**(config.get("Labels") or {}), **self.request.labels}
        system, _, architecture = self.platform.partition("/")
        document: dict[str, Any] = {
            "architecture": architecture,
            "os": system,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in state.layers]},
        }
        if state.settings.author:
            document["author"] = state.settings.author
        if state.on_host:
            document[base.KEY] = base.HOST
        history = [{k: v for k, v in entry.items() if k != "created"} for entry in state.history]
        # The same image built again is the same image: its time is that of the first build.
        key = cache.key(kind="image", document=document, history=history, epoch=self.epoch)
        known = None if self.request.no_cache else self.cache.find(key, self.imports)
        if known is None:
            known = self.cache.put(key, None, self.now())
        self.used.add(key)
        document["created"] = _stamp(known.created)
        document["history"] = [
            {**entry, "created": _stamp(entry.get("created"), known.created)}
            for entry in state.history
        ]
        return self.store.put_image(document, state.layers, self.request.names)


def own_platform() -> str:
    name = machine.machine()
    return f"linux/{_ARCHITECTURES.get(name, name)}"


def _stamp(moment: object, otherwise: float = 0.0) -> str:
    """RFC 3339; texts of a base's history stay as they are."""
    if isinstance(moment, str):
        return moment
    seconds = moment if isinstance(moment, int | float) and moment else otherwise
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")
    return text.replace("+00:00", "Z").replace(".000000Z", "Z")


def _epoch(text: str) -> int | None:
    if not text:
        return None
    if not text.isdecimal() or len(text) > 11:
        raise UsageError(f"SOURCE_DATE_EPOCH={text[:40]!r} is not a number of seconds")
    return int(text)


def _local(text: str, key: str) -> Path:
    """The directory of `type=local,src=DIR` (or dest=DIR). Raises UsageError."""
    fields = dict(part.partition("=")[::2] for part in text.split(","))
    if fields.get("type", "registry" if "=" not in text else "") != "local":
        raise UsageError(
            f"the cache {text[:80]!r} is of a kind that is not supported yet",
            hint=f"use type=local,{key}=DIRECTORY",
        )
    place = fields.get(key) or fields.get("dest" if key == "src" else "src") or ""
    if not os.path.isabs(place):
        raise UsageError(f"the cache {text[:80]!r} has no {key}=DIRECTORY")
    return Path(place)


async def _all(tasks: list[asyncio.Task[State]]) -> None:
    """Until all are done, or one failed; the first failure in the file's order is raised."""
    await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    failed = [t for t in tasks if t.done() and not t.cancelled() and t.exception() is not None]
    if failed:
        await failed[0]


async def _end(tasks: list[asyncio.Task[State]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
