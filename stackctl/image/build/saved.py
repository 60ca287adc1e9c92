"""Caches of builds that lie elsewhere: a directory, a registry, an image's own config.

    type=local,dest=DIR      DIR/entries/<key>.json  DIR/blobs/<64 hex>
    type=registry,ref=NAME   a manifest whose config has the entries, whose layers are theirs
    type=inline              the image's config has the entries of the image's own layers

What comes from there is checked: a blob has to have the digest that it is named by.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackctl.errors import ImageError, StackctlError, UsageError
from stackctl.image.build.cache import Entry, decoded, encoded, read_entry, write_entry
from stackctl.image.content import MAX_DOCUMENT, OCI_MANIFEST, Layer, hexadecimal
from stackctl.image.store import Store, canonical
from stackctl.model.reference import parse
from stackctl.values import dataclass

if TYPE_CHECKING:
    from stackctl.image.registry.client import Repository

#: The config of a cache in a registry; and the member of an image's config with an inline one.
MEDIA_TYPE = "application/vnd.stackctl.buildcache.v1+json"
INLINE = "stackctl.buildcache.v1"
_KEYS = {
    "local": "src dest mode ignore-error",
    "registry": "ref mode ignore-error",
    "inline": "",
}


@dataclass(frozen=True, slots=True)
class Place:
    """`--cache-from` or `--cache-to`. `min` keeps only what the image itself is made of."""

    type: str
    where: str = ""
    min: bool = False
    may_fail: bool = False


def place(text: str, *, to: bool) -> Place:
    """`type=local,src=DIR`, `type=registry,ref=NAME`, `type=inline`, or a reference alone.

    Raises UsageError.
    """
    if "=" not in text:
        return Place("registry", str(parse(text)))
    fields = dict(part.partition("=")[::2] for part in text.split(","))
    kind = fields.pop("type", "registry")
    if kind not in _KEYS or (kind == "inline" and not to):
        raise UsageError(
            f"the cache {text[:80]!r} is of a kind that is not supported",
            hint="kinds are type=local, type=registry, and for --cache-to also type=inline",
        )
    for name in fields:
        if name not in _KEYS[kind].split():
            raise UsageError(f"the cache {text[:80]!r}: type={kind} has no {name[:40]!r}")
    mode = fields.get("mode", "max")
    if mode not in ("min", "max"):
        raise UsageError(f"the cache {text[:80]!r}: mode is min or max")
    where = fields.get("ref", "")
    if kind == "local":
        wanted = "dest" if to else "src"
        where = fields.get(wanted) or fields.get("src") or fields.get("dest") or ""
        if not os.path.isabs(where):
            raise UsageError(f"the cache {text[:80]!r} has no {wanted}=DIRECTORY")
    elif kind == "registry":
        if not where:
            raise UsageError(f"the cache {text[:80]!r} has no ref=NAME")
        where = str(parse(where))
    return Place(kind, where, mode == "min", fields.get("ignore-error", "") == "true")


class Directory:
    """Implements cache.Saved."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def entry(self, key: str) -> Entry | None:
        return read_entry(self._home / "entries" / f"{key}.json")

    def bring(self, layer: Layer, store: Store) -> None:
        with (self._home / "blobs" / hexadecimal(layer.digest)).open("rb") as file:
            store.put_blob(file, expected=layer.digest, media_type=layer.media_type)

    def save(self, entries: Mapping[str, Entry], store: Store) -> None:
        """These entries and their layers into the directory. Raises StackctlError, OSError."""
        blobs = self._home / "blobs"
        blobs.mkdir(parents=True, exist_ok=True)
        for key, entry in entries.items():
            if entry.layer is not None:
                target = blobs / hexadecimal(entry.layer.digest)
                if not target.exists():
                    _copy_blob(store, entry.layer.digest, target)
            write_entry(self._home / "entries", key, entry)


