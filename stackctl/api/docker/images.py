"""/images: what is here, under which names; pull and push with their progress."""

from __future__ import annotations

import base64
import json
import platform
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from stackctl.api.docker import globs
from stackctl.api.docker.call import Call, DockerError, Filters, moment
from stackctl.api.docker.failures import container_found, no_such_image, registry_failed
from stackctl.api.docker.port import DockerEngine, Message, NamedImage
from stackctl.api.docker.table import Table
from stackctl.daemon.inspection import health_check, timestamp
from stackctl.daemon.wish import checked
from stackctl.errors import (
    Conflict,
    ImageError,
    NotFound,
    NotPermitted,
    StackctlError,
)
from stackctl.image.changes import apply_changes
from stackctl.model.image import Image

_FILTERS = ("before", "dangling", "label", "label!", "reference", "since", "until")
_AUTH = ("username", "password", "email", "serveraddress", "identitytoken", "registrytoken")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


class ImageRoutes:
    def __init__(self, engine: DockerEngine) -> None:
        self._engine = engine

    def register(self, table: Table) -> None:
        add = table.add
        add("GET", "/images/json", self.list)
        add("GET", "/images/search", self.search)
        add("GET", "/images/get", self.save)
        add("POST", "/images/create", self.create)
        add("POST", "/images/load", self.load)
        add("POST", "/images/prune", self.prune)
        add("GET", "/images/{name*}/json", self.inspect)
        add("GET", "/images/{name*}/history", self.history)
        add("GET", "/images/{name*}/get", self.save)
        add("POST", "/images/{name*}/tag", self.tag)
        add("POST", "/images/{name*}/push", self.push)
        add("DELETE", "/images/{name*}", self.remove)
        add("GET", "/distribution/{name*}/json", self.distribution)
        add("POST", "/auth", self.auth)
        add("POST", "/commit", self.commit)

    async def _find(self, name: str) -> NamedImage:
        try:
            return await self._engine.images.image(name)
        except NotFound:
            raise no_such_image(name) from None
        except ImageError as error:
            raise DockerError(400, f"invalid reference format: {error}") from None

    async def list(self, call: Call) -> None:
        filters = call.filters(_FILTERS)
        found = await self._engine.images.images()
        before = await self._created(filters, "before", float("inf"))
        since = await self._created(filters, "since", float("-inf"))
        limit = min((moment(text) for text in filters["until"]), default=float("inf"))
        counted = call.flag("shared-size") or call.version >= (1, 51)
        counts = containers_by_image(self._engine) if counted else {}
        patterns = (*filters["reference"], *_old_filter(call))
        rows = []
        for named in found:
            if not since < named.image.created_at < min(before, limit):
                continue
            if not _passes(filters, named):
                continue
            row = summary(named, counts.get(named.image.id, -1))
            if patterns:
                # Only the names that were asked for.
                row["RepoTags"] = _called(patterns, named.tags, ":")
                row["RepoDigests"] = _called(patterns, named.digests, "@")
                if not row["RepoTags"] and not row["RepoDigests"]:
                    continue
            rows.append(row)
        await call.reply(rows)

    async def _created(self, filters: Filters, name: str, default: float) -> float:
        if name not in filters:
            return default
        return (await self._find(filters[name][0])).image.created_at

    async def inspect(self, call: Call) -> None:
        named = await self._find(call["name"])
        shape = inspected(named)
        # Docker dropped it with 1.45; docker-compose 1.29 speaks the newest version that it is
        # offered and recreates by it all the same.
        shape["ContainerConfig"] = shape["Config"]
        await call.reply(shape)

    async def history(self, call: Call) -> None:
        named = await self._find(call["name"])
        found = await self._engine.images.history(named) if named.document else []
        rows: list[Message] = [
            {
                "Id": row["ID"],
                "Created": _seconds(row["Created"]),
                "CreatedBy": row["CreatedBy"],
                "Tags": list(named.tags) or None if number == 0 else None,
                "Size": row["Size"],
                "Comment": row["Comment"],
            }
            for number, row in enumerate(found)
        ]
        if not rows:
            rows = [
                {
                    "Id": named.image.id,
                    "Created": int(named.image.created_at),
                    "CreatedBy": "",
                    "Tags": list(named.tags) or None,
                    "Size": named.image.size,
                    "Comment": "",
                }
            ]
        await call.reply(rows)

    async def tag(self, call: Call) -> None:
        named = await self._find(call["name"])
        if not named.document:
            raise DockerError(400, f"{call['name']} is built in: it has no other names")
        repository, tag = call.text("repo"), call.text("tag")
        if not repository:
            raise DockerError(400, "invalid reference format: repo is empty")
        name = f"{repository}:{tag}" if tag else repository
        try:
            await self._engine.images.tag(named, name)
        except ImageError as error:
            raise DockerError(400, str(error)) from error
        await call.done(201)

    async def remove(self, call: Call) -> None:
        name, force = call["name"], call.flag("force")
        named = await self._find(name)
        if not named.document:
            raise DockerError(409, f"conflict: unable to remove {name}: it is built in")
        try:
            removed = await self._engine.images.remove(name, force=force)
        except NotFound:
            raise no_such_image(name) from None
        except Conflict as error:
            raise DockerError(
                409, f"conflict: unable to remove repository reference {name}: {error}"
            ) from error
        await call.reply(
            [
                *({"Untagged": text} for text in removed.untagged),
                *({"Deleted": image_id} for image_id in removed.deleted),
            ]
        )

    async def prune(self, call: Call) -> None:
        filters = call.filters(("dangling", "label", "label!", "until"))
        limit = min((moment(text) for text in filters["until"]), default=float("inf"))

        def wanted(image: Image) -> bool:
            labels = image.config.labels
            return (
                image.created_at < limit
                and filters.labels(labels)
                and filters.without_labels(labels)
            )

        everything = not filters.one("dangling", default=True)
        removed = await self._engine.images.prune(everything=everything, wanted=wanted)
        deleted = [
            *({"Untagged": text} for text in removed.untagged),
            *({"Deleted": image_id} for image_id in removed.deleted),
        ]
        await call.reply({"ImagesDeleted": deleted, "SpaceReclaimed": removed.reclaimed})

    # -- from and to elsewhere

    async def create(self, call: Call) -> None:
        """A pull. The head goes out with the first message: what fails before has a status."""
        if call.text("fromSrc"):
            await self._import(call)
            return
        name, tag = call.text("fromImage"), call.text("tag")
        if not name:
            raise DockerError(400, "invalid reference format: fromImage is empty")
        last = name.rpartition("/")[2]
        if tag and "@" not in name:
            name = f"{name}@{tag}" if tag.startswith("sha256:") else f"{name}:{tag}"
        elif ":" not in last and "@" not in last:
            name = f"{name}:latest"
        if name.removesuffix(":latest") == "stackctl/host":
            call.stream()
            await call.line({"status": "Status: Image is up to date for stackctl/host:latest"})
            await call.exchange.end()
            return
        messages = self._engine.images.pull(name, credentials(call), call.text("platform"))
        try:
            await self._progress(call, messages)
        except NotFound as error:
            raise DockerError(404, _absent(name, error)) from error
        except StackctlError as error:
            raise registry_failed(error, 404) from error

    async def _import(self, call: Call) -> None:
        source = call.text("fromSrc")
        if source == "-":
            content = call.exchange.chunks()
        else:
            # As in Docker: an address without its beginning is one of the web.
            content = self._engine.images.fetched(source if "://" in source else f"http://{source}")
        name, tag = call.text("repo"), call.text("tag")
        config = apply_changes({}, [text for text in call.texts("changes") if text])
        try:
            image = await self._engine.images.import_root(
                content,
                f"{name}:{tag}" if tag else name,
                config,
                call.text("message"),
            )
        except ImageError as error:
            raise DockerError(400, str(error)) from error
        call.stream()
        await call.line({"status": image.id})
        await call.exchange.end()

    async def push(self, call: Call) -> None:
        name, tag = call["name"], call.text("tag")
        if tag:
            name = f"{name}:{tag}"
        await self._find(name)
        try:
            await self._progress(call, self._engine.images.push(name, credentials(call)))
        except StackctlError as error:
            raise registry_failed(error, 404) from error

    async def _progress(self, call: Call, messages: AsyncIterator[Message]) -> None:
        """Messages as they come; a failure after the first is a message too."""
        held: list[Message] = []
        try:
            async for message in messages:
                if not call.exchange.started:
                    # The first only says what is about to be tried.
                    if not held:
                        held.append(message)
                        continue
                    call.stream()
                    await call.line(held[0])
                await call.line(message)
        except StackctlError as error:
            if not call.exchange.started:
                raise
            text = str(error)
            await call.line({"errorDetail": {"message": text}, "error": text})
        if not call.exchange.started:
            call.stream()
            for message in held:
                await call.line(message)
        await call.exchange.end()

    async def search(self, call: Call) -> None:
        raise DockerError(
            400, "searching is not supported: registries have no search in common; pull by name"
        )

    async def distribution(self, call: Call) -> None:
        name = call["name"]
        try:
            await call.reply(await self._engine.images.distribution(name, credentials(call)))
        except NotFound as error:
            raise DockerError(404, f"manifest unknown: {error}") from error
        except NotPermitted as error:
            raise DockerError(401, str(error)) from error
        except StackctlError as error:
            raise registry_failed(error, 401) from error

    async def auth(self, call: Call) -> None:
        """The registry is asked; the credentials are the client's to keep."""
        body = await call.body()
        checked(body, dict.fromkeys(_AUTH, str))
        said = {k: v for k, v in body.items() if v and k in _AUTH}
        try:
            await self._engine.images.login(said)
        except NotPermitted as error:
            raise DockerError(401, str(error)) from error
        except StackctlError as error:
            raise registry_failed(error, 401) from error
        await call.reply({"Status": "Login Succeeded", "IdentityToken": ""})

    async def load(self, call: Call) -> None:
        try:
            loaded = await self._engine.images.load(call.exchange.chunks())
        except StackctlError as error:
            # As from Docker, whose answer has begun by then: clients look for it there.
            call.stream()
            text = str(error)
            await call.line({"errorDetail": {"message": text}, "error": text})
            await call.exchange.end()
            return
        call.stream()
        for image in loaded:
            named = image.reference != image.id
            text = f"Loaded image: {image.reference}" if named else f"Loaded image ID: {image.id}"
            await call.line({"stream": f"{text}\n"})
        await call.exchange.end()

    async def save(self, call: Call) -> None:
        names = [call["name"]] if "name" in call.parameters else call.texts("names")
        # docker-py and the docker command put several into one value.
        names = [name for text in names for name in text.split(",") if name]
        if not names:
            raise DockerError(400, "no image is named")
        for name in names:
            if not (await self._find(name)).document:
                raise DockerError(400, f"{name} is built in and cannot be saved")
        content = self._engine.images.save(names)
        first = await anext(content, b"")
        call.stream("application/x-tar")
        call.exchange.send(first)
        async for piece in content:
            call.exchange.send(piece)
            await call.exchange.drain()
        await call.exchange.end()

    async def commit(self, call: Call) -> None:
        record = container_found(self._engine, call.text("container"))
        repository, tag = call.text("repo"), call.text("tag")
        wish = {
            "reference": f"{repository}:{tag}" if repository and tag else repository,
            "author": call.text("author"),
            "message": call.text("comment"),
            "changes": [line for text in call.texts("changes") for line in text.splitlines()],
            "pause": call.flag("pause", default=True),
            "config": await call.body(),
        }
        try:
            image = await self._engine.commit(record, wish)
        except ImageError as error:
            raise DockerError(400, str(error)) from error
        await call.reply({"Id": image}, 201)


