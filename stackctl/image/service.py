"""Images as the daemon uses them: look up by reference, make a container's root.

Blocking work (reading /etc, making directories, removing what a container wrote)
runs in threads. OSErrors become errors that a user understands here, and only
here.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from stackctl.errors import (
    ImageAbsent,
    MachineError,
    NotFound,
    NotPermitted,
    OutOfSpace,
    StackctlError,
)
from stackctl.image.base import is_on_host, stacked
from stackctl.image.build.cache import Cache
from stackctl.image.drivers import Part, StorageDriver, driver_for
from stackctl.image.host import HostImage
from stackctl.image.store import Store
from stackctl.model.image import Image, RootMount, Snapshot
from stackctl.model.reference import HOST, Reference, in_registry, parse
from stackctl.state.paths import Paths
from stackctl.values import dataclass

if TYPE_CHECKING:
    from stackctl.image.build.cache_mounts import CacheMounts

    # Loaded when somebody pulls: TLS and HTTP are not for every start of the daemon.
    from stackctl.image.registry.manifest import Platform
    from stackctl.image.registry.pull import LayerProgress, Pulled

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """For whom something is done: whose credentials and proxies count, who sees the progress.

    `on_progress` is called in the loop with the image's reference.
    """

    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    on_progress: Callable[[str, LayerProgress], None] = lambda reference, progress: None
    #: Of a caller on another machine: where what it sent is here, by its own paths.
    uploads: Mapping[str, str] | None = None


#: The operations of a plan know nothing of requests; their tasks inherit this.
CALLER: ContextVar[Caller] = ContextVar("CALLER")

#: Images that are pulled or pushed at once; each has several layers under way.
_TRANSFERS = 6

#: Seconds for which a look at the host's files is good.
_FRESH = 0.5


class Images:
    """The engine's images: the built-in one, and those of the store."""

    def __init__(
        self,
        paths: Paths,
        driver: StorageDriver | None = None,
        host: HostImage | None = None,
        clock: Callable[[], float] = time.monotonic,
        store: Store | None = None,
    ) -> None:
        self._clock = clock
        self._paths = paths
        self._given_driver = driver
        self._given_store = store
        self._host = host or HostImage(paths.images)
        self._looking = asyncio.Lock()
        self._looked: tuple[float, Image] | None = None
        # Threads of their own: who starts a container does not wait for others' downloads.
        self._threads = ThreadPoolExecutor(_TRANSFERS, "transfer")

    async def resolve(self, reference: str) -> Image:
        """Raises ImageError for what is no reference, NotFound for what is not here."""
        if not _is_host(reference):
            return await self._stored(reference)
        async with self._looking:
            # Fifty services that start together share one look at the host.
            if self._looked and self._clock() - self._looked[0] < _FRESH:
                return self._looked[1]
            began = self._clock()
            image = await _run(self._host.current, "make the built-in image")
            self._looked = (began, image)
            return image

    async def resolve_for(self, reference: str, platform: str) -> Image:
        """`resolve`; ImageAbsent when the image here is for another platform. "" takes any."""
        image = await self.resolve(reference)
        if not platform:
            return image
        from stackctl.image.registry.manifest import Platform

        wanted, found = Platform.parse(platform), await self.platform_of(image)
        if (wanted.os, wanted.architecture) != (found.os, found.architecture) or (
            wanted.variant and wanted.variant != found.variant
        ):
            raise ImageAbsent(
                f"image with reference {reference} was found here for {found}, not for {wanted}"
            )
        return image

    async def platform_of(self, image: Image) -> Platform:
        """What it is for, as its config says."""
        return await _run(lambda: self._platform(image), "read the image")

    def _platform(self, image: Image) -> Platform:
        from stackctl.image.registry.manifest import Platform

        if image.reference == HOST:
            return Platform.here()
        return Platform.of(self.store.config(image.id))

    async def get(self, image_id: str) -> Image:
        """The image that a container was made from, by id ("sha256:..."). Raises NotFound."""
        return await _run(lambda: self._by_id(image_id), "read the image")

    def exists(self, reference: str) -> bool:
        """Whether `resolve` would find it. Raises ImageError for what is no reference."""
        return _is_host(reference) or self.store.find(reference) is not None

    def age(self, reference: str) -> float:
        """Seconds since an image was last pulled, built or named so; the built-in one is new."""
        return 0.0 if _is_host(reference) else self.store.age(reference)

    async def ensure(self, reference: str) -> Image:
        """`resolve`, after a pull when the image is not here."""
        try:
            return await self.resolve(reference)
        except NotFound:
            await self.pull(reference)
            return await self.resolve(reference)

    async def pull(self, reference: str, platform: Platform | None = None) -> str:
        """Fetch an image from its registry for the CALLER; a short text of what happened."""
        if _is_host(reference):
            return "built in"
        pulled = await self.fetch(reference, platform)
        return "pulled" if pulled.changed else "up to date"

    async def fetch(self, reference: str, platform: Platform | None = None) -> Pulled:
        """Raises NotFound, NotPermitted, ImageError, and MachineError for the disk."""
        from stackctl.image.registry.credentials import Keyring
        from stackctl.image.registry.http import Pauses
        from stackctl.image.registry.pull import Puller
        from stackctl.image.registry.settings import Settings

        parsed = in_registry(reference)
        caller = CALLER.get(None) or Caller()
        pauses = Pauses()
        tell = self._teller(caller, reference)

        def work() -> Pulled:
            settings = Settings.of(caller.environment)
            puller = Puller(self.store, settings, Keyring(caller.environment), pauses)
            return puller.pull(parsed, tell, platform)

        return await _cancellable(work, f"pull {parsed.familiar}", pauses.cancelled, self._threads)

    async def remote_digest(self, reference: str) -> str:
        """What a registry has a reference point at now. Raises as `fetch`."""
        from stackctl.image.registry.credentials import Keyring
        from stackctl.image.registry.http import Pauses
        from stackctl.image.registry.pull import Puller
        from stackctl.image.registry.settings import Settings

        parsed = in_registry(reference)
        caller = CALLER.get(None) or Caller()
        pauses = Pauses()

        def work() -> str:
            settings = Settings.of(caller.environment)
            return Puller(self.store, settings, Keyring(caller.environment), pauses).digest(parsed)

        doing = f"ask for {parsed.familiar}"
        return await _cancellable(work, doing, pauses.cancelled, self._threads)

    def known_digest(self, reference: str) -> str:
        """The digest that a name of this machine was pulled by; "" when it was not pulled."""
        entry = self.store.index.names().get(str(parse(reference)))
        return entry.digest if entry is not None else ""

    async def push(self, reference: str) -> tuple[str, int]:
        """The digest and size of the manifest that is in the registry now."""
        from stackctl.image.registry.credentials import Keyring
        from stackctl.image.registry.http import Pauses
        from stackctl.image.registry.push import Pusher
        from stackctl.image.registry.settings import Settings

        parsed = in_registry(reference)
        caller = CALLER.get(None) or Caller()
        pauses = Pauses()
        tell = self._teller(caller, reference)

        def work() -> tuple[str, int]:
            settings = Settings.of(caller.environment)
            pusher = Pusher(self.store, settings, Keyring(caller.environment), pauses)
            return pusher.push(parsed, tell)

        return await _cancellable(work, f"push {parsed.familiar}", pauses.cancelled, self._threads)

    async def blocking(self, work: Callable[[], T], doing: str) -> T:
        """Work on the store, in a thread; OSErrors become what a user understands."""
        return await _run(work, doing)

    @staticmethod
    def _teller(caller: Caller, reference: str) -> Callable[[LayerProgress], None]:
        loop = asyncio.get_running_loop()

        def tell(progress: LayerProgress) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(caller.on_progress, reference, progress)

        return tell

    async def prepare(self, container_id: str, image_id: str, *mounted: str) -> Snapshot:
        """The mounts of a container's root, its writable directories made (or kept).

        `mounted` are images that it mounts. Raises NotFound, as `get` does.
        """

        def mounts(image_id: str, writable: Path) -> tuple[RootMount, ...]:
            return self.driver.prepare(writable, self._parts(self._by_id(image_id))).mounts

        def work() -> Snapshot:
            writable = self._writable(container_id)
            return Snapshot(
                mounts=mounts(image_id, writable),
                mounted=tuple(
                    mounts(each, writable / f"image{number}") for number, each in enumerate(mounted)
                ),
            )

        return await _run(work, "make a container's writable layer")

    async def release(self, container_id: str) -> None:
        """Removes what the container wrote; the container must not run. Idempotent."""
        await _run(
            lambda: self.driver.release(self._writable(container_id)),
            "remove a container's writable layer",
        )

    async def sweep(self, image_ids: Iterable[str]) -> None:
        """At start: removes what a crash left half made, and images that no container uses."""
        keep = frozenset(image_ids)

        def work() -> None:
            self._host.sweep(keep)
            self.store.sweep()

        await _run(work, "sweep the images")

    @property
    def host(self) -> HostImage:
        return self._host

    @property
    def store(self) -> Store:
        """The content store; made when it is first asked for."""
        if self._given_store is None:
            self._given_store = store = Store(self._paths)
            # Layers that the next build would find are no rubbish.
            store.keepers.append(self._cache_of(store).layers)
        return self._given_store

    @property
    def build_cache(self) -> Cache:
        """What builds have left for later ones; its methods block."""
        return self._cache_of(self.store)

    @property
    def cache_mounts(self) -> CacheMounts:
        """What RUN --mount=type=cache has left; its methods block."""
        from stackctl.image.build.cache_mounts import CacheMounts

        return CacheMounts(self._paths.root / "build" / "mounts")

    def _cache_of(self, store: Store) -> Cache:
        return Cache(self._paths.root / "build" / "cache", store)

    @property
    def driver(self) -> StorageDriver:
        """STACKCTL_STORAGE_DRIVER, or what the root's file system is best at."""
        if self._given_driver is None:
            wanted = os.environ.get("STACKCTL_STORAGE_DRIVER", "")
            self._given_driver = driver_for(wanted, self._paths.root)
        return self._given_driver

    async def _stored(self, reference: str) -> Image:
        """Raises NotFound."""

        def work() -> Image | None:
            found = self.store.find(reference)
            return self.store.image(found[0], reference) if found else None

        image = await _run(work, "read the image")
        if image is None:
            raise absent(parse(reference))
        return image

    def _find_id(self, image_id: str) -> Image | None:
        found = self._host.get(image_id)
        if found is None:
            with suppress(NotFound):
                found = self.store.image(image_id)
        return found

    def _by_id(self, image_id: str) -> Image:
        found = self._find_id(image_id)
        if found is None:
            raise NotFound(
                f"image {image_id[:19]} is not here any more",
                hint="recreate the container: stackctl up --force-recreate",
            )
        return found

    def _parts(self, image: Image) -> tuple[Part, ...]:
        if image.reference == HOST or self._host.get(image.id) is not None:
            return self._host.parts(image)
        layers = self.store.ensure_unpacked(image.id)
        if is_on_host(self.store.config(image.id)):
            return stacked(layers, self._host.parts(self._host.current()))
        return (Part("/", layers),)

    def _writable(self, container_id: str) -> Path:
        return self._paths.container(container_id) / "rw"


