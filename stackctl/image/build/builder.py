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
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stackctl.errors import DockerfileError, ImageError, Place, UsageError
from stackctl.image import base
from stackctl.image.build import cache, delivery, graph, remote
from stackctl.image.build import instructions as ins
from stackctl.image.build.agents import Agents
from stackctl.image.build.contexts import Contexts, read_dockerfile
from stackctl.image.build.copying import Digests, Source
from stackctl.image.build.graph import FromContext, FromImage, FromNothing, FromStage, Origin
from stackctl.image.build.parse import parse, trigger
from stackctl.image.build.progress import Progress
from stackctl.image.build.request import BuildRequest, Emit, Engine, Runner
from stackctl.image.build.saved import Caches, Directory, InRegistry
from stackctl.image.build.settings import DEFAULT_PATH, Settings
from stackctl.image.build.stage import StageRun, State
from stackctl.image.build.tree import Tree
from stackctl.image.build.turns import Turns
from stackctl.image.drivers import Overlay, Part
from stackctl.image.host import HostImage
from stackctl.image.removal import remove_tree
from stackctl.image.store import Store
from stackctl.model.image import Image, OverlayMount, Snapshot
from stackctl.model.reference import HOST
from stackctl.model.reference import parse as parse_reference
from stackctl.state.paths import Paths

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
#: Cache entries that nobody used for this long go when an engine begins to build (seconds).
_FORGOTTEN = 14 * 86400.0
_IMAGE_SCHEME = "docker-image://"
_LAYOUT_SCHEME = "oci-layout://"
_SERVICE_SCHEME = "service:"
#: What changes when the machine's programs do; a derived image's layers are made on them.
_HOST_SIGNS = ("/var/lib/dpkg/status", "/var/lib/rpm", "/lib/apk/db/installed", "/usr/bin")


