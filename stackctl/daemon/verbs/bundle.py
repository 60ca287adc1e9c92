"""bundle, unbundle: a stack and its images in one file, and back; no registry is needed for it."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stackctl.daemon.engine import Engine
from stackctl.daemon.jobs import Emit, Message
from stackctl.daemon.projects import Project, Projects
from stackctl.daemon.verbs import asking
from stackctl.daemon.verbs.image import absolute, streamed
from stackctl.daemon.verbs.planning import Planning, warning_messages
from stackctl.errors import Conflict, ImageError
from stackctl.image import lockfile
from stackctl.image.bundle import (
    BundledImage,
    Contents,
    Description,
    read_project,
    relative_sources,
    write_project,
)
from stackctl.image.service import CALLER, Images
from stackctl.model.reference import parse
from stackctl.scheduler.desired import UpPolicy

_STACK_FILE = "stack.yaml"


class BundleVerbs:
    def __init__(self, images: Images, projects: Projects, engine: Engine) -> None:
        self._images = images
        self._projects = projects
        self._planning = Planning(projects)
        self._engine = engine

    async def bundle(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Pull and build what is missing, then write the file `output` (default: beside the
        stack, PROJECT.bundle.tar); it appears when it is complete."""
        from stackctl.daemon.verbs.stack import carry_out
        from stackctl.scheduler.plan import image_plan

        project = await self._projects.load(body)
        for warning in warning_messages(project):
            yield warning
        output = Path(str(body.get("output") or f"{project.name}.bundle.tar"))
        output = Path(str((body.get("project") or {}).get("cwd") or "/")) / output

        async def work(emit: Emit) -> Message:
            CALLER.set(asking.caller(body, emit))
            desired, observed = await self._planning.look(project, body)
            services = tuple(service.name for service in desired.services)
            plan = image_plan(desired, observed, UpPolicy(services=services))
            if plan:
                await carry_out(plan, self._engine, emit)
            return await self._written(project, output, emit)

        async for message in streamed(work):
            yield message

    async def _written(self, project: Project, output: Path, emit: Emit) -> Message:
        images = [
            await self._bundled(project, name)
            for name in dict.fromkeys(_names(project))
            if name and not parse(name).is_host
        ]
        contents, outside = _contents(project, images)
        for path in outside:
            emit(
                {
                    "type": "warning",
                    "text": f"{path} is outside of the project's directory and not in the bundle: "
                    "the other machine has to have it",
                    "place": "",
                }
            )
        description = Description(project=project.name, images=tuple(images))

        def write() -> int:
            from stackctl.image.archive import save

            new = output.with_name(f".{output.name}-{secrets.token_hex(4)}.part")
            try:
                # Secrets of the stack are in it.
                descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with open(descriptor, "wb", buffering=1 << 20) as file:
                    save(
                        self._images.store,
                        [self._saved_as(image) for image in images],
                        file.write,
                        lambda write: write_project(write, description, contents),
                    )
                    size = file.tell()
                new.rename(output)
            finally:
                new.unlink(missing_ok=True)
            return size

        size = await self._images.blocking(write, f"write {output}")
        return {
            "type": "result",
            "exit_code": 0,
            "path": str(output),
            "size": size,
            "images": len(images),
        }

    def _saved_as(self, image: BundledImage) -> str:
        """By its name, so that other tools know it too, unless that means something else here."""
        found = self._images.store.find(image.name)
        return image.name if found is not None and found[0] == image.id else image.id

    async def _bundled(self, project: Project, name: str) -> BundledImage:
        pinned = project.stack.pins.get(name, "")
        image = await self._images.resolve(pinned or name)
        digest = (
            pinned.partition("@")[2]
            or parse(name).digest
            or self._images.known_digest(name)
            # One that was built here: the bundle is where it comes from.
            or self._images.store.record(image.id).manifest
        )
        return BundledImage(name=name, id=image.id, digest=digest)

    async def unbundle(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Load the images of `input` and make the directory `directory` with the stack file.

        The directory must not exist, or be empty; it appears when it is complete.
        """
        source, parent = absolute(body, "input"), absolute(body, "parent")
        wanted = str(body.get("directory") or "")

        def work() -> tuple[Path, Description]:
            from stackctl.image.archive import load

            new = parent / f".unbundle-{secrets.token_hex(4)}"
            new.mkdir(mode=0o755)
            try:
                with open(source, "rb", buffering=0) as file:
                    description = read_project(file.read, new)
                target = parent / (wanted or _directory(description))
                if target.exists() and any(target.iterdir()):
                    raise Conflict(
                        f"{target} exists, and has something in it",
                        hint="choose another directory: -C DIR",
                    )
                if description.images:
                    with open(source, "rb", buffering=0) as file:
                        loaded = {image.id for image in load(self._images.store, file.read)}
                    self._name(description, loaded)
                target.parent.mkdir(parents=True, exist_ok=True)
                new.rename(target)
            finally:
                shutil.rmtree(new, ignore_errors=True)
            return target, description

        target, description = await self._images.blocking(work, f"unpack {source}")
        for image in description.images:
            yield {"type": "row", "image": parse(image.name).familiar, "id": image.id}
        yield {
            "type": "result",
            "exit_code": 0,
            "path": str(target),
            "project": description.project,
        }

    def _name(self, description: Description, loaded: set[str]) -> None:
        for image in description.images:
            if image.id not in loaded:
                raise ImageError(f"the bundle lacks the image {image.name}")
            self._images.store.tag(image.id, image.name, pulled_by=image.digest)


def _directory(description: Description) -> str:
    name = description.project
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise ImageError("the bundle's project has no name that a directory can have")
    return name


def _names(project: Project) -> Iterator[str]:
    """Of all images that its services need."""
    from stackctl.spec.images import further

    for service in project.stack.services.values():
        yield service.image or ""
        for _, image in further(service):
            yield image


def _contents(project: Project, images: list[BundledImage]) -> tuple[Contents, tuple[str, ...]]:
    """The stack as one file that needs nothing but what is beside it."""
    from stackctl.spec.dump import as_data, escaped, yaml_or_json

    stack = replace(
        project.stack,
        services={
            name: service.model_copy(update={"build": None, "develop": None})
            for name, service in project.stack.services.items()
        },
    )
    data = as_data(stack)
    taken, outside = relative_sources(data, stack.project_dir)
    locks = {
        name: image.digest
        for image in images
        if image.digest and (name := lockfile.lockable(image.name))
    }
    texts = {_STACK_FILE: yaml_or_json(escaped(data), "yaml")}
    if locks:
        texts[lockfile.path_of(_STACK_FILE).name] = lockfile.text(locks)
    trees = {name: Path(path) for name, path in taken.items() if name not in texts}
    return Contents(texts=texts, trees=trees), tuple(outside)
