"""The end of a build: its image in the store, in files, in a registry, as was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from stackctl.errors import MachineError, UsageError
from stackctl.image.build import cache, document, outputs
from stackctl.image.build.saved import INLINE, inline
from stackctl.image.build.tree import Tree
from stackctl.model.build import BuildOutput
from stackctl.model.image import Image
from stackctl.model.reference import parse

if TYPE_CHECKING:
    from stackctl.image.build.build import Build
    from stackctl.image.build.stage import State


async def deliver(build: Build, state: State) -> Image:
    """The image; the store keeps it only when some output says so. Raises StackctlError."""
    request, store = build.request, build.store
    wanted = request.outputs
    names = [*request.names, *(out.name for out in wanted if out.name and out.is_image)]
    kept = not wanted or any(out.is_image for out in wanted)
    before = set(store.index.records())
    image = await asyncio.to_thread(_publish, build, state, names if kept else [])
    first = request.names[0] if request.names else ""
    for out in wanted:
        if out.is_image or out.type == "cacheonly":
            continue
        name = out.name or first
        named = replace(out, name=str(parse(name))) if name else out
        with build.progress.vertex(f"exporting to {out.dest}"):
            await asyncio.to_thread(_write, build, named, image, lambda: build.tree_of(state, None))
    if any(out.push for out in wanted):
        if not names:
            raise UsageError("what is pushed needs a name", hint="-t NAME")
        for name in names:
            with build.progress.vertex(f"pushing {name}"):
                await build.engine.push(name)
    if not kept and image.id not in before:
        await asyncio.to_thread(store.remove, image.id)
    return image


def _write(build: Build, out: BuildOutput, image: Image, tree: Callable[[], Tree]) -> None:
    try:
        outputs.write(out, image, tree, build.store)
    except OSError as error:
        text = f"{out.dest} cannot be written: {error.strerror or error}"
        raise MachineError(text) from error


def _publish(build: Build, state: State, names: Sequence[str]) -> Image:
    found = document.of(state, build.request.labels, build.platform)
    history = [{k: v for k, v in entry.items() if k != "created"} for entry in state.history]
    # The same image built again is the same image: its time is that of the first build.
    key = cache.key(kind="image", document=found, history=history, epoch=build.epoch)
    known = None if build.request.no_cache else build.cache.find(key, build.imports)
    if known is None:
        known = cache.Entry(None, build.now())
        build.cache.put(key, known)
    build.used.add(key)
    document.date(found, state, known.created)
    if build.caches.inline:
        found[INLINE] = inline(build.cache.entries(build.used), state.layers)
    return build.store.put_image(found, state.layers, names)
