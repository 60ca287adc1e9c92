"""What builds have left for later ones: how much it takes, and what of it shall go. Blocking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field

from stackctl.daemon.creation import tree_size
from stackctl.errors import NotFound
from stackctl.image.service import Images
from stackctl.image.store import Store
from stackctl.values import dataclass

STEP, MOUNT = "regular", "exec.cachemount"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRow:
    """One step's result, or the directory of a RUN's cache (`kind` as BuildKit has it).

    Moments are Unix seconds, `size` bytes: packed and unpacked.
    """

    id: str
    layer: str
    size: int
    #: An image has the layer, too: forgetting the entry frees nothing.
    shared: bool
    created: float
    used: float
    kind: str = STEP


@dataclass(frozen=True, slots=True)
class Pruned:
    ids: list[str] = field(default_factory=list)
    freed: int = 0


def rows(images: Images) -> list[CacheRow]:
    """The longest unused first."""
    store = images.store
    unpacked = store.unpacked.usage()
    of_images = {layer.diff_id for r in store.index.records().values() for layer in r.layers}
    found = []
    for known in images.build_cache.known():
        layer = known.entry.layer
        found.append(
            CacheRow(
                id=known.key,
                layer=layer.diff_id if layer else "",
                size=unpacked.get(layer.diff_id, 0) + _packed(store, layer.digest) if layer else 0,
                shared=layer is not None and layer.diff_id in of_images,
                created=known.entry.created,
                used=known.used,
            )
        )
    for mount in images.cache_mounts.known():
        size = tree_size(mount.path)
        # When it was made is nowhere to be found.
        moments = {"created": mount.used, "used": mount.used}
        found.append(
            CacheRow(id=mount.name, layer="", size=size, shared=False, kind=MOUNT, **moments)
        )
    return sorted(found, key=lambda row: row.used)


def prune(images: Images, wanted: Callable[[CacheRow], bool], keep: int) -> Pruned:
    """Forgets the entries that are `wanted`, until no more than `keep` bytes are left.

    The directory of a cache that a RUN is using stays.
    """
    every = rows(images)
    left = sum(row.size for row in every)
    steps, gone, freed = list[str](), list[str](), 0
    for row in every:
        if not wanted(row) or (keep and left <= keep):
            continue
        if row.kind == STEP:
            steps.append(row.id)
        elif images.cache_mounts.remove(row.id):
            freed += row.size
        else:
            continue
        gone.append(row.id)
        left -= row.size
    images.build_cache.forget(steps)
    return Pruned(gone, freed + (images.store.collect() if steps else 0))


def _packed(store: Store, digest: str) -> int:
    try:
        return store.blobs.size(digest)
    except NotFound:
        return 0
