"""The content store: blobs, images made of them, their names, their unpacked layers.

    put_blob -> put_image -> tag -> ensure_unpacked          and back: remove -> collect

Everything is published in an order that makes a kill at any moment harmless (see
blobs, index, layers). What no image refers to is removed by `collect`, but for what a
lease protects: a pull or build in progress holds one.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from stackctl.errors import Conflict, ImageError, NotFound
from stackctl.image.blobs import Blobs, BlobWriter, Readable
from stackctl.image.config import created_at, diff_ids, image_config
from stackctl.image.content import (
    MAX_DOCUMENT,
    OCI_CONFIG,
    OCI_MANIFEST,
    Descriptor,
    Layer,
    document,
)
from stackctl.image.index import ImageRecord, Index, Name
from stackctl.image.layers import Layers
from stackctl.image.unpack.process import Unpacked
from stackctl.model.image import Image
from stackctl.model.reference import Reference, parse
from stackctl.state.paths import Paths
from stackctl.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What a removal did: names that are gone, images that are gone, bytes that are free."""

    untagged: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    reclaimed: int = 0


class Store:
    """Blocking: called in threads. Raises StackctlError and OSError."""

    def __init__(self, paths: Paths) -> None:
        paths.images.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.blobs = Blobs(paths.images)
        self.index = Index(paths.images)
        self.unpacked = Layers(paths.images, self.blobs)
        self._guard = threading.RLock()
        self._leases: dict[int, set[str]] = {}
        self._next_lease = 0
        self._images: dict[str, Image] = {}
        #: Who else keeps content: each gives the digests (and diff ids) that it needs.
        self.keepers: list[Callable[[], Iterable[str]]] = []

    # -- blobs

    def put_blob(
        self,
        pieces: bytes | Readable | Iterable[bytes],
        *,
        expected: str = "",
        media_type: str = "",
    ) -> Descriptor:
        """Store bytes, a file or pieces; hold a lease while nothing refers to it yet."""
        with self.blobs.writer(media_type) as out:
            out.write_all(pieces)
            # First: a collection may pass between the two.
            self._protect(out.digest)
            return out.publish(expected=expected)

    def blob_writer(self, media_type: str = "") -> BlobWriter:
        return self.blobs.writer(media_type)

    def open_blob(self, digest: str) -> BinaryIO:
        """Raises NotFound."""
        return self.blobs.open(digest)

    @contextmanager
    def lease(self) -> Iterator[None]:
        """While any lease is held, nothing that was put since it began is collected."""
        with self._guard:
            self._next_lease += 1
            number = self._next_lease
            self._leases[number] = set()
        try:
            yield
        finally:
            with self._guard:
                del self._leases[number]

    def protect(self, digests: Iterable[str]) -> None:
        """Content that is there already and is about to be referred to: leases keep it too."""
        for digest in digests:
            self._protect(digest)

    # -- images

    def put_image(
        self,
        config: Mapping[str, Any] | bytes,
        layers: Sequence[Layer],
        names: Sequence[str] = (),
        *,
        manifest: str = "",
        pulled_by: str = "",
        parent: str = "",
    ) -> Image:
        """An image of layers (bottom first) that are in the store, and its names.

        `config` bytes are kept as they are: their digest is the image's id. `manifest`
        is the digest of a manifest blob it came with; without one a manifest is made.
        `pulled_by`: the digest that the names resolved to in a registry.
        Raises ImageError when config and layers do not fit, NotFound for a missing blob.
        """
        raw = config if isinstance(config, bytes) else canonical(config)
        parsed = document(raw)
        image_config(parsed)
        if diff_ids(parsed) != tuple(layer.diff_id for layer in layers):
            raise ImageError("the image's config names other layers than it comes with")
        for layer in layers:
            self.blobs.size(layer.digest)
        with self.lease():
            found = self.put_blob(raw, media_type=OCI_CONFIG)
            if not manifest:
                manifest = self.put_blob(make_manifest(found, layers)).digest
            with self._guard:
                known = self.index.records().get(found.digest)
                record = ImageRecord(
                    id=found.digest,
                    layers=tuple(layers),
                    manifest=manifest,
                    stored_at=known.stored_at if known else time.time(),
                    parent=parent or (known.parent if known else ""),
                )
                self.index.put(record)
                self._images.pop(found.digest, None)
            for name in names:
                self.tag(found.digest, name, pulled_by=pulled_by)
            return self.image(found.digest, names[0] if names else "")

    def image(self, image_id: str, reference: str = "") -> Image:
        """Raises NotFound."""
        image = self._images.get(image_id)
        if image is None:
            record = self.record(image_id)
            parsed = self.config(image_id)
            image = Image(
                id=image_id,
                reference="",
                config=image_config(parsed),
                size=sum(self.unpacked.size(layer) for layer in record.layers),
                created_at=created_at(parsed),
            )
            self._images[image_id] = image
        return replace(image, reference=reference or image_id)

    def images(self) -> tuple[Image, ...]:
        """All of them, the youngest first."""
        found = [self.image(image_id) for image_id in self.index.records()]
        return tuple(sorted(found, key=lambda i: (-i.created_at, i.id)))

    def record(self, image_id: str) -> ImageRecord:
        """Raises NotFound."""
        found = self.index.records().get(image_id)
        if found is None:
            raise NotFound(f"no such image: {image_id}")
        return found

    def find(self, text: str) -> tuple[str, str] | None:
        """The id and full name that a name, a digest, an id or its beginning means.

        Raises ImageError for what is none of these, Conflict for an ambiguous beginning.
        """
        records = self.index.records()
        if text in records:
            return text, ""
        try:
            reference = parse(text)
        except ImageError:
            reference = None
        names = self.index.names()
        if reference is not None:
            found = names.get(str(reference))
            if found is not None:
                return found.image, str(reference)
            if reference.digest:
                found_id = self._by_digest(reference)
                if found_id:
                    return found_id, str(reference)
        by_id = self._by_prefix(text)
        if by_id:
            return by_id, ""
        if reference is None:
            parse(text)
        return None

    def config(self, image_id: str) -> dict[str, Any]:
        """The OCI image config. Raises NotFound, ImageError."""
        self.record(image_id)
        return document(self.blobs.read(image_id, MAX_DOCUMENT))

    def layers(self, image_id: str) -> tuple[Layer, ...]:
        """Bottom first."""
        return self.record(image_id).layers

    def import_layer(self, read: Callable[[int], bytes]) -> tuple[Descriptor, Unpacked, bool]:
        """A tar, perhaps compressed, stored and unpacked in one pass, as it comes.

        The blob, what it turned out to be, and whether it is gzip.
        """
        with self.blobs.writer() as out, self.unpacked.discovering() as (process, publish):
            head = b""
            while piece := read(1 << 20):
                head = head or piece[:2]
                out.write(piece)
                process.write(piece)
            outcome = process.finish()
            if not outcome.entries:
                raise ImageError("the archive is empty, or no tar")
            self._protect(outcome.diff_id)
            self._protect(out.digest)
            found = out.publish()
            publish(outcome)
        return found, outcome, head == b"\x1f\x8b"

    def gzipped(self, diff_id: str) -> Layer | None:
        """The layer compressed, if some image has it so."""
        for record in self.index.records().values():
            for layer in record.layers:
                if layer.diff_id == diff_id and layer.media_type.endswith("gzip"):
                    self._protect(layer.digest)
                    return layer if self.blobs.has(layer.digest) else None
        return None

    def ensure_unpacked(self, image_id: str) -> tuple[str, ...]:
        """The unpacked layers' directories, top first: an overlay's lower directories."""
        return self.unpacked.ensure(self.layers(image_id))

    def commit_directory(
        self,
        upper: Path | str,
        parent: str = "",
        *,
        adopt: bool = False,
        clamp: int | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> Layer:
        """An overlay's upper directory as a layer (tar, not compressed), stored.

        `parent` is the image below it ("" is none). With `adopt` the directory itself
        becomes the unpacked layer (it is moved away; same file system), so that nothing is
        unpacked later. `clamp`: no file is younger than this (SOURCE_DATE_EPOCH, seconds).
        """
        return self.unpacked.commit(Path(upper), self._protect, adopt=adopt, clamp=clamp)

    # -- names

    def names(self, image_id: str = "") -> dict[str, str]:
        """Full name -> image id, of all images or of one."""
        return {
            name: entry.image
            for name, entry in self.index.names().items()
            if not image_id or entry.image == image_id
        }

    def tag(self, image_id: str, name: str, *, pulled_by: str = "") -> None:
        """Raises NotFound for an unknown image, ImageError for a bad or built-in name."""
        self.record(image_id)
        reference = parse(name)
        if reference.is_host:
            raise ImageError("stackctl/host is the built-in image: nothing else can have its name")
        entry = Name(image=image_id, digest=pulled_by, at=time.time())

        def change(names: dict[str, Name]) -> None:
            known = names.get(str(reference))
            if known is None or not known.says(entry):
                names[str(reference)] = entry

        self.index.rename(change)

    def age(self, text: str) -> float:
        """Seconds since a name was given, or last pulled; 0.0 when it is no name."""
        try:
            entry = self.index.names().get(str(parse(text)))
        except ImageError:
            return 0.0
        if entry is None:
            return 0.0
        return max(time.time() - (entry.at or self.record(entry.image).stored_at), 0.0)

    def untag(self, name: str) -> bool:
        """Whether there was such a name. The image stays."""
        full = str(parse(name))
        gone: list[Name] = []

        def change(names: dict[str, Name]) -> None:
            if full in names:
                gone.append(names.pop(full))

        self.index.rename(change)
        return bool(gone)

    # -- removal

    def remove(
        self, text: str, *, force: bool = False, in_use: frozenset[str] = frozenset()
    ) -> Removed:
        """Remove a name, and the image when it was its last one; by id: the image with its names.

        `in_use`: ids that containers were made from; these lose names only with `force` and
        are never deleted. Raises NotFound, Conflict.
        """
        with self._guard:
            found = self.find(text)
            if found is None:
                raise NotFound(f"no such image: {text}")
            image_id, name = found
            names = sorted(self.names(image_id))
            going = _going(name, names) if name else []
            if name and len(names) > len(going):
                for each in going:
                    self.untag(each)
                return Removed(untagged=tuple(going))
            if image_id in in_use:
                if not (force and name):
                    raise Conflict(
                        f"image {text} is in use by a container",
                        hint="`stackctl container ls -a` shows it: remove it first",
                    )
                for each in going:
                    self.untag(each)
                return Removed(untagged=tuple(going))
            if not name and len(names) > 1 and not force:
                raise Conflict(
                    f"image {text} has several names: {', '.join(names)}",
                    hint="-f removes them all",
                )
            self.index.drop(image_id)
            self._images.pop(image_id, None)
            reclaimed = self.collect()
            return Removed(untagged=tuple(names), deleted=(image_id,), reclaimed=reclaimed)

    def prune(
        self,
        *,
        in_use: frozenset[str] = frozenset(),
        all: bool = False,
        wanted: Callable[[Image], bool] = lambda image: True,
    ) -> Removed:
        """Remove images without a name (with `all`: without a container) and unused content."""
        with self._guard:
            deleted: list[str] = []
            untagged: list[str] = []
            leased = set[str]().union(*self._leases.values())
            for image_id in list(self.index.records()):
                names = self.names(image_id)
                if image_id in in_use or image_id in leased or (names and not all):
                    continue
                if not wanted(self.image(image_id)):
                    continue
                self.index.drop(image_id)
                self._images.pop(image_id, None)
                deleted.append(image_id)
                untagged += names
            if not self._leases:
                self.blobs.forget_parts()
            return Removed(
                untagged=tuple(untagged), deleted=tuple(deleted), reclaimed=self.collect()
            )

    def collect(self) -> int:
        """Remove content that nothing refers to and no lease protects; bytes that are free now."""
        with self._guard:
            keep = set[str]().union(*self._leases.values(), *(keeper() for keeper in self.keepers))
            layers = set(keep)
            for record in self.index.records().values():
                keep |= {record.id, record.manifest, *(layer.digest for layer in record.layers)}
                layers |= {layer.diff_id for layer in record.layers}
            freed = sum(self.blobs.remove(d) for d in list(self.blobs.all()) if d not in keep)
            return freed + self.unpacked.collect(layers)

    def sweep(self) -> None:
        """At start: what a killed process was in the middle of. What can be resumed stays."""
        self.blobs.sweep()
        self.unpacked.sweep()

    # -- inner parts

    def usage(self) -> dict[str, int]:
        """Bytes: of images' unpacked layers (`layers`, each counted once), of blobs (`blobs`),
        and of what belongs to images without a name (`reclaimable`)."""
        sizes = self.unpacked.usage()
        records = self.index.records().values()
        named = {entry.image for entry in self.index.names().values()}
        used = {layer.diff_id for r in records if r.id in named for layer in r.layers}
        loose = {layer.diff_id for r in records if r.id not in named for layer in r.layers} - used
        return {
            "images": len(self.index.records()),
            "layers": sum(sizes.values()),
            "blobs": sum(self.blobs.size(digest) for digest in self.blobs.all()),
            "reclaimable": sum(sizes.get(diff_id, 0) for diff_id in loose),
        }

    def _protect(self, digest: str) -> None:
        with self._guard:
            for protected in self._leases.values():
                protected.add(digest)

    def _by_digest(self, reference: Reference) -> str:
        """name@digest: by what a name of this repository was pulled by, or by the manifest."""
        for name, entry in self.index.names().items():
            if entry.digest == reference.digest and parse(name).name == reference.name:
                return entry.image
        return ""

    def _by_prefix(self, text: str) -> str:
        prefix = text.removeprefix("sha256:")
        if len(prefix) < 2 or len(prefix) > 64 or set(prefix) - set("0123456789abcdef"):
            return ""
        found = [i for i in self.index.records() if i.startswith(f"sha256:{prefix}")]
        if len(found) > 1:
            raise Conflict(f"{text} is the beginning of {len(found)} images' ids")
        return found[0] if found else ""


def canonical(document: Mapping[str, Any]) -> bytes:
    """JSON that is always the same for the same document."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def make_manifest(config: Descriptor, layers: Sequence[Layer]) -> bytes:
    """An OCI manifest of these."""
    return canonical(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {**config.to_json(), "mediaType": OCI_CONFIG},
            "layers": [layer.descriptor.to_json() for layer in layers],
        }
    )


def _going(name: str, names: Sequence[str]) -> list[str]:
    """What goes with a name of an image: with a repository's last tag its digests, too."""
    wanted = parse(name)
    others = [(each, parse(each)) for each in names if each != name]
    same = [(each, reference) for each, reference in others if reference.name == wanted.name]
    if wanted.digest or any(not reference.digest for _, reference in same):
        return [name]
    return [name, *(each for each, _ in same)]
