"""/volumes."""

from __future__ import annotations

import secrets

from stackctl.api.docker.call import Call, DockerError, object_at
from stackctl.api.docker.port import DockerEngine, Message
from stackctl.api.docker.table import Table
from stackctl.daemon.inspection import timestamp
from stackctl.daemon.wish import VOLUME, checked
from stackctl.errors import Conflict, NotFound, StackctlError
from stackctl.model.network import VolumeConfig
from stackctl.model.record import VolumeRecord

_FILTERS = ("dangling", "driver", "label", "label!", "name")


class VolumeRoutes:
    def __init__(self, engine: DockerEngine) -> None:
        self._engine = engine

    def register(self, table: Table) -> None:
        table.add("GET", "/volumes", self.list)
        table.add("POST", "/volumes/create", self.create)
        table.add("POST", "/volumes/prune", self.prune)
        table.add("GET", "/volumes/{name}", self.inspect)
        table.add("PUT", "/volumes/{name}", self.update)
        table.add("DELETE", "/volumes/{name}", self.remove)

    def _find(self, name: str) -> VolumeRecord:
        try:
            return self._engine.volume(name)
        except NotFound:
            raise DockerError(404, f"get {name}: no such volume") from None

    async def list(self, call: Call) -> None:
        filters = call.filters(_FILTERS)
        dangling = filters.one("dangling", default=False) if "dangling" in filters else None
        found = [
            shape(record)
            for record in self._engine.volumes()
            if filters.matches("name", record.config.name)
            and filters.exact("driver", record.config.driver or "local")
            and filters.labels(record.config.labels)
            and filters.without_labels(record.config.labels)
            and (
                dangling is None
                or dangling is not bool(self._engine.volume_users(record.config.name))
            )
        ]
        await call.reply({"Volumes": found, "Warnings": []})

    async def create(self, call: Call) -> None:
        wish = await call.body()
        checked(wish, VOLUME)
        name = str(wish.get("Name") or "")
        labels = {str(k): str(v) for k, v in object_at(wish, "Labels").items()}
        if not name:
            labels.setdefault("com.docker.volume.anonymous", "")
        config = VolumeConfig(
            name=name or secrets.token_hex(32),
            driver=str(wish.get("Driver") or "local"),
            driver_opts={str(k): str(v) for k, v in object_at(wish, "DriverOpts").items()},
            labels=labels,
            anonymous=not name,
        )
        try:
            record = await self._engine.volume_create(config)
        except StackctlError as error:
            if error.status == 500:
                raise DockerError(400, f"create {config.name}: {error}") from error
            raise
        await call.reply(shape(record), 201)

    async def inspect(self, call: Call) -> None:
        await call.reply(shape(self._find(call["name"])))

    async def update(self, call: Call) -> None:
        self._find(call["name"])
        raise DockerError(400, "only cluster volumes can be updated, and there is no swarm here")

    async def remove(self, call: Call) -> None:
        force = call.flag("force")
        try:
            record = self._find(call["name"])
        except DockerError:
            if force:
                await call.done()
                return
            raise
        users = self._engine.volume_users(record.config.name)
        if users:
            raise DockerError(
                409,
                f"remove {record.config.name}: volume is in use - [{', '.join(users)}]",
            )
        await self._engine.volume_remove(record.config.name, force=force)
        await call.done()

    async def prune(self, call: Call) -> None:
        filters = call.filters(("all", "label", "label!"))
        # Since 1.42 named volumes stay, unless all are asked for.
        everything = call.version < (1, 42) or filters.one("all", default=False)
        deleted: list[str] = []
        reclaimed = 0
        for record in self._engine.volumes():
            config = record.config
            if (
                (everything or config.anonymous)
                and filters.labels(config.labels)
                and filters.without_labels(config.labels)
                and not self._engine.volume_users(config.name)
            ):
                try:
                    size = await self._engine.volume_size(record)
                    await self._engine.volume_remove(config.name, force=False)
                except (Conflict, NotFound):
                    continue
                deleted.append(config.name)
                reclaimed += size
        await call.reply({"VolumesDeleted": deleted, "SpaceReclaimed": reclaimed})


def shape(record: VolumeRecord) -> Message:
    config = record.config
    return {
        "CreatedAt": timestamp(record.created_at).partition(".")[0] + "Z",
        "Driver": config.driver or "local",
        "Labels": dict(config.labels),
        "Mountpoint": record.mountpoint,
        "Name": config.name,
        "Options": dict(config.driver_opts),
        "Scope": "local",
    }
