"""What images take on the disk, layers that several have counted once. Blocking."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from stackctl.image.store import Store
from stackctl.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageUsage:
    """Bytes of an image's unpacked layers; `unique` are those of layers that no other has."""

    id: str
    names: tuple[str, ...]
    created_at: float
    size: int
    unique: int


@dataclass(frozen=True, slots=True)
class Usage:
    """`total` bytes of all layers; `reclaimable`: of those that only unused images have."""

    images: tuple[ImageUsage, ...]
    total: int
    reclaimable: int


def usage(store: Store, used: Collection[str]) -> Usage:
    """`used`: ids of images that containers were made from."""
    sizes = store.unpacked.usage()
    records = list(store.index.records().values())
    layers = {record.id: {layer.diff_id for layer in record.layers} for record in records}
    sharers = Counter(diff_id for own in layers.values() for diff_id in own)
    needed = {diff_id for image_id, own in layers.items() if image_id in used for diff_id in own}

    def size(diff_ids: Collection[str]) -> int:
        return sum(sizes.get(diff_id, 0) for diff_id in diff_ids)

    return Usage(
        tuple(
            ImageUsage(
                id=image.id,
                names=tuple(sorted(store.names(image.id))),
                created_at=image.created_at,
                size=size(layers[image.id]),
                unique=size([d for d in layers[image.id] if sharers[d] == 1]),
            )
            for image in store.images()
            if image.id in layers
        ),
        size(sharers),
        size(sharers.keys() - needed),
    )
