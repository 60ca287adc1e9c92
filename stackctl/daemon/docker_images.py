"""Images as Docker's API asks for them, on the engine's store."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from stackctl.daemon import build_cache
from stackctl.daemon.build_cache import CacheRow, Pruned
from stackctl.daemon.inspection import timestamp
from stackctl.daemon.jobs import EMIT
from stackctl.daemon.parts import Parts
from stackctl.image.registry.settings import credential_key
from stackctl.image.service import CALLER, Caller
from stackctl.image.store import Removed
from stackctl.model.build import BuildRequest
from stackctl.model.image import Image
from stackctl.model.reference import in_registry, parse
from stackctl.values import dataclass

Message = dict[str, Any]

HOST = "stackctl/host"
_PIECE = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """An image with what it is called: names as people write them, digests it was pulled by."""

    image: Image
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    #: The OCI config document; empty for the built-in image.
    document: Mapping[str, Any]


class HasImage(Protocol):
    @property
    def image(self) -> Image: ...


class DockerImages:
    def __init__(self, parts: Parts, build: Callable[[BuildRequest], Awaitable[Any]]) -> None:
        self._parts = parts
        self._build = build
        self._images = parts.images
        self._uploads = parts.paths.root / "uploads"
        # What a killed engine was receiving.
        shutil.rmtree(self._uploads, ignore_errors=True)

    async def images(self) -> Sequence[Named]:
        """The built-in one first."""
        host = await self._host()
        store = self._images.store

        def stored() -> list[Named]:
            return [self._named(image) for image in store.images()]

        return [host, *await self._images.blocking(stored, "list the images")]

    async def image(self, reference: str) -> Named:
        """By name, id or the beginning of an id. NotFound, ImageError, Conflict."""
        host = await self._host()
        bare = reference.removeprefix("sha256:")
        if reference == host.image.id or (
            len(bare) >= 4 and host.image.id.removeprefix("sha256:").startswith(bare)
        ):
            return host
        image = await self._images.resolve(reference)
        if image.id == host.image.id:
            return host
        return await self._images.blocking(lambda: self._named(image), "read the image")

    async def _host(self) -> Named:
        image = await self._images.resolve(HOST)
        return Named(image=image, tags=(f"{HOST}:latest",), digests=(), document={})

    def _named(self, image: Image) -> Named:
        store = self._images.store
        tags, digests = [], []
        for name, entry in sorted(store.index.names().items()):
            if entry.image != image.id:
                continue
            reference = parse(name)
            if reference.tag:
                tags.append(parse(name).familiar)
            if entry.digest:
                familiar = parse(reference.name).familiar.partition(":")[0]
                digests.append(f"{familiar}@{entry.digest}")
        return Named(
            image=image,
            tags=tuple(tags),
            digests=tuple(dict.fromkeys(digests)),
            document=store.config(image.id),
        )

    async def layers_size(self) -> int:
        """Bytes of all layers, each counted once however many images have it."""
        return await self._images.blocking(
            lambda: sum(self._images.store.unpacked.usage().values()), "look at the layers"
        )

    async def build_cache(self) -> list[CacheRow]:
        return await self._images.blocking(
            lambda: build_cache.rows(self._images), "look at the build cache"
        )

    async def prune_build_cache(self, wanted: Callable[[CacheRow], bool], keep: int) -> Pruned:
        """Forgets what is `wanted` of it, until `keep` bytes are left."""
        return await self._images.blocking(
            lambda: build_cache.prune(self._images, wanted, keep), "prune the build cache"
        )

    async def tag(self, named: HasImage, name: str) -> None:
        await self._images.blocking(
            lambda: self._images.store.tag(named.image.id, name), "tag the image"
        )
        self._tell("tag", named.image.id, name)

    async def remove(self, reference: str, *, force: bool) -> Removed:
        removed = await self._images.blocking(
            lambda: self._images.store.remove(reference, force=force, in_use=self._in_use()),
            "remove the image",
        )
        return self._told(removed)

    async def prune(self, *, everything: bool, wanted: Any) -> Removed:
        removed = await self._images.blocking(
            lambda: self._images.store.prune(in_use=self._in_use(), all=everything, wanted=wanted),
            "remove images",
        )
        return self._told(removed)

    async def build(
        self,
        content: AsyncIterator[bytes],
        request: BuildRequest,
        auths: Mapping[str, Mapping[str, str]],
    ) -> AsyncIterator[Message]:
        """Docker's messages of a build; `content` is the context, a tar, unless the request names
        an address. A failure is raised. The context is kept until the build has ended.
        """
        queue: asyncio.Queue[Message | None] = asyncio.Queue()
        self._uploads.mkdir(mode=0o700, exist_ok=True)
        steps = itertools.count(1)

        async def work(context: str) -> Any:
            try:
                with self._keyring(auths) as found:
                    CALLER.set(Caller(environment=found))
                    EMIT.set(queue.put_nowait)
                    return await self._build(replace(request, context=request.context or context))
            finally:
                queue.put_nowait(None)

        with tempfile.NamedTemporaryFile(dir=self._uploads, suffix=".tar") as file:
            async for piece in content:
                await asyncio.to_thread(file.write, piece)
            await asyncio.to_thread(file.flush)
            task = asyncio.create_task(work(file.name))
            try:
                while (message := await queue.get()) is not None:
                    for text in _building(message, steps):
                        yield {"stream": text}
                (image,) = await task
            finally:
                # Who leaves gives a build up; what it has made so far is in the cache.
                task.cancel()
                await asyncio.wait([task])
        yield {"aux": {"ID": image.id}}
        yield {"stream": f"Successfully built {image.id.removeprefix('sha256:')[:12]}\n"}
        for name in request.names:
            yield {"stream": f"Successfully tagged {name}\n"}

    async def distribution(self, reference: str, auth: Mapping[str, str]) -> Message:
        """Descriptor and Platforms of what the registry has under a name; nothing is pulled."""
        from stackctl.image.registry.look import look

        with self._caller(reference, auth) as environment:
            found = await self._images.blocking(
                lambda: look(environment, in_registry(reference)), "ask the registry"
            )
        return {
            "Descriptor": {
                "mediaType": found.media_type,
                "digest": found.digest,
                "size": found.size,
            },
            "Platforms": [
                {"architecture": p.architecture, "os": p.os, "variant": p.variant}
                for p in found.platforms
            ],
        }

    async def login(self, auth: Mapping[str, str]) -> None:
        """Asks the registry; NotPermitted when it refuses. The client keeps them, we do not."""
        from stackctl.image.registry.login import login

        server = auth.get("serveraddress", "")
        name, password = auth.get("username", ""), auth.get("password", "")
        with self._caller(HOST, {}) as environment:
            await self._images.blocking(
                lambda: login(environment, server, name, password), "log in"
            )

    # -- archives

    async def history(self, named: HasImage) -> list[dict[str, Any]]:
        """Rows as image.archive.history has them, the youngest first."""
        from stackctl.image.archive import history

        return await self._images.blocking(
            lambda: history(self._images.store, named.image.id), "read the image's history"
        )

    async def save(self, references: Sequence[str]) -> AsyncIterator[bytes]:
        """The tar that `load` reads."""
        from stackctl.image.archive import save

        def work(fd: int) -> None:
            with open(fd, "wb", buffering=_PIECE, closefd=False) as file:
                save(self._images.store, references, file.write)

        async for piece in _written(lambda fd: self._images.blocking(lambda: work(fd), "save")):
            yield piece

    async def load(self, content: AsyncIterator[bytes]) -> list[Image]:
        from stackctl.image.archive import load

        def work(fd: int) -> list[Image]:
            return load(self._images.store, lambda size: os.read(fd, size))

        loaded: list[Image] = await _read(
            content, lambda fd: self._images.blocking(lambda: work(fd), "load the images")
        )
        found = []
        for image in loaded:
            named = image.reference != image.id
            name = parse(image.reference).familiar if named else image.id
            self._tell("load", image.id, name)
            found.append(replace(image, reference=name))
        return found

    async def import_root(
        self, content: AsyncIterator[bytes], name: str, config: Message, comment: str
    ) -> Image:
        """The tar of a root file system as an image; `name` "" gives it none."""
        from stackctl.image.archive import import_root

        def work(fd: int) -> Image:
            return import_root(
                self._images.store,
                lambda size: os.read(fd, size),
                [name] if name else [],
                config,
                created=timestamp(time.time()),
                comment=comment,
            )

        image: Image = await _read(
            content, lambda fd: self._images.blocking(lambda: work(fd), "import the image")
        )
        self._tell("import", image.id, name)
        return image

    async def fetched(self, url: str) -> AsyncIterator[bytes]:
        """What is at an address of the web, piece by piece. ImageError."""
        from stackctl.image.build.remote import pieces

        found = pieces(url)
        while piece := await asyncio.to_thread(next, found, b""):
            yield piece

    def _in_use(self) -> frozenset[str]:
        return frozenset(i for r in self._parts.registry.all() for i in r.config.images)

    async def pull(
        self, reference: str, auth: Mapping[str, str], platform: str = ""
    ) -> AsyncIterator[Message]:
        """Docker's progress messages; the last says what it was and whether it is new."""
        from stackctl.image.registry.manifest import Platform

        wanted = Platform.parse(platform) if platform else None
        queue: asyncio.Queue[Message | None] = asyncio.Queue()

        def on_progress(_: str, progress: Any) -> None:
            queue.put_nowait(_progress(progress.digest, progress))

        async def work() -> Any:
            try:
                with self._caller(reference, auth) as environment:
                    CALLER.set(Caller(environment=environment, on_progress=on_progress))
                    return await self._images.fetch(reference, wanted)
            finally:
                queue.put_nowait(None)

        parsed = parse(reference)
        task = asyncio.create_task(work())
        try:
            tag = parsed.tag or parsed.digest
            yield {"status": f"Pulling from {parsed.path}", "id": tag}
            while (message := await queue.get()) is not None:
                yield message
            pulled = await task
        finally:
            task.cancel()
        yield {"status": f"Digest: {pulled.digest}"}
        what = "Downloaded newer image for" if pulled.changed else "Image is up to date for"
        yield {"status": f"Status: {what} {parsed.familiar}"}
        self._tell("pull", parsed.familiar, parsed.familiar)

    async def push(self, reference: str, auth: Mapping[str, str]) -> AsyncIterator[Message]:
        queue: asyncio.Queue[Message | None] = asyncio.Queue()

        def on_progress(_: str, progress: Any) -> None:
            queue.put_nowait(_progress(progress.digest, progress))

        async def work() -> tuple[str, int]:
            try:
                with self._caller(reference, auth) as environment:
                    CALLER.set(Caller(environment=environment, on_progress=on_progress))
                    return await self._images.push(reference)
            finally:
                queue.put_nowait(None)

        parsed = parse(reference)
        task = asyncio.create_task(work())
        try:
            yield {"status": f"The push refers to repository [{parsed.name}]"}
            while (message := await queue.get()) is not None:
                yield message
            digest, size = await task
        finally:
            task.cancel()
        yield {"status": f"{parsed.tag}: digest: {digest} size: {size}"}
        yield {"progressDetail": {}, "aux": {"Tag": parsed.tag, "Digest": digest, "Size": size}}
        self._tell("push", parsed.familiar, parsed.familiar)

    @contextmanager
    def _caller(self, reference: str, auth: Mapping[str, str]) -> Iterator[dict[str, str]]:
        """An environment whose credentials are `auth` for this registry, and no others."""
        auths = {credential_key(parse(reference).domain): auth} if auth else {}
        with self._keyring(auths) as environment:
            yield environment

    @contextmanager
    def _keyring(self, auths: Mapping[str, Mapping[str, str]]) -> Iterator[dict[str, str]]:
        """An environment with these credentials, by registry, and no others.

        What the engine's own user has in its home is not for who asks over the API.
        """
        with tempfile.TemporaryDirectory(dir=self._parts.paths.run, prefix="auth-") as directory:
            if auths:
                file = Path(directory, "config.json")
                file.touch(mode=0o600)
                known = {address: _credentials(auth) for address, auth in auths.items()}
                file.write_text(json.dumps({"auths": known}))
            yield {**os.environ, "DOCKER_CONFIG": directory}

    def _tell(self, action: str, image_id: str, name: str) -> None:
        self._parts.events.publish("image", action, image_id, {"name": name})

    def _told(self, removed: Removed) -> Removed:
        """The same with names as people write them, after the events."""
        names = tuple(parse(name).familiar for name in removed.untagged)
        for name in names:
            self._tell("untag", name, name)
        for image_id in removed.deleted:
            self._tell("delete", image_id, image_id)
        return replace(removed, untagged=names)


