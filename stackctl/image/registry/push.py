"""Push: an image of the store to a registry, layers first, the manifest last.

Layers made here lie in the store as plain tars; a registry gets them compressed.
An image that came from a registry goes out as it came in, byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from stackctl.errors import NotFound
from stackctl.image.compress import compressed
from stackctl.image.content import MAX_DOCUMENT, OCI_CONFIG, OCI_MANIFEST, Descriptor
from stackctl.image.registry.client import Repository, reachable
from stackctl.image.registry.credentials import Keyring
from stackctl.image.registry.http import Cancelled, Http, Pauses, Unreachable
from stackctl.image.registry.pull import LayerProgress, OnProgress
from stackctl.image.registry.settings import Endpoint, Settings
from stackctl.image.store import Store
from stackctl.model.reference import Reference, parse

_AT_ONCE = 4
_ATTEMPTS = 4
_PIECE = 1 << 20


class Pusher:
    """Pushes from one store. Blocking."""

    def __init__(
        self, store: Store, settings: Settings, keyring: Keyring, pauses: Pauses | None = None
    ) -> None:
        self._store = store
        self._settings = settings
        self._keyring = keyring
        self._pauses = pauses or Pauses()

    def push(
        self, reference: Reference, on_progress: OnProgress = lambda progress: None
    ) -> tuple[str, int]:
        """The manifest's digest and size. Raises NotFound, NotPermitted, Unreachable, OSError."""
        found = self._store.find(str(reference))
        if found is None:
            raise NotFound(
                f"there is no image {reference.familiar!r} here",
                hint="`stackctl image ls` shows what there is; `stackctl image tag` names it",
            )
        image_id = found[0]
        http = Http(self._settings, self._pauses)
        endpoints = [e for e in self._settings.endpoints(reference.domain) if not e.mirror]
        credentials = self._keyring.get(reference.domain)

        def make(endpoint: Endpoint) -> Repository:
            return Repository(http, endpoint, reference.path, credentials)

        try:
            with self._store.lease():
                compressed(self._store, image_id)
                record = self._store.record(image_id)
                self._store.protect([record.manifest, *(x.digest for x in record.layers)])
                probe = record.layers[0].digest if record.layers else image_id
                repository = reachable(make, endpoints, lambda r: r.has_blob(probe))
                blobs = {
                    image_id: Descriptor(digest=image_id, size=self._store.blobs.size(image_id)),
                    **{layer.digest: layer.descriptor for layer in record.layers},
                }
                sources = self._sources(reference)
                with ThreadPoolExecutor(_AT_ONCE, "push") as pool:
                    list(
                        pool.map(
                            lambda blob: self._blob(repository, blob, sources, on_progress),
                            blobs.values(),
                        )
                    )
                raw = self._store.blobs.read(record.manifest, MAX_DOCUMENT)
                kind = str(json.loads(raw).get("mediaType") or OCI_MANIFEST)
                repository.put_manifest(reference.tag or reference.digest, raw, kind)
            self._store.tag(image_id, str(reference), pulled_by=record.manifest)
            return record.manifest, len(raw)
        finally:
            http.close()

    def _sources(self, reference: Reference) -> dict[str, str]:
        """By blob: another repository of the same registry that has it, as far as we know."""
        found: dict[str, str] = {}
        for name, entry in self._store.index.names().items():
            other = parse(name)
            if other.domain != reference.domain or other.path == reference.path:
                continue
            if entry.digest:
                for layer in self._store.record(entry.image).layers:
                    found[layer.digest] = other.path
        return found

    def _blob(
        self,
        repository: Repository,
        blob: Descriptor,
        sources: dict[str, str],
        on_progress: OnProgress,
    ) -> None:
        def tell(state: str, current: int = 0) -> None:
            is_layer = blob.media_type not in ("", OCI_CONFIG)
            if is_layer:
                on_progress(
                    LayerProgress(digest=blob.digest, state=state, current=current, total=blob.size)
                )

        if repository.has_blob(blob.digest):
            tell("exists", blob.size)
            return
        source = sources.get(blob.digest, "")
        location = repository.mount(blob.digest, source) if source else repository.begin_upload()
        if not location:
            tell("mounted", blob.size)
            return
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                repository.upload(location, blob.digest, blob.size, self._body(blob, tell))
                break
            except Unreachable:
                if attempt == _ATTEMPTS:
                    raise
                self._pauses.wait(attempt, None)
                if repository.has_blob(blob.digest):
                    break
                location = repository.begin_upload()
        tell("done", blob.size)

    def _body(
        self, blob: Descriptor, tell: Callable[[str, int], None]
    ) -> Callable[[], Iterator[bytes]]:
        def pieces() -> Iterator[bytes]:
            sent = 0
            with self._store.open_blob(blob.digest) as file:
                while piece := file.read(_PIECE):
                    if self._pauses.cancelled.is_set():
                        raise Cancelled("the push was cancelled")
                    yield piece
                    sent += len(piece)
                    tell("uploading", sent)

        return pieces
