"""Layers compressed for those who want them so: registries, and archives on request."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from stackctl.image.content import DOCKER_TAR, OCI_TAR, OCI_TAR_GZIP, Layer
from stackctl.image.store import Store

_PIECE = 1 << 20
#: isal's levels go to 3; 2 is as small as gzip's 5, several times as fast.
_LEVEL = 2


def compressed(store: Store, image_id: str) -> None:
    """Give an image gzip layers where it has plain tars; its manifest is made anew then.

    The same tar gives the same bytes (no time, no name in the gzip header).
    """
    record = store.record(image_id)
    plain = [layer for layer in record.layers if layer.media_type in (OCI_TAR, DOCKER_TAR)]
    if not plain:
        return
    with store.lease():
        with ThreadPoolExecutor(2, "gzip") as pool:
            made = dict(
                zip(
                    (layer.diff_id for layer in plain),
                    pool.map(lambda layer: gzip_layer(store, layer), plain),
                    strict=True,
                )
            )
        layers = [made[layer.diff_id] if layer in plain else layer for layer in record.layers]
        raw = store.blobs.read(image_id, 8 << 20)
        store.put_image(raw, layers, parent=record.parent)


def gzip_layer(store: Store, layer: Layer) -> Layer:
    """The layer with a compressed blob; hold a lease while nothing refers to it."""
    if layer.media_type not in (OCI_TAR, DOCKER_TAR):
        return layer
    known = store.gzipped(layer.diff_id)
    if known is not None:
        return known
    found = store.put_blob(_gzip(store, layer.digest), media_type=OCI_TAR_GZIP)
    return replace(layer, digest=found.digest, size=found.size, media_type=OCI_TAR_GZIP)


def _gzip(store: Store, digest: str) -> Iterator[bytes]:
    from isal import isal_zlib

    # wbits 31: a gzip container with an empty header.
    engine = isal_zlib.compressobj(_LEVEL, wbits=31)
    with store.open_blob(digest) as file:
        while piece := file.read(_PIECE):
            out = engine.compress(piece)
            if out:
                yield out
    yield engine.flush()