def containers_by_image(engine: DockerEngine) -> Counter[str]:
    """How many containers there are of an image, by its id."""
    return Counter(record.config.image_id for record in engine.containers())


def credentials(call: Call) -> dict[str, str]:
    """X-Registry-Auth as the client gave it; empty without. DockerError."""
    return {str(k): str(v) for k, v in decoded(call, "X-Registry-Auth").items() if v}


def decoded(call: Call, header: str) -> dict[str, Any]:
    """The object that a header has as JSON in base64url; empty without. DockerError."""
    text = call.exchange.headers.get(header.lower(), "")
    if not text:
        return {}
    try:
        # Some clients use the other alphabet.
        text = text.replace("+", "-").replace("/", "_")
        raw = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) or b"{}")
    except (ValueError, RecursionError):
        raise DockerError(400, f"{header} is not JSON in base64") from None
    if not isinstance(raw, dict | None):
        raise DockerError(400, f"{header} is not an object")
    return raw or {}


def _absent(name: str, error: StackctlError) -> str:
    """What docker says of an image that a registry does not have, or does not show."""
    if str(error).endswith("manifest unknown"):
        return f"manifest for {name} not found: {error}"
    bare = name.rpartition(":")[0] or name
    return (
        f"pull access denied for {bare}, repository does not exist or may require "
        f"'docker login': {error}"
    )


