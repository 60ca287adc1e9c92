"""Is the store as it should be: every blob what its name says, every image complete?"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from stackctl.errors import ImageError, NotFound
from stackctl.image.config import diff_ids
from stackctl.image.store import Store
from stackctl.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """`image` is an id or ""; `digest` the damaged blob or ""."""

    text: str
    image: str = ""
    digest: str = ""


def problems(store: Store) -> Iterator[Problem]:
    """Reads every blob. Content without an image is no problem: `prune` removes it."""
    digests = list(store.blobs.all())
    with ThreadPoolExecutor(2, "verify") as pool:
        for digest, right in zip(digests, pool.map(store.blobs.hashes_right, digests), strict=True):
            if not right:
                yield Problem(text=f"content {digest[:19]} is damaged", digest=digest)
    for image_id, record in store.index.records().items():
        names = ", ".join(store.names(image_id)) or image_id[:19]
        needed = [image_id, record.manifest, *(layer.digest for layer in record.layers)]
        missing = [digest for digest in needed if digest and not store.blobs.has(digest)]
        for digest in missing:
            yield Problem(text=f"image {names} lacks {digest[:19]}", image=image_id)
        if image_id in missing:
            continue
        try:
            if diff_ids(store.config(image_id)) != tuple(x.diff_id for x in record.layers):
                yield Problem(text=f"image {names} has other layers than it says", image=image_id)
        except (ImageError, NotFound) as error:
            yield Problem(text=f"image {names}: {error}", image=image_id)
    for text in store.unpacked.problems():
        yield Problem(text=text)


def repair(store: Store, found: list[Problem]) -> list[str]:
    """Remove damaged blobs and images that lack something; what was done, a line each.

    The unpacked layers of what is removed stay until the next collection.
    """
    done = []
    for problem in found:
        if problem.digest:
            store.blobs.remove(problem.digest)
            done.append(f"removed content {problem.digest[:19]}")
    for image_id, record in list(store.index.records().items()):
        needed = [image_id, record.manifest, *(layer.digest for layer in record.layers)]
        if all(store.blobs.has(digest) for digest in needed if digest):
            continue
        names = ", ".join(store.names(image_id)) or image_id[:19]
        store.index.drop(image_id)
        done.append(f"removed image {names}: pull or build it again")
    return done
