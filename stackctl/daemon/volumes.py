"""Named and anonymous volumes: directories under the root of state, and their records.

A removal moves the directory aside before the record goes, so that a kill in
between never lets a later volume of the same name see old data.
"""

from __future__ import annotations

import asyncio
import errno
import re
import shutil
import time
from pathlib import Path

from stackctl.daemon.registry import Registry
from stackctl.errors import Conflict, MachineError, NotFound, OutOfSpace, StackctlError
from stackctl.model.container import ContainerConfig, VolumeMount
from stackctl.model.network import VolumeConfig
from stackctl.model.record import VolumeRecord
from stackctl.state.paths import Paths

_TRASH = ".removed-"
#: Docker's rule; the name becomes a directory's name, so nothing else may pass.
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")


class Volumes:
    """Creates, finds and removes volumes. The "local" driver only, without options."""

    def __init__(self, paths: Paths, registry: Registry) -> None:
        self._paths = paths
        self._registry = registry

    def exists(self, name: str) -> bool:
        return self._registry.store.volume(name) is not None

    def path(self, name: str) -> Path:
        """The directory that is mounted. Raises NotFound."""
        record = self._registry.store.volume(name)
        if record is None:
            raise NotFound(f'volume "{name}" does not exist')
        return Path(record.mountpoint)

    async def create(self, config: VolumeConfig) -> VolumeRecord:
        """Idempotent: an existing volume is returned as it is."""
        existing = self._registry.store.volume(config.name)
        if existing is not None:
            return existing
        if config.driver not in ("", "local"):
            raise NotFound(
                f'volume "{config.name}": there is no volume driver "{config.driver}"',
                hint='use the driver "local"',
            )
        if not _NAME.fullmatch(config.name) or len(config.name) > 255:
            raise StackctlError(
                f'"{config.name}" is no name for a volume',
                hint="use letters, digits, _ . and -, and begin with a letter or digit",
            )
        directory = self._paths.volume(config.name)
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o755)
        except OSError as error:
            kind = OutOfSpace if error.errno in (errno.ENOSPC, errno.EDQUOT) else MachineError
            raise kind(f"cannot make the volume {config.name}: {error.strerror}") from error
        record = VolumeRecord(config=config, created_at=time.time(), mountpoint=str(directory))
        self._registry.store.put_volume(record)
        return record

    async def create_for(self, config: ContainerConfig, mount: VolumeMount) -> VolumeRecord:
        """The volume that a container's mount asks for and that nobody declared."""
        return await self.create(
            VolumeConfig(
                name=mount.volume,
                # A named one that nobody declared is the user's own: `down -v` leaves it.
                project=config.project if mount.anonymous else "",
                anonymous=mount.anonymous,
                labels={"com.docker.volume.anonymous": ""} if mount.anonymous else {},
            )
        )

    async def remove(self, name: str) -> None:
        """Raises Conflict while a container uses it."""
        if not self.exists(name):
            return
        users = self.users(name)
        if users:
            raise Conflict(
                f'volume "{name}" is in use by {", ".join(users)}',
                hint="remove these containers first",
            )
        directory = self._paths.volume(name).parent
        aside = directory.with_name(f"{_TRASH}{time.time_ns():x}-{name}")
        if directory.exists():
            directory.rename(aside)
        self._registry.store.delete_volume(name)
        await asyncio.to_thread(shutil.rmtree, aside, ignore_errors=True)

    async def remove_if_unused(self, name: str) -> None:
        if not self.users(name):
            await self.remove(name)

    def users(self, name: str) -> list[str]:
        """Names of the containers that mount it."""
        return [
            record.name
            for record in self._registry.all()
            if any(isinstance(m, VolumeMount) and m.volume == name for m in record.config.mounts)
        ]

    async def sweep(self) -> None:
        """Finish removals that a kill interrupted."""
        if not self._paths.volumes.exists():
            return
        for entry in self._paths.volumes.iterdir():
            if entry.name.startswith(_TRASH):
                await asyncio.to_thread(shutil.rmtree, entry, ignore_errors=True)
