"""Builds images from Dockerfiles: only the stages that are needed, independent ones at once.

The builder itself executes nothing: RUN goes to a `Runner` that the engine gives, and
everything else is files. All blocking work happens in threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

from stackctl.image.build import cache
from stackctl.image.build.build import Build, end
from stackctl.image.build.cache_mounts import CacheMounts
from stackctl.image.build.contexts import Contexts
from stackctl.image.build.copying import Digests
from stackctl.image.build.request import BuildRequest, Emit, Engine
from stackctl.image.build.turns import Turns
from stackctl.image.host import HostImage
from stackctl.image.removal import remove_tree
from stackctl.image.store import Store
from stackctl.model.image import Image
from stackctl.state.paths import Paths

#: Cache entries that nobody used for this long go when an engine begins to build (seconds).
_FORGOTTEN = 14 * 86400.0


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
        self.cache_mounts = CacheMounts(self.home / "mounts")
        self.digests = Digests()
        #: Equal steps of builds that run at once are done once; and mounts that are not shared.
        self.steps = Turns()
        self.mounts = Turns()
        self._under_way: dict[str, asyncio.Task[Image]] = {}

    def sweep(self) -> None:
        """At start: what a killed build left behind. Blocking."""
        remove_tree(self.home / "work")
        self.cache.prune(_FORGOTTEN)
        self.cache_mounts.sweep()
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
            await end([task])

    async def check(self, request: BuildRequest, emit: Emit) -> int:
        """How many of its checks the Dockerfile does not pass; each is told as a warning.

        Nothing is built and nothing pulled. Raises StackctlError for what could not be built.
        """
        async with self._work() as (work, contexts):
            return await Build(self, request, emit, work, contexts).check()

    async def build_base(self, request: BuildRequest, emit: Emit) -> Image:
        """What another build is based on: the same build when it is under way already.

        Otherwise it was made a moment ago, or nobody else asks for it: never without cache.
        """
        task = self._under_way.get(_mark_of(request))
        if task is not None:
            return await asyncio.shield(task)
        return await self.build(replace(request, no_cache=False, no_cache_stages=()), emit)

    async def _build(self, request: BuildRequest, emit: Emit) -> Image:
        async with self._work() as (work, contexts):
            with self.store.lease():
                return await Build(self, request, emit, work, contexts).run()

    @contextlib.asynccontextmanager
    async def _work(self) -> AsyncIterator[tuple[Path, Contexts]]:
        """A directory of one build, and its contexts."""
        work = self.home / "work" / secrets.token_hex(8)
        await asyncio.to_thread(work.mkdir, mode=0o700, parents=True)
        contexts = Contexts(work)
        try:
            yield work, contexts
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


def _mark_of(request: BuildRequest) -> str:
    return repr(request) + repr(sorted(request.secrets.items()))