async def _run(work: Callable[[], T], doing: str, threads: Executor | None = None) -> T:
    try:
        return await asyncio.get_running_loop().run_in_executor(threads, work)
    except OSError as e:
        raise _translated(e, doing) from e


async def _cancellable(
    work: Callable[[], T], doing: str, cancelled: threading.Event, threads: Executor
) -> T:
    """As _run; a cancelled caller stops the work, and waits until it has stopped."""
    task = asyncio.ensure_future(_run(work, doing, threads))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        cancelled.set()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise


def _translated(e: OSError, doing: str) -> StackctlError:
    text = f"could not {doing}: {e.strerror or e}" + (f" ({e.filename})" if e.filename else "")
    if e.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutOfSpace(
            text, hint="free some space or inodes, or move STACKCTL_ROOT to a larger file system"
        )
    if e.errno in (errno.EPERM, errno.EACCES):
        return NotPermitted(text, hint="the engine has to run as root, on a disk it may write to")
    return MachineError(text, hint="is STACKCTL_ROOT on a healthy, writable file system?")


def _is_host(reference: str) -> bool:
    """Raises ImageError for what is neither a reference nor an image's id."""
    if reference.startswith("sha256:"):
        return False
    return parse(reference).is_host


def absent(reference: Reference) -> ImageAbsent:
    """The error for an image that is not here."""
    return ImageAbsent(
        f"image {reference.familiar!r} is not on this machine",
        hint=f"get it with `stackctl image pull {reference.familiar}`; `image: stackctl/host`"
        " runs whatever is installed on this machine",
    )