class Builder:
    """One an engine, which carries out RUN and finds or pulls what FROM names."""

    def __init__(
        self,
        paths: Paths,
        store: Store,
        host: HostImage,
        engine: Engine,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.paths = paths
        self.store = store
        self.host = host
        self.engine = engine
        self.clock = clock
        self.home = paths.root / "build"
        self.cache = cache.Cache(self.home / "cache", store)
        self.digests = Digests()
        #: Equal steps of builds that run at once are done once; and mounts that are not shared.
        self.steps = Turns()
        self.mounts = Turns()
        self._under_way: dict[str, asyncio.Task[Image]] = {}

    def sweep(self) -> None:
        """At start: what a killed build left behind. Blocking."""
        remove_tree(self.home / "work")
        self.cache.prune(_FORGOTTEN)
        remove_tree(self.paths.run / "build")

    async def build(self, request: BuildRequest, emit: Emit) -> Image:
        """The image, named as the request says. Raises StackctlError."""
        mark = _mark_of(request)
        task = asyncio.create_task(self._build(request, emit))
        self._under_way[mark] = task
        try:
            return await asyncio.shield(task)
        finally:
            if self._under_way.get(mark) is task:
                del self._under_way[mark]
            await _end([task])

    async def build_base(self, request: BuildRequest, emit: Emit) -> Image:
        """What another build is based on: the same build when it is under way already.

        Otherwise it was made a moment ago, or nobody else asks for it: never without cache.
        """
        task = self._under_way.get(_mark_of(request))
        if task is not None:
            return await asyncio.shield(task)
        return await self.build(replace(request, no_cache=False, no_cache_stages=()), emit)

    async def _build(self, request: BuildRequest, emit: Emit) -> Image:
        work = self.home / "work" / secrets.token_hex(8)
        await asyncio.to_thread(work.mkdir, mode=0o700, parents=True)
        contexts = Contexts(work)
        try:
            with self.store.lease():
                return await Build(self, request, emit, work, contexts).run()
        finally:
            contexts.close()
            await asyncio.to_thread(self._clean, work)

    def _clean(self, work: Path) -> None:
        remove_tree(work)
        remove_tree(self.secrets_of(work))
        with contextlib.suppress(OSError):
            work.parent.rmdir()  # its absence tells the next engine that no build was killed

    def secrets_of(self, work: Path) -> Path:
        """On the run-time file system: secrets do not come near the disk."""
        return self.paths.run / "build" / work.name


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
        self.engine = builder.engine
        self.runner: Runner = builder.engine.runner
        self.steps, self.mounts = builder.steps, builder.mounts
        self._emit = emit
        self.agents = Agents(request.ssh)
        self._contexts = contexts
        self._work = work
        self.progress = Progress(emit, request.names[0] if request.names else "")
        self.platform = own_platform()
        self.arguments: dict[str, str] = dict(request.arguments)
        self.epoch = _epoch(self.arguments.get("SOURCE_DATE_EPOCH", ""))
        cache_to = list(request.cache_to)
        if self.arguments.get("BUILDKIT_INLINE_CACHE") in ("1", "true"):
            cache_to.append("type=inline")
        self.caches = Caches(request.cache_from, cache_to, builder.engine.environment())
        self.imports: list[Directory | InRegistry] = []
        self.used: set[str] = set()
        self._stages: dict[int, asyncio.Task[State]] = {}
        self._images: dict[str, asyncio.Task[State]] = {}
        self._host_mark = ""
        self._rubbish: list[asyncio.Future[None]] = []

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
        try:
            if any(remote.is_git(x, context=True) for x in self._addresses()):
                self._contexts.git = await self.git()
            await asyncio.to_thread(self._read)
            with contextlib.ExitStack() as held:
                opened = self.caches.opened(self.progress.warn)
                self.imports = await asyncio.to_thread(held.enter_context, opened)
                return await self._run()
        finally:
            await self.agents.close()
            await asyncio.gather(*self._rubbish, return_exceptions=True)

    async def _run(self) -> Image:
        request = self.request
        self.graph = graph.graph(
            self.file,
            target=request.target,
            arguments=self.arguments,
            platform=self._platform_arguments(),
            contexts=frozenset(request.contexts),
        )
        for line, text in self.file.warnings:
            if self.file.strict:
                place = Place(self.file.file, line)
                raise DockerfileError(text, hint="the file says check=error=true", place=place)
            self.progress.warn(text, str(Place(self.file.file, line)))
        if unused := graph.unused(self.file, self.arguments):
            self.progress.warn(f"no ARG takes the build argument {', '.join(unused)}")
        try:
            tasks = [self._stage_task(index) for index in self.graph.needed]
            await _all(tasks)
            state = await self.stage(self.graph.target)
        finally:
            await _end([*self._stages.values(), *self._images.values()])
        image = await delivery.deliver(self, state)
        if self.caches.saves:
            entries = await asyncio.to_thread(self.cache.entries, self.used)
            await asyncio.to_thread(
                self.caches.save, entries, state.layers, self.store, self.progress.warn
            )
        return image

    def _addresses(self) -> list[str]:
        return [self.request.context, *self.request.contexts.values()]

    async def git(self) -> remote.Git:
        """With the caller's tokens, and the agent that was given for RUN."""
        agent = ""
        if self.agents.has("default"):
            agent = await self.agents.socket("default", self.secret_directory())
        return remote.Git(self.request.secrets, agent)

    def _read(self) -> None:
        """Context and Dockerfile."""
        request = self.request
        context, text = request.context, request.text
        if context.startswith(remote.HTTP) and not remote.is_git(context, context=True):
            found = self._contexts.downloaded(context)
            if not found.is_archive:
                # As docker build has it: the address is that of a Dockerfile.
                context, text = "", found.path.read_bytes() if text is None else text
        inside = not os.path.isabs(request.dockerfile) and text is None
        self.context = self._contexts.source(
            context, request.dockerfile if inside else "", title="the build context"
        )
        if text is not None:
            content, shown = text, request.dockerfile
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
        match graph.base(self.file, stage.index, self.graph, frozenset(self.request.contexts)):
            case FromStage(index=index):
                return await self.stage(index)
            case FromNothing():
                config = {"WorkingDir": "/", "Env": [f"PATH={DEFAULT_PATH}"]}
                return State(settings=Settings(config=config))
            case FromContext(name=name):
                reference = await self.context_image(name)
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
        always = self.request.pull and not reference.startswith("sha256:")
        image = await self.engine.base_image(reference, always)
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
        found = self.store.config(image.id)
        on_host = base.is_on_host(found)
        return State(
            settings=Settings(
                config=dict(found.get("config") or {}), author=str(found.get("author") or "")
            ),
            layers=list(self.store.layers(image.id)),
            history=list(found.get("history") or ()),
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

    async def context_image(self, name: str) -> str:
        """The image that a named context is, by reference or id; "" for files."""
        value = self.request.contexts[name]
        if value.startswith(_IMAGE_SCHEME):
            return value.removeprefix(_IMAGE_SCHEME)
        if value.startswith(_LAYOUT_SCHEME):
            return await asyncio.to_thread(self._contexts.layout, self.store, value)
        if value.startswith(_SERVICE_SCHEME):
            base = self.request.bases.get(value.removeprefix(_SERVICE_SCHEME))
            if base is None:
                raise ImageError(f"the context {name}={value[:80]} names nothing that is built")
            return (await self._builder.build_base(base, lambda message: None)).id
        return ""

    def named_context(self, name: str) -> Source:
        return self._contexts.source(self.request.contexts[name], title=f"the context {name!r}")

    @contextlib.asynccontextmanager
    async def work_directory(self) -> AsyncIterator[Path]:
        """For one step, with an empty "upper"; it goes while the next one works."""
        place = self._work / secrets.token_hex(6)
        # Not searchable by others, but the container's root passes through its layers only.
        place.mkdir(mode=0o700)
        (place / "upper").mkdir()
        (place / "upper").chmod(0o755)
        try:
            yield place
        finally:
            self._rubbish.append(asyncio.ensure_future(asyncio.to_thread(remove_tree, place)))

    def scratch(self) -> Path:
        place = self._work / "fetched"
        place.mkdir(exist_ok=True)
        return place

    def secret_directory(self) -> Path:
        place = self._builder.secrets_of(self._work)
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        return place

    @property
    def cache_mounts(self) -> Path:
        return self._builder.home / "mounts"

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
        last = self.file.stages[-1].name
        values["TARGETSTAGE"] = self.request.target or last or "default"
        return values


def own_platform() -> str:
    name = machine.machine()
    return f"linux/{_ARCHITECTURES.get(name, name)}"


def _epoch(text: str) -> int | None:
    if not text:
        return None
    if not text.isdecimal() or len(text) > 11:
        raise UsageError(f"SOURCE_DATE_EPOCH={text[:40]!r} is not a number of seconds")
    return int(text)


def _mark_of(request: BuildRequest) -> str:
    return repr(request) + repr(sorted(request.secrets.items()))


async def _all(tasks: list[asyncio.Task[State]]) -> None:
    """Until all are done, or one failed; the first failure in the file's order is raised."""
    await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    failed = [t for t in tasks if t.done() and not t.cancelled() and t.exception() is not None]
    if failed:
        await failed[0]


async def _end(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