def _building(message: Message, steps: Iterator[int]) -> Iterator[str]:
    """What the classic builder would have said."""
    match message.get("type"), message.get("state"):
        case "vertex", "running":
            # The stage and the number in it are BuildKit's way: "[base 2/3] RUN ...".
            name = message["name"]
            text = name.partition("] ")[2] if name.startswith("[") else name
            yield f"Step {next(steps)} : {text or name}\n"
        case "vertex", "cached":
            yield " ---> Using cache\n"
        case "vertex-log", _ if message["stream"] == 2:
            # In red, as the classic builder has what goes to standard error.
            yield f"\x1b[91m{message['text']}\x1b[0m"
        case "vertex-log", _:
            yield message["text"]


async def _written(produce: Callable[[int], Awaitable[None]]) -> AsyncIterator[bytes]:
    """What `produce` writes to a pipe's end, in pieces; then what it raised."""
    reader, writer = os.pipe2(os.O_CLOEXEC)

    async def work() -> None:
        try:
            await produce(writer)
        finally:
            os.close(writer)

    task = asyncio.create_task(work())
    try:
        while piece := await asyncio.to_thread(os.read, reader, _PIECE):
            yield piece
        await task
    finally:
        # Who still writes gets EPIPE.
        os.close(reader)
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()