def _copy_blob(store: Store, digest: str, target: Path) -> None:
    new = target.with_name(f".{target.name}-{secrets.token_hex(4)}")
    with store.open_blob(digest) as source, new.open("wb") as file:
        while os.sendfile(file.fileno(), source.fileno(), None, 1 << 26):
            pass
    new.rename(target)


class InRegistry:
    """Implements cache.Saved: entries are read at once, a layer when it is found useful."""

    def __init__(self, repository: Repository, name: str) -> None:
        """Raises StackctlError, also for what is neither a cache nor an image."""
        from stackctl.image.registry.manifest import Manifest, Platform, choose
        from stackctl.image.registry.manifest import parse as parse_manifest

        self._repository = repository
        raw, kind, _ = repository.manifest(name)
        found = parse_manifest(raw, kind)
        if not isinstance(found, Manifest):
            raw, kind, _ = repository.manifest(choose(found, Platform.here()).digest)
            found = parse_manifest(raw, kind)
        if not isinstance(found, Manifest) or found.config.size > MAX_DOCUMENT:
            raise ImageError("what is there is no cache")
        self._entries = _entries(found, self._document(found.config.digest))

    def _document(self, digest: str) -> dict[str, Any]:
        import hashlib

        pieces, size = [], 0
        for piece in self._repository.blob(digest)[0]:
            size += len(piece)
            if size > MAX_DOCUMENT:
                raise ImageError("its list of entries is too large")
            pieces.append(bytes(piece))
        raw = b"".join(pieces)
        if f"sha256:{hashlib.sha256(raw).hexdigest()}" != digest:
            raise ImageError("its list of entries is not what its digest says")
        try:
            found = json.loads(raw)
        except (ValueError, RecursionError):
            found = None
        return found if isinstance(found, dict) else {}

    def entry(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def bring(self, layer: Layer, store: Store) -> None:
        pieces = (bytes(piece) for piece in self._repository.blob(layer.digest)[0])
        store.put_blob(pieces, expected=layer.digest, media_type=layer.media_type)


def _entries(manifest: Any, document: Mapping[str, Any]) -> dict[str, Entry]:
    raw = document.get("entries" if manifest.config.media_type == MEDIA_TYPE else INLINE)
    if not isinstance(raw, dict):
        return {}
    if manifest.config.media_type == MEDIA_TYPE:
        found = {str(key): decoded(value) for key, value in raw.items()}
        return {key: entry for key, entry in found.items() if entry is not None}
    return _inline_entries(manifest, document, raw)


def _inline_entries(
    manifest: Any, document: Mapping[str, Any], raw: Mapping[str, Any]
) -> dict[str, Entry]:
    diff_ids = (document.get("rootfs") or {}).get("diff_ids") or []
    if len(diff_ids) != len(manifest.layers):
        return {}
    entries: dict[str, Entry] = {}
    for key, value in raw.items():
        try:
            index, created = value
            layer = None
            if index is not None:
                blob = manifest.layers[index]
                layer = Layer(
                    digest=blob.digest,
                    diff_id=diff_ids[index],
                    size=blob.size,
                    media_type=blob.media_type,
                )
                hexadecimal(layer.diff_id)
            entries[str(key)] = Entry(layer, float(created))
        except (TypeError, ValueError, IndexError, ImageError):
            continue
    return entries


def inline(entries: Mapping[str, Entry], layers: Sequence[Layer]) -> dict[str, Any]:
    """What an image's config says about the steps that its layers came from."""
    index = {layer.diff_id: number for number, layer in enumerate(layers)}
    return {
        key: [None if entry.layer is None else index[entry.layer.diff_id], entry.created]
        for key, entry in entries.items()
        if entry.layer is None or entry.layer.diff_id in index
    }


def push(repository: Repository, name: str, entries: Mapping[str, Entry], store: Store) -> None:
    """These entries and their layers, compressed, as `name`. Raises StackctlError, OSError."""
    from stackctl.image.compress import gzip_layer

    found = dict(entries)
    blobs: dict[str, Layer] = {}
    with store.lease():
        for key, entry in entries.items():
            if entry.layer is not None:
                layer = gzip_layer(store, entry.layer)
                blobs[layer.digest] = layer
                found[key] = replace(entry, layer=layer)
        document = {"entries": {key: encoded(entry) for key, entry in found.items()}}
        config = store.put_blob(canonical(document))
        for digest in (config.digest, *blobs):
            _upload(repository, store, digest)
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": replace(config, media_type=MEDIA_TYPE).to_json(),
            "layers": [layer.descriptor.to_json() for layer in blobs.values()],
        }
        repository.put_manifest(name, canonical(manifest), OCI_MANIFEST)


