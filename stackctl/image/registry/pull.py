"""Pull: a reference becomes an image in the store, its layers unpacked on the way.

    manifest (-> the platform's manifest) -> config -> all layers at once
    a layer:   registry -> file.part + hash ------> verified, renamed
                        \\-> unpacking process ----> verified, renamed

A download that breaks goes on where it was, in this process or the next one: the
part that is on the disk is read (hashed, unpacked) first, the rest is asked for.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from stackctl.errors import ImageError, OutOfSpace
from stackctl.image.config import diff_ids
from stackctl.image.content import MAX_DOCUMENT, Descriptor, Layer, document
from stackctl.image.registry.client import Repository, reachable
from stackctl.image.registry.credentials import Keyring
from stackctl.image.registry.http import Cancelled, Http, Pauses, Unreachable
from stackctl.image.registry.manifest import Manifest, Platform, choose, layer_type, parse
from stackctl.image.registry.settings import Endpoint, Settings
from stackctl.image.store import Store
from stackctl.image.unpack.process import Unpacking
from stackctl.model.image import Image
from stackctl.model.reference import Reference
from stackctl.values import dataclass

_AT_ONCE = 6
#: How often a broken download is taken up again without a byte of progress.
_ATTEMPTS = 5
_STEP = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerProgress:
    """`state`: waiting, exists, downloading, unpacking, done. Bytes of the compressed layer."""

    digest: str
    state: str
    current: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """`digest` is what the reference pointed at; `changed`: it was not here before."""

    image: Image
    digest: str
    changed: bool


OnProgress = Callable[[LayerProgress], None]


class Puller:
    """Pulls into one store. Blocking; cancelled by `pauses.cancelled`."""

    def __init__(
        self, store: Store, settings: Settings, keyring: Keyring, pauses: Pauses | None = None
    ) -> None:
        self._store = store
        self._settings = settings
        self._keyring = keyring
        self._pauses = pauses or Pauses()

    def pull(
        self,
        reference: Reference,
        on_progress: OnProgress = lambda progress: None,
        platform: Platform | None = None,
    ) -> Pulled:
        """Raises NotFound, NotPermitted, ImageError, Unreachable, OSError."""
        http = Http(self._settings, self._pauses)
        wanted = reference.digest or reference.tag
        manifests: list[tuple[bytes, str, str]] = []

        def make(endpoint: Endpoint) -> Repository:
            credentials = None if endpoint.mirror else self._keyring.get(reference.domain)
            return Repository(http, endpoint, reference.path, credentials)

        try:
            repository = reachable(
                make,
                self._settings.endpoints(reference.domain),
                lambda repository: manifests.append(repository.manifest(wanted)),
            )
            return self._take(reference, repository, manifests[-1], platform, on_progress)
        except (Unreachable, Cancelled):
            raise
        finally:
            http.close()

    def digest(self, reference: Reference) -> str:
        """What the registry has the reference point at now; nothing is stored.

        Raises NotFound, NotPermitted, ImageError, Unreachable.
        """
        http = Http(self._settings, self._pauses)
        found: list[str] = []

        def make(endpoint: Endpoint) -> Repository:
            credentials = None if endpoint.mirror else self._keyring.get(reference.domain)
            return Repository(http, endpoint, reference.path, credentials)

        def ask(repository: Repository) -> None:
            wanted = reference.digest or reference.tag
            found.append(repository.manifest_digest(wanted) or repository.manifest(wanted)[2])

        try:
            reachable(make, self._settings.endpoints(reference.domain), ask)
        finally:
            http.close()
        return found[-1]

    def _take(
        self,
        reference: Reference,
        repository: Repository,
        top: tuple[bytes, str, str],
        platform: Platform | None,
        on_progress: OnProgress,
    ) -> Pulled:
        raw, media_type, pulled_by = top
        found = parse(raw, media_type)
        manifest_digest = pulled_by
        if not isinstance(found, Manifest):
            chosen = choose(found, platform or Platform.here())
            raw, media_type, manifest_digest = repository.manifest(chosen.digest)
            found = parse(raw, media_type)
            if not isinstance(found, Manifest):
                raise ImageError("an index leads to another index")
        with self._store.lease():
            self._store.protect([manifest_digest, found.config.digest])
            config = self._config(repository, found.config)
            if platform is not None and manifest_digest == pulled_by:  # no index has said it
                choose(((found.config, Platform.of(document(config))),), platform)
            layers = self._layers(repository, found, config, on_progress)
            before = self._store.index.names().get(str(reference))
            self._store.put_blob(raw, expected=manifest_digest)
            image = self._store.put_image(
                config, layers, [str(reference)], manifest=manifest_digest, pulled_by=pulled_by
            )
        return Pulled(
            image=image, digest=pulled_by, changed=before is None or before.image != image.id
        )

    def _config(self, repository: Repository, wanted: Descriptor) -> bytes:
        blobs = self._store.blobs
        if blobs.has(wanted.digest):
            return blobs.read(wanted.digest, MAX_DOCUMENT)
        if wanted.size > MAX_DOCUMENT:
            raise ImageError(f"the image's config has {wanted.size} bytes")
        data = bytearray()
        pieces, _ = repository.blob(wanted.digest)
        for piece in _read(pieces):
            data += piece
            if len(data) > MAX_DOCUMENT:
                raise ImageError("the image's config is too large")
        if "sha256:" + hashlib.sha256(data).hexdigest() != wanted.digest:
            raise ImageError("the image's config is not what the manifest says")
        return bytes(data)

    # -- layers

    def _layers(
        self, repository: Repository, manifest: Manifest, config: bytes, on_progress: OnProgress
    ) -> list[Layer]:
        ids = diff_ids(document(config))
        if len(ids) != len(manifest.layers):
            raise ImageError("config and manifest of the image differ about its layers")
        layers = [
            Layer(digest=d.digest, diff_id=diff_id, size=d.size, media_type=layer_type(d))
            for d, diff_id in zip(manifest.layers, ids, strict=True)
        ]
        unique = {layer.digest: layer for layer in layers}
        if any(unique[layer.digest].diff_id != layer.diff_id for layer in layers):
            raise ImageError("the image's config gives one layer two digests")
        stop = threading.Event()
        for layer in unique.values():
            on_progress(LayerProgress(digest=layer.digest, state="waiting", total=layer.size))
        with ThreadPoolExecutor(_AT_ONCE, "pull") as pool:
            # The largest first: they take longest.
            futures = [
                pool.submit(self._layer, repository, layer, on_progress, stop)
                for layer in sorted(unique.values(), key=lambda layer: -layer.size)
            ]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            if any(future.exception() for future in done):
                stop.set()
                pool.shutdown(cancel_futures=True)
                for future in done:
                    future.result()
        return layers

    def _layer(
        self, repository: Repository, layer: Layer, on_progress: OnProgress, stop: threading.Event
    ) -> None:
        store = self._store
        store.protect([layer.digest, layer.diff_id])

        def tell(state: str) -> None:
            on_progress(
                LayerProgress(
                    digest=layer.digest, state=state, current=layer.size, total=layer.size
                )
            )

        state = "exists"
        # One at a time for each layer, also when several images are pulled: the second finds
        # what the first has made.
        with store.unpacked.unpacking(layer.diff_id) as process:
            if not store.blobs.has(layer.digest):
                self._download(repository, layer, process, on_progress, stop)
                state = "done"
            elif process is not None:
                with store.open_blob(layer.digest) as blob:
                    process.feed(blob.fileno())
            if process is not None:
                tell("unpacking")
        tell(state)

    def _download(
        self,
        repository: Repository,
        layer: Layer,
        process: Unpacking | None,
        on_progress: OnProgress,
        stop: threading.Event,
    ) -> None:
        part = self._store.blobs.part(layer.digest)
        with _Part(part, layer, process) as sink:
            sink.take_up()
            shown = 0
            failures = 0
            while sink.size < layer.size or not layer.size:
                began = sink.size
                try:
                    pieces, begin = repository.blob(layer.digest, sink.size)
                    for piece in sink.after(begin, pieces):
                        sink.write(piece)
                        if sink.size - shown >= _STEP:
                            shown = sink.size
                            on_progress(
                                LayerProgress(
                                    digest=layer.digest,
                                    state="downloading",
                                    current=shown,
                                    total=layer.size,
                                )
                            )
                        if stop.is_set() or self._pauses.cancelled.is_set():
                            raise Cancelled("the pull was cancelled")
                except (ConnectionError, TimeoutError) as error:
                    failures = 1 if sink.size > began else failures + 1
                    if failures >= _ATTEMPTS:
                        raise Unreachable(
                            f"{repository.endpoint.host} breaks off the download: {error}",
                            hint="pull again: it goes on where it was",
                        ) from None
                    self._pauses.wait(failures, None)
                    continue
                break
            sink.publish(self._store)


class _Part:
    """The file that a download is collected in, its hash, and the unpacking beside it."""

    def __init__(self, path: Path, layer: Layer, process: Unpacking | None) -> None:
        self._path = path
        self._layer = layer
        self._process = process
        self._hash = hashlib.sha256()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.size = 0

    def take_up(self) -> None:
        """What an earlier attempt has left counts."""
        if os.fstat(self._fd).st_size > self._layer.size:
            os.ftruncate(self._fd, 0)
        while piece := os.read(self._fd, _STEP):
            self._account(memoryview(piece))

    def after(self, begin: int, pieces: Iterator[memoryview]) -> Iterator[memoryview]:
        """The pieces of what is missing, when a registry began again from the start."""
        skip = self.size - begin
        for piece in pieces:
            if skip >= len(piece):
                skip -= len(piece)
                continue
            yield piece[skip:]
            skip = 0

    def write(self, piece: memoryview) -> None:
        if self.size + len(piece) > self._layer.size:
            self._drop()
            raise ImageError("a layer is larger than the manifest says")
        view = piece
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except OSError as error:
                raise OutOfSpace(
                    f"a layer cannot be stored: {error.strerror}", hint="free some space"
                ) from error
        self._account(piece)

    def publish(self, store: Store) -> None:
        if self.size != self._layer.size:
            self._drop()
            raise ImageError("a layer is smaller than the manifest says")
        if "sha256:" + self._hash.hexdigest() != self._layer.digest:
            # Not to be resumed: it would be wrong again.
            self._drop()
            raise ImageError(
                f"what arrived as {self._layer.digest[:19]} is something else",
                hint="the registry, or something on the way to it, changed the content",
            )
        store.blobs.publish(self._path, self._layer.digest)

    def _account(self, piece: memoryview) -> None:
        self._hash.update(piece)
        if self._process is not None:
            self._process.write(piece)
        self.size += len(piece)

    def _drop(self) -> None:
        os.unlink(self._path)

    def __enter__(self) -> _Part:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _read(pieces: Iterator[memoryview]) -> Iterator[memoryview]:
    try:
        yield from pieces
    except OSError as error:
        raise Unreachable(f"the registry broke off: {error}", hint="try again") from None
