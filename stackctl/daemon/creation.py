"""Makes single containers from a wish in Docker's form: image, networks, name, record.

The CLI's `container run` and Docker's API come through here. What a stack declares
beforehand is made on demand for a single container: the default network, named volumes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stackctl.daemon import names, volume_wishes
from stackctl.daemon.containers import Containers
from stackctl.daemon.engine import Engine
from stackctl.daemon.parts import Parts
from stackctl.daemon.random_names import random_name
from stackctl.errors import Conflict, NotFound, UsageError
from stackctl.model.container import BindMount, ContainerConfig, Mount, RestartMode, Status
from stackctl.model.network import DEFAULT_NETWORK, default_network
from stackctl.model.record import ContainerRecord
from stackctl.scheduler.ops import CreateNetwork, RemoveNetwork


class Creation:
    def __init__(self, parts: Parts, containers: Containers, engine: Engine) -> None:
        self._parts = parts
        self._containers = containers
        self._engine = engine

    async def create(
        self,
        wish: dict[str, Any],
        *,
        name: str = "",
        platform: str = "",
        start_soon: bool = False,
    ) -> ContainerRecord:
        """A container that nobody has started. `name` "": a random one.

        With `platform` (linux/arm64) the image has to be for it. With `start_soon` its shim
        comes up meanwhile. ImageAbsent, NotFound (network), Conflict (name, address),
        UsageError.
        """
        container_id = secrets.token_hex(32)
        shim = None
        if start_soon:
            shim = asyncio.ensure_future(self._parts.runtime.ensure_shim(container_id))
        try:
            config = await self._config(name, wish, platform)
            record = await self._containers.create(
                config, container_id=container_id, volumes=volume_wishes.asked(wish, config)
            )
            self._parts.volumes.tell_of_memory(record.config)
            return record
        except BaseException:
            if shim is not None:
                await asyncio.wait([shim])
                await self._parts.runtime.close_stack(container_id)
            raise
        finally:
            if shim is not None and not shim.done():
                await asyncio.wait([shim])
            if shim is not None and not shim.cancelled():
                shim.exception()  # the start will say what is wrong

    async def _config(self, name: str, wish: dict[str, Any], platform: str) -> ContainerConfig:
        # It loads while the socket answers already.
        from stackctl.daemon.single import container_config

        reference = str(wish.get("Image") or "")
        if not reference:
            raise UsageError("a container needs an image")
        image = await self._parts.images.resolve_for(reference, platform)
        config = container_config(
            name or self._free_name(),
            wish,
            image,
            lambda target: secrets.token_hex(32),
            self._volumes_from(wish),
        )
        self._check_links(wish)
        await asyncio.to_thread(_check_sources, config.mounts)
        for attachment in config.networks:
            await self._ensure_network(attachment.network)
        return config

    def _check_links(self, wish: dict[str, Any]) -> None:
        """Whom HostConfig links to has to be there; endpoints may name who comes later."""
        from stackctl.daemon.single import links

        for _, target in links(wish.get("HostConfig") or {}):
            try:
                self._parts.registry.store.find_container(target)
            except NotFound as error:
                raise UsageError(f"could not get container for {target}: {error}") from error

    def _free_name(self) -> str:
        name = random_name()
        while self._parts.registry.find_name(name) is not None:
            name = f"{random_name()}{secrets.randbelow(1000)}"
        return name

    def _volumes_from(self, wish: dict[str, Any]) -> tuple[Mount, ...]:
        """The mounts of other containers (`CONTAINER[:ro|rw]`)."""
        found: list[Mount] = []
        for spec in (wish.get("HostConfig") or {}).get("VolumesFrom") or ():
            reference, _, mode = str(spec).partition(":")
            if mode not in ("", "ro", "rw"):
                raise UsageError(f'volumes from "{spec}": "{mode}" is neither ro nor rw')
            try:
                record = self._parts.registry.store.find_container(reference)
            except NotFound as error:
                # A mistake in the request, not a thing that it is about.
                raise UsageError(f"volumes from {reference}: {error}") from error
            for mount in record.config.mounts:
                found.append(replace(mount, read_only=True) if mode == "ro" else mount)
        return tuple(found)

    async def _ensure_network(self, name: str) -> None:
        store = self._parts.registry.store
        if store.network_by_name(name) is not None:
            return
        if name != DEFAULT_NETWORK:
            raise NotFound(f'network "{name}" does not exist')
        await self._engine.perform(CreateNetwork(network=default_network()))

    async def prune_networks(self, wanted: Callable[[float, Mapping[str, str]], bool]) -> list[str]:
        """Removes networks that no container is in, but for the default one; their names."""
        used = {e.network_id for r in self._parts.registry.all() for e in r.endpoints}
        gone = []
        for record in self._parts.registry.store.networks():
            name = record.config.name
            if record.id in used or name == DEFAULT_NETWORK:
                continue
            if wanted(record.created_at, record.config.labels):
                with contextlib.suppress(Conflict):  # somebody was quicker
                    if await self._engine.remove_network(record, is_unused=True):
                        gone.append(name)
        return gone

    async def drop_default_network(self) -> None:
        """As the engine leaves: what it made by itself it takes away, unless it is in use."""
        used = {e.network for r in self._parts.registry.all() for e in r.endpoints}
        if DEFAULT_NETWORK not in used:
            await self._engine.perform(RemoveNetwork(name=DEFAULT_NETWORK))

    async def start(
        self, record: ContainerRecord, size: tuple[int, int] | None = None
    ) -> ContainerRecord:
        """Start it; a container that is to be removed when it ends goes when it cannot start."""
        try:
            return await self._containers.start(record.id, size=size)
        except BaseException:
            if record.config.auto_remove:
                await self._containers.remove(record.id, anonymous_volumes=True)
            raise

    async def restart(
        self, record: ContainerRecord, timeout: float | None, signal_name: str
    ) -> ContainerRecord:
        """Stop it, and start it again; one that goes when it ends stays meanwhile."""
        with self._containers.coming_back(record.id):
            await self._containers.stop(record.id, timeout, signal_name)
            return await self.start(record)

    async def remove(
        self, record: ContainerRecord, *, force: bool = False, volumes: bool = False
    ) -> None:
        """Conflict for one that runs, unless `force`."""
        if force and record.status.needs_stop:
            if record.status in (Status.RUNNING, Status.PAUSED):
                with contextlib.suppress(Conflict):  # it has just ended by itself
                    await self._containers.kill(record.id)
            # What is about to start, by its policy, has no process that could be killed yet.
            await self._containers.stop(record.id, 0.0)
        await self._containers.remove(record.id, anonymous_volumes=volumes)

    async def update(self, record: ContainerRecord, host: dict[str, Any]) -> dict[str, Any]:
        """Other limits and another restart policy, at once where it runs."""
        from stackctl.daemon import single, single_rights

        config = replace(record.config, limits=single_rights.limits(host, record.config.limits))
        if (policy := host.get("RestartPolicy")) and policy.get("Name"):
            config = replace(config, restart=single.restart_policy(policy))
        if config.auto_remove and config.restart.mode is not RestartMode.NO:
            raise UsageError("a container that is removed when it ends cannot be restarted")
        record = replace(record, config=config)
        if record.status.is_alive:
            await self._parts.runtime.update(record, config.limits)
        self._parts.registry.update(record.id, config=config)
        self._parts.events.publish("container", "update", record.id, names.attributes(config))
        return {"Warnings": []}

    async def writable_size(self, record: ContainerRecord) -> int:
        """Bytes that the container wrote into its own layer."""
        directory = self._parts.paths.container(record.id) / "rw"
        return await asyncio.to_thread(tree_size, directory)


def _check_sources(mounts: Iterable[Mount]) -> None:
    """What shall be mounted from the host, and is not to be made, has to be there. Blocking."""
    for mount in mounts:
        if not isinstance(mount, BindMount) or mount.create_host_path:
            continue
        if not os.path.lexists(mount.source):
            raise UsageError(
                'invalid mount config for type "bind": '
                f"bind source path does not exist: {mount.source}"
            )


def tree_size(directory: Path) -> int:
    """Bytes that the files below `directory` take on the disk, each once. Blocking."""
    total, seen, pending = 0, set(), [os.fspath(directory)]
    while pending:
        try:
            entries = list(os.scandir(pending.pop()))
        except OSError:
            continue  # it was removed meanwhile
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)
            elif (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                total += status.st_blocks * 512
    return total