def _upload(repository: Repository, store: Store, digest: str) -> None:
    if repository.has_blob(digest):
        return

    def pieces() -> Iterator[bytes]:
        with store.open_blob(digest) as file:
            while piece := file.read(1 << 20):
                yield piece

    repository.upload(repository.begin_upload(), digest, store.blobs.size(digest), pieces)


@contextmanager
def repositories(
    environment: Mapping[str, str],
) -> Iterator[Callable[[str, bool], tuple[Repository, str]]]:
    """A function (reference, to be read?) -> (its repository, its tag or digest)."""
    from stackctl.image.registry.client import Repository, reachable
    from stackctl.image.registry.credentials import Keyring
    from stackctl.image.registry.http import Http, Pauses
    from stackctl.image.registry.settings import Endpoint, Settings

    settings, keyring = Settings.of(environment), Keyring(environment)
    http = Http(settings, Pauses())

    def find(text: str, reading: bool) -> tuple[Repository, str]:
        reference = parse(text)
        name = reference.digest or reference.tag

        def make(endpoint: Endpoint) -> Repository:
            credentials = None if endpoint.mirror else keyring.get(reference.domain)
            return Repository(http, endpoint, reference.path, credentials)

        endpoints = [e for e in settings.endpoints(reference.domain) if reading or not e.mirror]

        def probe(repository: Repository) -> object:
            if reading:
                return repository.manifest(name)
            repository.ping()
            return None

        return reachable(make, endpoints, probe), name

    try:
        yield find
    finally:
        http.close()


class Caches:
    """The saved caches of one build. Blocking."""

    def __init__(
        self, cache_from: Sequence[str], cache_to: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        """Raises UsageError."""
        self._from = [place(text, to=False) for text in cache_from]
        self._to = [place(text, to=True) for text in cache_to]
        self._environment = environment
        self.inline = any(each.type == "inline" for each in self._to)
        self.saves = bool(self._to)

    @contextmanager
    def opened(self, warn: Callable[[str], None]) -> Iterator[list[Directory | InRegistry]]:
        """Those to be read; one that is not there is told and left out."""
        found: list[Directory | InRegistry] = []
        remote = any(each.type == "registry" for each in self._from)
        if not remote:
            yield [Directory(Path(each.where)) for each in self._from]
            return
        with repositories(self._environment) as find:
            for each in self._from:
                if each.type == "local":
                    found.append(Directory(Path(each.where)))
                    continue
                try:
                    found.append(InRegistry(*find(each.where, True)))
                except StackctlError as error:
                    warn(f"no cache is taken from {parse(each.where).familiar}: {error.brief}")
            yield found

    def save(
        self,
        entries: Mapping[str, Entry],
        layers: Sequence[Layer],
        store: Store,
        warn: Callable[[str], None],
    ) -> None:
        """To all places that were named. `layers` are the image's own."""
        own = {layer.diff_id for layer in layers}
        for each in self._to:
            chosen = {
                key: entry
                for key, entry in entries.items()
                if not each.min or entry.layer is None or entry.layer.diff_id in own
            }
            try:
                if each.type == "local":
                    Directory(Path(each.where)).save(chosen, store)
                elif each.type == "registry":
                    with repositories(self._environment) as find:
                        push(*find(each.where, False), chosen, store)
            except (StackctlError, OSError) as error:
                if not each.may_fail:
                    raise
                warn(f"the cache could not be saved to {each.where}: {error}")