async def _read(content: AsyncIterator[bytes], consume: Callable[[int], Awaitable[Any]]) -> Any:
    """What `consume` makes of `content`, which it reads from a pipe's end."""
    reader, writer = os.pipe2(os.O_CLOEXEC)

    async def work() -> Any:
        try:
            return await consume(reader)
        finally:
            os.close(reader)

    task = asyncio.create_task(work())
    try:
        try:
            async for piece in content:
                await asyncio.to_thread(_write_all, writer, piece)
        except BrokenPipeError:
            pass  # it has failed, and says so below, or needs no more
    finally:
        os.close(writer)
        await asyncio.wait([task])
    return task.result()


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


_STATES = {
    "waiting": "Waiting",
    "exists": "Already exists",
    "downloading": "Downloading",
    "unpacking": "Extracting",
    "uploading": "Pushing",
    "pushing": "Pushing",
    "done": "Pull complete",
}


def _progress(digest: str, progress: Any) -> Message:
    message: Message = {
        "status": _STATES.get(progress.state, progress.state.capitalize()),
        "progressDetail": {},
        "id": digest.removeprefix("sha256:")[:12],
    }
    if progress.state in ("downloading", "unpacking", "pushing", "uploading"):
        message["progressDetail"] = {"current": progress.current, "total": progress.total}
        mib = 1 << 20
        message["progress"] = f"{progress.current / mib:.1f}MB/{progress.total / mib:.1f}MB"
    return message


def _credentials(auth: Mapping[str, str]) -> dict[str, str]:
    """As a client's configuration file has them."""
    pair = f"{auth.get('username', '')}:{auth.get('password', '')}".encode()
    entry = {"auth": base64.b64encode(pair).decode()}
    if "identitytoken" in auth:
        entry["identitytoken"] = auth["identitytoken"]
    return entry
