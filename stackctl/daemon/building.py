"""RUN instructions as containers of the engine: short-lived, with no record, in one shim.

A build's container is known to nobody but its build. When the engine dies in between,
the next one finds a control group without a record and ends it, and `sweep` takes away
the files and the network.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from stackctl.daemon import names
from stackctl.daemon.engine import Engine
from stackctl.daemon.parts import Parts
from stackctl.errors import OperationFailed
from stackctl.image.build.builder import Builder
from stackctl.image.build.request import Engine as BuilderEngine
from stackctl.image.build.request import Output, RunJob
from stackctl.image.service import CALLER, Caller
from stackctl.model.container import ContainerConfig, NetworkAttachment, Security
from stackctl.model.image import Image
from stackctl.model.network import NetworkConfig
from stackctl.model.record import ContainerRecord, NetworkRecord, ProcessRef
from stackctl.model.reference import parse
from stackctl.runtime.container import StartRequest
from stackctl.scheduler.ops import CreateNetwork, RemoveNetwork

#: No project of a user begins with an underscore.
SHIM = "_build"
NETWORK = "_build"
_SHM_SIZE = 67108864


class Processes:
    """Implements image.build.request.Runner on the runtime."""

    def __init__(self, parts: Parts, engine: Engine) -> None:
        self._parts = parts
        self._engine = engine
        self._network = asyncio.Lock()
        self._users = 0

    @asynccontextmanager
    async def session(self) -> AsyncIterator[None]:
        """Around builds: when the last one ends, shim and network go."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                await self._parts.runtime.close_stack(SHIM)
                await self.drop_network()

    async def drop_network(self) -> None:
        if self._parts.registry.store.network_by_name(NETWORK) is not None:
            async with self._network:
                if not self._users:
                    await self._engine.perform(RemoveNetwork(name=NETWORK))

    async def run(self, job: RunJob, output: Output) -> int:
        """The exit code. Cancelled, nothing of the process is left. Raises StackctlError."""
        parts, store = self._parts, self._parts.registry.store
        async with AsyncExitStack() as undo:
            base = 0 if job.privileged else store.allocate_id_range()
            if base:
                undo.callback(store.release_id_range, base)
            record = ContainerRecord(
                id=secrets.token_hex(32),
                config=self._config(job),
                created_at=time.time(),
                id_base=base,
                boot_id=parts.machine.boot_id,
            )
            if job.network == "default":
                network = await self._ensure_network()
                endpoint = parts.net.lease(network, record.id, NetworkAttachment(network=NETWORK))
                undo.callback(parts.net.release, endpoint)
                undo.push_async_callback(parts.net.leave, record.id)
                record = replace(record, endpoints=(endpoint,))
            home = parts.paths.container(record.id)
            undo.push_async_callback(asyncio.to_thread, shutil.rmtree, home, ignore_errors=True)
            undo.push_async_callback(parts.runtime.forget, record)
            return await self._process(record, job, output)

    async def _process(self, record: ContainerRecord, job: RunJob, output: Output) -> int:
        parts = self._parts
        port = 32768 + secrets.randbelow(28000) if record.endpoints else 0

        async def attach(process: ProcessRef) -> None:
            if record.endpoints:
                naming = names.naming(record, (process.pid, port))
                await parts.net.attach(process.pid, record.endpoints, naming)

        request = StartRequest(
            record=record,
            snapshot=job.snapshot,
            hosts=names.hosts_file(record),
            resolv_conf=names.resolver_file(record.config, parts.machine.resolver_lines),
            hostname=names.hostname(record),
            netns_blobs=parts.net.netns_blobs(port) if port else (),
        )
        session = await parts.runtime.attach(record)
        await parts.runtime.start(request, attach)
        try:
            while (piece := await session.read()) is not None:
                output(*piece)
            return await session.wait()
        except BaseException:
            with contextlib.suppress(Exception):
                await parts.runtime.kill(record)
                await asyncio.shield(session.wait())
            raise
        finally:
            await session.close()

    def _config(self, job: RunJob) -> ContainerConfig:
        return ContainerConfig(
            name=f"build-{secrets.token_hex(6)}",
            image="",
            image_id="",
            argv=job.argv,
            env=job.env,
            working_dir=job.working_dir,
            user=job.user,
            hostname=job.hostname,
            mounts=job.mounts,
            networks=(NetworkAttachment(network=NETWORK),) if job.network == "default" else (),
            network_mode="" if job.network == "default" else job.network,
            security=Security(privileged=job.privileged),
            extra_hosts=job.extra_hosts,
            shm_size=job.shm_size or _SHM_SIZE,
            ulimits=job.ulimits,
            init=True,
            project=SHIM,
        )

    async def _ensure_network(self) -> NetworkRecord:
        store = self._parts.registry.store
        async with self._network:
            if store.network_by_name(NETWORK) is None:
                await self._engine.perform(CreateNetwork(network=NetworkConfig(name=NETWORK)))
        record = store.network_by_name(NETWORK)
        if record is None:
            raise OperationFailed("the network of builds went away")
        return record


class Builds:
    """The builder of an engine, with its parts."""

    def __init__(self, parts: Parts, engine: Engine) -> None:
        self._parts = parts
        self._processes = Processes(parts, engine)
        self._builder: Builder | None = None

    @property
    def builder(self) -> Builder:
        if self._builder is None:
            images = self._parts.images
            self._builder = Builder(
                self._parts.paths,
                images.store,
                images.host,
                BuilderEngine(
                    runner=self._processes,
                    base_image=self._base_image,
                    push=images.push,
                    environment=lambda: (CALLER.get(None) or Caller()).environment,
                ),
            )
        return self._builder

    def digest(self, image_id: str) -> str:
        """Of the image's manifest; "" when the store does not keep the image."""
        record = self._parts.images.store.index.records().get(image_id)
        return record.manifest if record else ""

    def session(self) -> contextlib.AbstractAsyncContextManager[None]:
        return self._processes.session()

    async def recover(self) -> None:
        """What a killed engine left of its builds."""
        await asyncio.to_thread(self.builder.sweep)
        runtime = self._parts.runtime
        if self._parts.paths.shim_socket(SHIM).exists():
            # Its containers were ended with their control groups: nobody else sends it home.
            await runtime.ensure_shim(SHIM)
            await runtime.close_stack(SHIM)
        await self._processes.drop_network()

    async def _base_image(self, reference: str, always: bool) -> Image:
        """Images are pulled when they are missing, or when that was asked for (--pull)."""
        images = self._parts.images
        if always and not parse(reference).is_host:
            await images.pull(reference)
            return await images.resolve(reference)
        return await images.ensure(reference)
