"""One build under way: its context, its stages with their bases, their files, their steps."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import platform as machine
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackctl.errors import ImageError, NotFound, UsageError
from stackctl.image import base
from stackctl.image.build import checking, delivery, graph, remote
from stackctl.image.build import instructions as ins
from stackctl.image.build.agents import Agents
from stackctl.image.build.cache_mounts import CacheMounts
from stackctl.image.build.contexts import Contexts, read_dockerfile
from stackctl.image.build.copying import Source
from stackctl.image.build.graph import FromContext, FromImage, FromNothing, FromStage, Origin
from stackctl.image.build.lines import Checks
from stackctl.image.build.parse import parse, trigger
from stackctl.image.build.progress import Progress
from stackctl.image.build.request import BuildRequest, Emit, Runner
from stackctl.image.build.saved import Caches, Directory, InRegistry
from stackctl.image.build.settings import DEFAULT_PATH, Settings
from stackctl.image.build.stage import StageRun, State
from stackctl.image.build.tree import Tree
from stackctl.image.drivers import Overlay, Part, distinct
from stackctl.image.removal import remove_tree
from stackctl.model.image import Image, OverlayMount, Snapshot
from stackctl.model.reference import HOST
from stackctl.model.reference import parse as parse_reference

if TYPE_CHECKING:
    from stackctl.image.build.builder import Builder

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
_IMAGE_SCHEME = "docker-image://"
_LAYOUT_SCHEME = "oci-layout://"
_SERVICE_SCHEME = "service:"
#: What changes when the machine's programs do; a derived image's layers are made on them.
_HOST_SIGNS = ("/var/lib/dpkg/status", "/var/lib/rpm", "/lib/apk/db/installed", "/usr/bin")


class Build:
    """One build under way; what its stages share."""

    file: ins.Dockerfile
    graph: graph.Graph
    context: Source
    lines: list[str]
    platform_arguments: dict[str, str]

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
        try:
            await self._prepare()
            with contextlib.ExitStack() as held:
                opened = self.caches.opened(self.progress.warn)
                self.imports = await asyncio.to_thread(held.enter_context, opened)
                return await self._run()
        finally:
            await self.agents.close()
            await asyncio.gather(*self._rubbish, return_exceptions=True)

    async def check(self) -> int:
        """Without a target all stages are looked into."""
        try:
            await self._prepare()
            every = range(len(self.file.stages))
            return await checking.tell(self, self.graph.needed if self.request.target else every)
        finally:
            await self.agents.close()

    async def _prepare(self) -> None:
        """Everything is read, and is such that it can be built."""
        request = self.request
        for platform in request.platforms:
            if not graph.same_platform(platform, self.platform):
                raise ImageError(
                    f"this machine builds for {self.platform} only, not for {platform[:60]}",
                    hint="build it on such a machine",
                )
        for name in request.names:
            parse_reference(name)
        if any(remote.is_git(x, context=True) for x in self._addresses()):
            self._contexts.git = await self.git()
        await asyncio.to_thread(self._read)
        self.platform_arguments = self._platform_arguments()
        self.graph = graph.graph(
            self.file,
            target=request.target,
            arguments=self.arguments,
            platform=self.platform_arguments,
            contexts=frozenset(request.contexts),
        )

    async def _run(self) -> Image:
        if self.file.checks.strict:
            await checking.insist(self)
        if unused := graph.unused(self.file, self.arguments):
            self.progress.warn(f"no ARG takes the build argument {', '.join(unused)}")
        try:
            tasks = [self._stage_task(index) for index in self.graph.needed]
            await _all(tasks)
            state = await self.stage(self.graph.target)
        finally:
            await end([*self._stages.values(), *self._images.values()])
            # Also after a failure, which may have come from what they tell.
            await checking.tell(self, self.graph.needed)
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
        """Context and Dockerfile. What is not there is told with the place that asks for it."""
        try:
            self._read_both(self.request)
        except NotFound as error:
            error.place = error.place or self.request.place
            raise

    def _read_both(self, request: BuildRequest) -> None:
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
        if given := self.arguments.get("BUILDKIT_DOCKERFILE_CHECK"):
            try:
                self.file = replace(self.file, checks=Checks.parse(given))
            except ValueError as error:
                raise UsageError(f"BUILDKIT_DOCKERFILE_CHECK: {error}") from None

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

    def base_of(self, index: int) -> Origin:
        return graph.base(self.file, index, self.graph, frozenset(self.request.contexts))

    async def _base(self, stage: ins.Stage) -> State:
        match self.base_of(stage.index):
            case FromStage(index=index):
                return await self.stage(index)
            case FromNothing():
                return _nothing()
            case FromContext(name=name):
                reference = await self.context_image(name)
                if not reference:
                    return _nothing(files_of=name)
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
            lower=distinct(parts[0].layers),
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
    def cache_mounts(self) -> CacheMounts:
        return self._builder.cache_mounts

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


async def _all(tasks: list[asyncio.Task[State]]) -> None:
    """Until all are done, or one failed; the first failure in the file's order is raised."""
    await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    failed = [t for t in tasks if t.done() and not t.cancelled() and t.exception() is not None]
    if failed:
        await failed[0]


async def end(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _nothing(files_of: str = "") -> State:
    """`scratch`, on which the files of a named context may be put first."""
    config = {"WorkingDir": "/", "Env": [f"PATH={DEFAULT_PATH}"]}
    return State(settings=Settings(config=config), files_of=files_of)
