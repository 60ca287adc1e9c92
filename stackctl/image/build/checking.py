"""The checks of a build: what `lint` has to know of images and contexts, and what is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from stackctl.errors import DockerfileError, DockerfileErrors, Place, StackctlError
from stackctl.image.build import graph
from stackctl.image.build.lint import Around, Base, Finding, lint
from stackctl.model.reference import HOST

if TYPE_CHECKING:
    from stackctl.image.build.build import Build


async def tell(build: Build, stages: Iterable[int]) -> int:
    """A warning for each finding in the file and in these stages; how many there are."""
    found = await asyncio.to_thread(_findings, build, stages)
    for finding in found:
        build.progress.warn(str(finding), str(Place(build.file.file, finding.line)))
    return len(found)


async def insist(build: Build) -> None:
    """`check=error=true`: raises DockerfileErrors for all findings, before anything is done."""
    for index in build.graph.needed:
        match build.base_of(index):
            case graph.FromImage(reference=reference):
                await build.image_state(reference)
    found = await asyncio.to_thread(_findings, build, build.graph.needed)
    if found:
        hint = "the checks of this build are errors (check=error=true)"
        places = [(str(each), Place(build.file.file, each.line)) for each in found]
        raise DockerfileErrors(
            tuple(DockerfileError(text, hint=hint, place=place) for text, place in places)
        )


def _findings(build: Build, stages: Iterable[int]) -> list[Finding]:
    context = build.context
    around = Around(
        platform=build.platform_arguments,
        origin=build.base_of,
        image=lambda reference: _image(build, reference),
        is_ignored=lambda path: bool(context.ignore) and context.ignore.hides(_plain(path)),
    )
    return lint(build.file, tuple(stages), around)


def _plain(path: str) -> str:
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def _image(build: Build, reference: str) -> Base:
    """What an image brings along, if it is here and brings no instructions of its own."""
    try:
        found = build.store.find(reference)
        config = build.store.config(found[0]).get("config") or {} if found else None
    except StackctlError:
        config = None
    if config is None or config.get("OnBuild") or reference == HOST:
        return Base()
    names = (pair.partition("=")[0] for pair in config.get("Env") or ())
    return Base(variables=frozenset(names), has_shell=bool(config.get("Shell")))
