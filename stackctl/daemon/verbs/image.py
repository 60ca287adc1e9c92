"""Images: pull, push, ls, inspect, history, tag, rm, prune, save, load, import, verify; login.

And compose's pull, push and images for the services of a stack. Nothing here knows
HTTP or tar: stackctl.image does the work, in threads.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackctl.daemon.engine import Engine
from stackctl.daemon.jobs import Emit, Job, Message
from stackctl.daemon.parts import Parts
from stackctl.daemon.projects import Projects
from stackctl.daemon.verbs import asking, stack_images
from stackctl.errors import ImageError, NotFound, StackctlError, UsageError
from stackctl.image.service import CALLER
from stackctl.model.image import Image
from stackctl.model.reference import HOST, parse

if TYPE_CHECKING:
    from stackctl.image.registry.manifest import Platform

Verb = Callable[[Mapping[str, Any]], AsyncIterator[Message]]


class ImageVerbs:
    def __init__(self, parts: Parts, projects: Projects, engine: Engine) -> None:
        self._parts = parts
        self._images = parts.images
        self._projects = projects
        self._engine = engine

    def table(self) -> dict[str, Verb]:
        return {
            "image-pull": self.pull,
            "image-push": self.push,
            "image-tags": self.tags,
            "image-ls": self.ls,
            "image-inspect": self.inspect,
            "image-history": self.history,
            "image-tag": self.tag,
            "image-rm": self.rm,
            "image-prune": self.prune,
            "image-save": self.save,
            "image-load": self.load,
            "image-import": self.import_,
            "image-verify": self.verify,
            "login": self.login,
            "logout": self.logout,
            "pull": self.pull_stack,
            "push": self.push_stack,
            "images": self.images_of_stack,
        }

    # -- registries

    async def pull(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """`layer` messages, then the image's id and digest."""
        reference = str(body.get("reference") or "")

        async def work(emit: Emit) -> Message:
            CALLER.set(asking.caller(body, emit))
            if parse(reference).is_host:
                image = await self._images.resolve(reference)
                return _result(id=image.id, digest="", changed=False, reference=HOST)
            pulled = await self._images.fetch(reference, _platform(body))
            self._event("pull", reference, pulled.image.id)
            return _result(
                id=pulled.image.id,
                digest=pulled.digest,
                changed=pulled.changed,
                reference=str(parse(reference)),
            )

        async for message in streamed(work):
            yield message

    async def push(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        reference = str(body.get("reference") or "")
        await self._check_platform(body, reference)

        async def work(emit: Emit) -> Message:
            CALLER.set(asking.caller(body, emit))
            digest, size = await self._images.push(reference)
            self._event("push", reference, "")
            return _result(digest=digest, size=size, reference=str(parse(reference)))

        async for message in streamed(work):
            yield message

    async def tags(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """A row for each tag that the registry has of `reference`."""
        from stackctl.image.registry.look import tags

        reference, environment = parse(str(body.get("reference") or "")), asking.environment(body)
        work = partial(tags, environment, reference)
        for tag in await self._images.blocking(work, f"ask for {reference.familiar}"):
            yield {"type": "row", "tag": tag}
        yield _result()

    async def login(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Ask the registry whether it accepts the credentials, then keep them."""
        from stackctl.image.registry.login import login

        environment = asking.environment(body)
        server = str(body.get("server") or "")
        name, password = str(body.get("username") or ""), str(body.get("password") or "")
        where = await self._images.blocking(
            lambda: login(environment, server, name, password), "log in"
        )
        yield _result(where=where)

    async def logout(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        from stackctl.image.registry.login import logout

        environment, server = asking.environment(body), str(body.get("server") or "")
        found = await self._images.blocking(lambda: logout(environment, server), "log out")
        yield _result(found=found)

    # -- what there is

    async def ls(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Rows: repository, tag, digest, id, created (seconds), size (bytes), labels."""
        from stackctl.image.describe import rows

        everything = bool(body.get("all"))

        def work() -> list[dict[str, Any]]:
            return rows(self._images.store, all=everything)

        host = await self._images.resolve(HOST)
        found = await self._images.blocking(work, "list the images")
        own: Message = {"repository": HOST, "tag": "latest", "digest": "", "labels": {}}
        own |= {"id": host.id, "created": host.created_at, "size": host.size}
        for row in (*found, own):
            yield {"type": "row", **row}
        yield _result()

    async def inspect(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        from stackctl.image.describe import built_in, inspect

        for name in _names(body):
            if host := await self._built_in(name):
                yield {"type": "row", **built_in(host)}
                continue
            image_id = await self._id(name)
            await self._check_platform(body, name)
            work = partial(inspect, self._images.store, image_id)
            row = await self._images.blocking(work, "read the image")
            yield {"type": "row", **row}
        yield _result()

    async def history(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        from stackctl.image.archive import history

        name = str(body.get("name") or "")
        await self._refuse_built_in(name, "it has no history")
        image_id = await self._id(name)
        await self._check_platform(body, image_id)
        rows = await self._images.blocking(
            lambda: history(self._images.store, image_id), "read the image"
        )
        for row in rows:
            yield {"type": "row", **row}
        yield _result()

    async def tag(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        source = str(body.get("source") or "")
        await self._refuse_built_in(source, "it has no other name")
        image_id = await self._id(source)
        target = str(body.get("target") or "")
        await self._images.blocking(
            lambda: self._images.store.tag(image_id, target), "name the image"
        )
        self._event("tag", target, image_id)
        yield _result()

    async def rm(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Rows {"untagged"} and {"deleted"}; what fails is told after the rest is done."""
        failure: StackctlError | None = None
        force = bool(body.get("force"))
        for name in _names(body):
            try:
                await self._refuse_built_in(name, "it stays")
                await self._check_platform(body, name)
                work = partial(self._images.store.remove, name, force=force, in_use=self._in_use())
                removed = await self._images.blocking(work, "remove the image")
            except StackctlError as error:
                if not (force and isinstance(error, NotFound)):
                    failure = failure or error
                continue
            for gone in removed.untagged:
                yield {"type": "row", "untagged": parse(gone).familiar}
            for image_id in removed.deleted:
                self._event("delete", image_id, image_id)
                yield {"type": "row", "deleted": image_id}
        if failure is not None:
            raise failure
        yield _result()

    async def prune(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        until = float(body.get("until") or 0)
        labels = [str(text) for text in body.get("labels") or ()]

        def wanted(image: Image) -> bool:
            if until and image.created_at > until:
                return False
            return all(_has_label(image.config.labels, text) for text in labels)

        removed = await self._images.blocking(
            lambda: self._images.store.prune(
                in_use=self._in_use(), all=bool(body.get("all")), wanted=wanted
            ),
            "remove images",
        )
        for name in removed.untagged:
            yield {"type": "row", "untagged": parse(name).familiar}
        for image_id in removed.deleted:
            yield {"type": "row", "deleted": image_id}
        yield _result(reclaimed=removed.reclaimed)

    async def verify(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """A row for each problem; exit code 1 when there is one (and it was not repaired)."""
        from stackctl.image.verify import problems, repair

        store = self._images.store
        found = await self._images.blocking(lambda: list(problems(store)), "verify the images")
        for problem in found:
            yield {"type": "row", "text": problem.text, "image": problem.image}
        if found and body.get("repair"):
            done = await self._images.blocking(lambda: repair(store, found), "repair the images")
            for text in done:
                yield {"type": "row", "text": text, "image": ""}
            found = []
        yield {"type": "result", "exit_code": 1 if found else 0}

    # -- files

    async def save(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """To the file `output`: an absolute path on this machine; it appears when complete."""
        from stackctl.image.archive import save

        names, output = _names(body), absolute(body, "output")
        for name in names:
            await self._refuse_built_in(name, "it is in no archive")
            await self._check_platform(body, name)

        def work() -> int:
            new = output.with_name(f".{output.name}-{os.getpid()}.part")
            try:
                with open(new, "wb", buffering=1 << 20) as file:
                    save(self._images.store, names, file.write)
                    size = file.tell()
                new.rename(output)
            finally:
                new.unlink(missing_ok=True)
            return size

        yield _result(size=await self._images.blocking(work, f"write {output}"))

    async def load(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Rows: id and names of each image in the file or directory `input`."""
        from stackctl.image.archive import load, load_layout
        from stackctl.image.registry.manifest import Platform

        source = _input(body)
        wanted = str(body.get("platform") or "")
        platform = Platform.parse(wanted) if wanted else None

        def work() -> list[Image]:
            if source.is_dir():
                return load_layout(self._images.store, source, platform)
            with open(source, "rb", buffering=0) as file:
                return load(self._images.store, file.read, platform)

        for image in await self._images.blocking(work, f"load {source}"):
            reference = image.reference if image.reference != image.id else ""
            self._event("load", reference or image.id, image.id)
            shown = parse(reference).familiar if reference else ""
            yield {"type": "row", "id": image.id, "name": shown}
        yield _result()

    async def import_(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """The tar of a root file system, `input`, as the image `reference`."""
        from stackctl.image.archive import import_root
        from stackctl.image.changes import apply_changes

        source, reference = _input(body), str(body.get("reference") or "")
        config = apply_changes({}, [str(text) for text in body.get("changes") or ()])
        comment = str(body.get("message") or "") or f"imported from {source.name}"

        def work() -> Image:
            with open(source, "rb", buffering=0) as file:
                return import_root(
                    self._images.store,
                    file.read,
                    [reference] if reference else [],
                    config,
                    created=_now(),
                    comment=comment,
                    platform=_platform(body),
                )

        image = await self._images.blocking(work, f"import {source}")
        self._event("import", reference or image.id, image.id)
        yield _result(id=image.id)

    # -- of a stack

    async def pull_stack(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """All images of the services (or of those named) at once."""
        from stackctl.daemon.verbs.stack import carry_out, warning_messages

        project = await self._projects.load(
            body, activate=body.get("services") or (), for_containers=False
        )
        for message in warning_messages(project):
            yield message
        plan = stack_images.pulls(project, body, self._images.exists)

        async def work(emit: Emit) -> Message:
            CALLER.set(asking.caller(body, emit))
            await carry_out(plan, self._engine, emit)
            return _result(changed=bool(plan))

        async for message in streamed(work):
            yield message

    async def push_stack(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """The images that services build and name."""
        project = await self._projects.load(
            body, activate=body.get("services") or (), for_containers=False
        )
        wanted = stack_images.pushed(project, body)
        nameless = stack_images.nameless(project, body)

        async def work(emit: Emit) -> Message:
            CALLER.set(asking.caller(body, emit))
            for name in nameless:
                text = f'service "{name}" is not pushed: it has no `image`, which says where to'
                emit({"type": "warning", "text": text, "place": ""})
            for reference, name in wanted.items():
                try:
                    digest, _ = await self._images.push(reference)
                except StackctlError as error:
                    if not body.get("ignore_failures"):
                        error.brief = f'service "{name}": {reference}: {error.brief}'
                        raise
                    emit({"type": "warning", "text": f"{name}: {error}", "place": ""})
                    continue
                emit({"type": "row", "service": name, "image": reference, "digest": digest})
            return _result(changed=bool(wanted))

        async for message in streamed(work):
            yield message

    async def images_of_stack(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """A row for each container: its image as it is, not what its name means now."""
        for record in await self._projects.chosen(body):
            config = record.config
            try:
                image = await self._images.get(config.image_id)
            except NotFound:
                image = None
            reference = parse(config.image)
            plain = reference.familiar.partition("@")[0]
            yield {
                "type": "row",
                "container": record.name,
                "repository": plain.removesuffix(f":{reference.tag}") if reference.tag else plain,
                "tag": reference.tag,
                "id": config.image_id,
                "size": image.size if image else 0,
                "created": image.created_at if image else 0.0,
                "platform": str(await self._images.platform_of(image)) if image else "",
            }
        yield _result()

    # -- inner parts

    async def _built_in(self, name: str) -> Image | None:
        """stackctl/host, if a name or (the beginning of) an id means it."""
        host = await self._images.resolve(HOST)
        bare = name.removeprefix("sha256:")
        if len(bare) >= 4 and host.id.removeprefix("sha256:").startswith(bare):
            return host
        with suppress(ImageError):  # of what is no name nothing is found
            return host if parse(name).is_host else None
        return None

    async def _refuse_built_in(self, name: str, brief: str) -> None:
        if await self._built_in(name):
            raise ImageError(
                f"{HOST} is the machine itself: {brief}",
                hint=f"a Dockerfile of one line (FROM {HOST}) makes an image of it",
            )

    async def _id(self, name: str) -> str:
        """Raises NotFound."""
        found = await self._images.blocking(lambda: self._images.store.find(name), "find the image")
        if found is None:
            raise NotFound(f"no such image: {name}", hint="`stackctl image ls` lists them")
        return found[0]

    async def _check_platform(self, body: Mapping[str, Any], name: str) -> None:
        """Raises ImageAbsent when an image is not for body["platform"]: each is for one here."""
        if platform := str(body.get("platform") or ""):
            await self._images.resolve_for(name, platform)

    def _in_use(self) -> frozenset[str]:
        return frozenset(i for r in self._parts.registry.all() for i in r.config.images)

    def _event(self, action: str, name: str, image_id: str) -> None:
        self._parts.events.publish("image", action, image_id or name, {"name": name})


async def streamed(work: Callable[[Emit], Awaitable[Message]]) -> AsyncIterator[Message]:
    """Messages of work that ends with its request: a pull is not worth going on for nobody."""
    job = Job("the request", work, None)
    try:
        async for message in job.messages():
            yield message
    finally:
        if not job.done:
            job.cancel()
            await asyncio.shield(job.finished())


def _result(**fields: Any) -> Message:
    return {"type": "result", "exit_code": 0, **fields}


def _names(body: Mapping[str, Any]) -> Sequence[str]:
    names = [str(name) for name in body.get("names") or ()]
    if not names:
        raise UsageError("no image is named")
    return names


def _input(body: Mapping[str, Any]) -> Path:
    """The file that is read: of this machine, or what a caller elsewhere has sent."""
    uploads = body.get("uploads")
    if isinstance(uploads, dict):
        return Path(uploads[str(body.get("input"))])
    return absolute(body, "input")


def absolute(body: Mapping[str, Any], key: str) -> Path:
    """The path in a request's field. Raises UsageError for one that is relative."""
    path = Path(str(body.get(key) or ""))
    if not path.is_absolute():
        raise UsageError(f'"{key}" must be an absolute path')
    return path


def _platform(body: Mapping[str, Any]) -> Platform | None:
    text = str(body.get("platform") or "")
    if not text:
        return None
    from stackctl.image.registry.manifest import Platform

    return Platform.parse(text)


def _has_label(labels: Mapping[str, str], text: str) -> bool:
    """KEY or KEY=VALUE; with ! in front: not so."""
    if text.startswith("!"):
        return not _has_label(labels, text[1:])
    key, equals, value = text.partition("=")
    return key in labels and (not equals or labels[key] == value)


def _now() -> str:
    return datetime.fromtimestamp(time.time(), UTC).isoformat().replace("+00:00", "Z")
