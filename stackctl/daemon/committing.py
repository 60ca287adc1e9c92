"""commit, diff and export of one container, for the commands and for Docker's API.

What the container became is read from its directories. The image's config is what the
container ran with, as Docker has it: whoever runs the image gets the same again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime
from typing import Any

from stackctl.daemon import inspected_networks, inspection, names
from stackctl.daemon.containers import Containers
from stackctl.daemon.parts import Parts
from stackctl.errors import ContainerError, UsageError
from stackctl.model.container import ContainerConfig, Status, VolumeMount
from stackctl.model.image import Image, Snapshot
from stackctl.model.record import ContainerRecord
from stackctl.model.reference import parse

Message = dict[str, Any]

#: Labels that tell which service a container is: an image is none.
_OF_A_SERVICE = "com.docker.compose."


class Committing:
    def __init__(self, parts: Parts, containers: Containers) -> None:
        self._parts = parts
        self._containers = containers

    async def commit(self, record: ContainerRecord, wish: Mapping[str, Any]) -> Image:
        """A new image of the container's changes.

        `wish`: `reference` ("" gives it no name), `author`, `message`, `changes` (instructions
        of a Dockerfile), `pause` (hold it still meanwhile), and `config`: Docker's keys that
        count before the container's own. UsageError, ImageError.
        """
        from stackctl.image import commit as committed
        from stackctl.image.changes import apply_changes

        reference = str(wish.get("reference") or "")
        if reference:
            _check_name(reference)
        given = wish.get("config") or {}
        if not isinstance(given, Mapping):
            raise UsageError("the config of a commit is no object")
        changes = [str(text) for text in wish.get("changes") or ()]
        config = apply_changes(merged(given, image_config(record.config)), changes)
        image = await self._parts.images.get(record.config.image_id)
        wanted = committed.Commit(
            config=config,
            created=_now(),
            author=str(wish.get("author") or ""),
            comment=str(wish.get("message") or ""),
            created_by=" ".join(record.config.command or record.config.argv),
            names=[reference] if reference else [],
        )
        store = self._parts.images.store

        async def work() -> Image:
            snapshot = await self._snapshot(record)
            return await self._parts.images.blocking(
                lambda: _shallow(lambda: committed.commit(store, image, snapshot, wanted)),
                f"commit container {record.name}",
            )

        if wish.get("pause", True) and record.status is Status.RUNNING:
            made = await self._held_still(record, work)
        else:
            made = await work()
        attributes = {
            **names.attributes(record.config),
            "comment": wanted.comment,
            "imageID": made.id,
            "imageRef": str(parse(reference)) if reference else "",
        }
        self._parts.events.publish("container", "commit", record.id, attributes)
        if reference:
            self._parts.events.publish("image", "tag", made.id, {"name": reference})
        return made

    async def _held_still(self, record: ContainerRecord, work: Any) -> Image:
        await self._containers.pause(record.id)
        try:
            made: Image = await work()
            return made
        finally:
            now = self._parts.registry.find(record.id)
            if now is not None and now.status is Status.PAUSED:
                await self._containers.unpause(record.id)

    async def changes(self, record: ContainerRecord) -> list[Message]:
        """In Docker's shape: Path, and Kind 0 modified, 1 added, 2 deleted."""
        from stackctl.image.difference import changes

        snapshot = await self._snapshot(record)
        found = await self._parts.images.blocking(
            lambda: _shallow(lambda: changes(snapshot)), f"compare container {record.name}"
        )
        return [{"Path": f"/{change.path}", "Kind": int(change.kind)} for change in found]

    async def export(self, record: ContainerRecord) -> AsyncGenerator[bytes, None]:
        """Its files as a tar, in pieces; nothing of volumes and binds."""
        from stackctl.image.commit import export

        images = self._parts.images
        doing = f"export container {record.name}"
        content = export(await self._snapshot(record))
        try:
            while piece := await images.blocking(
                lambda: _shallow(lambda: next(content, b"")), doing
            ):
                yield piece
        finally:
            await asyncio.to_thread(content.close)

    async def _snapshot(self, record: ContainerRecord) -> Snapshot:
        return await self._parts.images.prepare(record.id, record.config.image_id)


def image_config(config: ContainerConfig) -> dict[str, Any]:
    """What a container ran with, as an image's config. Pure."""
    made: dict[str, Any] = {
        "Env": list(config.env),
        "Entrypoint": list(config.entrypoint) or None,
        "Cmd": list(config.command) or None,
        "WorkingDir": config.working_dir,
        "User": config.user,
        "ExposedPorts": {port: {} for port in inspected_networks.exposed(config)},
        "Volumes": {
            mount.target: {}
            for mount in config.mounts
            if isinstance(mount, VolumeMount) and mount.anonymous
        },
        "Labels": {k: v for k, v in config.labels.items() if not k.startswith(_OF_A_SERVICE)},
        "StopSignal": "" if config.stop_signal == "SIGTERM" else config.stop_signal,
    }
    if config.health is not None:
        made["Healthcheck"] = inspection.health_check(config.health)
    return {key: value for key, value in made.items() if value}


def merged(given: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """`given` completed by the container's own, as Docker merges the config of a commit. Pure."""
    made = {key: value for key, value in given.items() if value and key in _KEYS}
    if not made.get("Entrypoint"):
        # A new entrypoint does not get the arguments of the old one.
        made.setdefault("Cmd", own.get("Cmd"))
        made["Entrypoint"] = own.get("Entrypoint")
    for key in ("ExposedPorts", "Volumes", "Labels"):
        made[key] = {**(own.get(key) or {}), **(made.get(key) or {})}
    names_given = {str(entry).partition("=")[0] for entry in made.get("Env") or ()}
    kept = [e for e in own.get("Env") or () if e.partition("=")[0] not in names_given]
    made["Env"] = [*(made.get("Env") or ()), *kept]
    for key in ("User", "WorkingDir", "StopSignal", "Healthcheck"):
        made.setdefault(key, own.get(key))
    return {key: value for key, value in made.items() if value}


_KEYS = frozenset(
    (
        *("Env", "Entrypoint", "Cmd", "WorkingDir", "User", "ExposedPorts", "Volumes", "Labels"),
        *("StopSignal", "Healthcheck", "OnBuild", "Shell"),
    )
)


def _check_name(reference: str) -> None:
    """Before anything is done. ImageError, UsageError."""
    parsed = parse(reference)
    if parsed.digest:
        raise UsageError("an image cannot be given a digest for a name")
    if parsed.is_host:
        raise UsageError("stackctl/host is the built-in image: nothing else can have its name")


def _shallow(work: Any) -> Any:
    try:
        return work()
    except RecursionError:
        raise ContainerError("directories in the container are nested too deeply") from None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