def _passes(filters: Filters, named: NamedImage) -> bool:
    labels = named.image.config.labels
    if "dangling" in filters and filters.one("dangling", default=False) is bool(named.tags):
        return False
    return filters.labels(labels) and filters.without_labels(labels)


def _old_filter(call: Call) -> tuple[str, ...]:
    """The parameter of clients before 1.41 for what is a filter now."""
    text = call.text("filter")
    return (text,) if text and call.version < (1, 41) else ()


def _called(patterns: Sequence[str], names: Sequence[str], separator: str) -> list[str]:
    """Those that a pattern describes, with or without the tag or digest behind `separator`."""
    return [
        name
        for name in names
        if any(
            globs.matches(pattern, name) or globs.matches(pattern, name.rpartition(separator)[0])
            for pattern in patterns
        )
    ]


def summary(named: NamedImage, containers: int) -> Message:
    image = named.image
    return {
        "Containers": containers,
        "Created": int(image.created_at),
        "Id": image.id,
        "Labels": dict(image.config.labels),
        "ParentId": "",
        "RepoDigests": list(named.digests),
        "RepoTags": list(named.tags),
        "SharedSize": -1,
        "Size": image.size,
        "VirtualSize": image.size,
    }


def _comment(document: Mapping[str, Any]) -> str:
    """The image's own, else its youngest layer's, as docker has it."""
    history = document.get("history") or [{}]
    return str(document.get("comment") or history[-1].get("comment") or "")


