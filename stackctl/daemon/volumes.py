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
from dataclasses import replace
from pathlib import Path

from stackctl.daemon.jobs import warn
from stackctl.daemon.registry import Registry
from stackctl.errors import Conflict, MachineError, NotFound, OutOfSpace, StackctlError, UsageError
from stackctl.model.container import ContainerConfig, Mount, VolumeMount
from stackctl.model.network import VolumeConfig
from stackctl.model.record import ContainerRecord, VolumeRecord
from stackctl.spec import volumes as volume_forms
from stackctl.state.paths import Paths

_TRASH = ".removed-"
#: Docker's rule; the name becomes a directory's name, so nothing else may pass.
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")

_ONLY_LOCAL = 'use the driver "local"'


class Volumes:
    """Creates, finds and removes volumes. The "local" driver only: a directory of ours, or,
    by its options, one of the host's or memory."""

    def __init__(self, paths: Paths, registry: Registry) -> None:
        self._paths = paths
        self._registry = registry

    def exists(self, name: str) -> bool:
        return self._registry.store.volume(name) is not None

    def path(self, name: str) -> Path:
        """The directory that is mounted. Raises NotFound."""
        record = self._registry.store.volume(name)
        if record is None:
            raise NotFound(
                f'volume "{name}" does not exist', hint="`stackctl up` makes the stack's anew"
            )
        return Path(record.mountpoint)

    async def create(self, config: VolumeConfig) -> VolumeRecord:
        """Idempotent: an existing volume is returned as it is."""
        existing = self._registry.store.volume(config.name)
        if existing is not None:
            return existing
        if config.driver not in ("", "local"):
            raise NotFound(_no_driver(config.name, config.driver), hint=_ONLY_LOCAL)
        if not _NAME.fullmatch(config.name) or len(config.name) > 255:
            raise StackctlError(
                f'"{config.name}" is no name for a volume',
                hint="use letters, digits, _ . and -, and begin with a letter or digit",
            )
        try:
            volume_forms.local_options(config.driver_opts)
        except ValueError as error:
            raise UsageError(f'volume "{config.name}": {error}') from None
        device = config.driver_opts.get("device", "")
        if not volume_forms.is_tmpfs(config.driver_opts) and device[:1] not in ("", "/"):
            raise UsageError(f'volume "{config.name}": device "{device}" is not an absolute path')
        directory = self._paths.volume(config.name)
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o755)
        except OSError as error:
            kind = OutOfSpace if error.errno in (errno.ENOSPC, errno.EDQUOT) else MachineError
            raise kind(f"cannot make the volume {config.name}: {error.strerror}") from error
        record = VolumeRecord(config=config, created_at=time.time(), mountpoint=str(directory))
        self._registry.store.put_volume(record)
        return record

    async def create_for(
        self, config: ContainerConfig, mount: VolumeMount, asked: VolumeConfig | None = None
    ) -> VolumeRecord:
        """The volume that a container's mount asks for and that nobody declared.

        Driver, options and labels are those of `asked`. Raises UsageError for a driver that
        there is not: NotFound would be the image's, to those who pull then.
        """
        asked = asked or VolumeConfig(name=mount.volume)
        if asked.driver != "local":
            raise UsageError(_no_driver(mount.volume, asked.driver), hint=_ONLY_LOCAL)
        return await self.create(
            replace(
                asked,
                name=mount.volume,
                # A named one that nobody declared is the user's own: `down -v` leaves it.
                project=config.project if mount.anonymous else "",
                anonymous=mount.anonymous,
                labels={
                    **asked.labels,
                    **({"com.docker.volume.anonymous": ""} if mount.anonymous else {}),
                },
            )
        )

    def mounted(self, record: ContainerRecord) -> ContainerRecord:
        """The same with what volumes are by their options, as the kernel is to mount it."""
        mounts = tuple(self._mounted(mount) for mount in record.config.mounts)
        if mounts == record.config.mounts:
            return record
        return replace(record, config=replace(record.config, mounts=mounts))

    def _mounted(self, mount: Mount) -> Mount:
        if not isinstance(mount, VolumeMount):
            return mount
        volume = self._registry.store.volume(mount.volume)
        if volume is None or not volume.config.driver_opts:
            return mount
        return volume_forms.by_options(
            volume.config.driver_opts,
            mount.target,
            read_only=mount.read_only,
            subpath=mount.subpath,
        )

    def tell_of_memory(self, config: ContainerConfig) -> None:
        """Warns of volumes that several containers cannot share."""
        for mount in config.mounts:
            volume = self._registry.store.volume(getattr(mount, "volume", ""))
            if volume is not None and volume_forms.is_tmpfs(volume.config.driver_opts):
                warn(
                    f'volume "{volume.config.name}" is memory: '
                    "each container that mounts it has its own"
                )

    def paths(self, config: ContainerConfig) -> dict[str, str]:
        """The directories of the volumes that it mounts, by name. NotFound."""
        return {
            mount.volume: str(self.path(mount.volume))
            for mount in config.mounts
            if isinstance(mount, VolumeMount)
        }

    async def remove(self, name: str, *, alive_only: bool = False) -> None:
        """Raises Conflict while a container uses it; with `alive_only`, one that is alive."""
        if not self.exists(name):
            return
        users = self.users(name, alive_only=alive_only)
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

    def users(self, name: str, *, alive_only: bool = False) -> list[str]:
        """Names of the containers that mount it."""
        return [
            record.name
            for record in self._registry.all()
            if (record.status.needs_stop or not alive_only)
            and any(isinstance(m, VolumeMount) and m.volume == name for m in record.config.mounts)
        ]

    async def sweep(self) -> None:
        """Finish removals that a kill interrupted."""
        if not self._paths.volumes.exists():
            return
        for entry in self._paths.volumes.iterdir():
            if entry.name.startswith(_TRASH):
                await asyncio.to_thread(shutil.rmtree, entry, ignore_errors=True)


def _no_driver(volume: str, driver: str) -> str:
    return f'volume "{volume}": there is no volume driver "{driver}"'