def inspected(named: NamedImage) -> Message:
    image, document = named.image, named.document
    config = image.config
    shape: dict[str, Any] = {
        "Hostname": "",
        "Domainname": "",
        "User": config.user,
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "ExposedPorts": {port: {} for port in config.exposed_ports} or None,
        "Tty": False,
        "OpenStdin": False,
        "StdinOnce": False,
        "Env": list(config.env),
        "Cmd": list(config.command) or None,
        "Image": "",
        "Volumes": {path: {} for path in config.volumes} or None,
        "WorkingDir": config.working_dir,
        "Entrypoint": list(config.entrypoint) or None,
        "OnBuild": None,
        "Labels": dict(config.labels) or None,
    }
    if config.stop_signal:
        shape["StopSignal"] = config.stop_signal
    if config.health is not None:
        shape["Healthcheck"] = health_check(config.health)
    rootfs = document.get("rootfs") or {}
    return {
        "Id": image.id,
        "RepoTags": list(named.tags),
        "RepoDigests": list(named.digests),
        "Parent": "",
        "Container": "",
        "Comment": _comment(document),
        "Created": timestamp(image.created_at),
        "DockerVersion": "",
        "Author": str(document.get("author") or ""),
        "Config": shape,
        "Architecture": str(document.get("architecture") or machine()),
        "Os": "linux",
        "Size": image.size,
        "VirtualSize": image.size,
        "GraphDriver": {"Name": "overlay2", "Data": None},
        "RootFS": {"Type": "layers", "Layers": list(rootfs.get("diff_ids") or ())},
        "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"},
    }


def machine() -> str:
    """This machine's architecture by Go's name."""
    name = platform.machine()
    return _MACHINES.get(name, name)


def _seconds(text: object) -> int:
    try:
        return int(moment(str(text))) if text else 0
    except DockerError:
        return 0
