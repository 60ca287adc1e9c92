"""The build cache: what a step did, found by everything that it depends on. Plain files.

    ROOT/build/cache/<key>.json     {"layer": {...} | null, "created": seconds}

A key is the digest of what goes into the step; an entry names the layer that came out
(null: it changed nothing). It holds as long as the store has that layer. Caches that were
saved elsewhere (see `saved`) are asked after this one; what they have is taken over.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from stackctl.errors import ImageError, NotFound, StackctlError
from stackctl.image.content import Layer, digest
from stackctl.image.store import Store
from stackctl.values import dataclass

#: Seconds; how long an entry was of no use is asked for in hours and days.
_MOMENT = 60.0


@dataclass(frozen=True, slots=True)
class Entry:
    """`layer` None: the step changed no file. `created` are Unix seconds."""

    layer: Layer | None
    created: float


@dataclass(frozen=True, slots=True)
class Known:
    """An entry of this cache, and when it was of use last (Unix seconds)."""

    key: str
    entry: Entry
    used: float


class Saved(Protocol):
    """A cache that was saved elsewhere. Blocking."""

    def entry(self, key: str) -> Entry | None: ...

    def bring(self, layer: Layer, store: Store) -> None:
        """The layer's blob into the store, its digest checked. Raises StackctlError, OSError."""


def key(**parts: Any) -> str:
    """Everything that a step depends on, as one digest."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=list)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


class Cache:
    """Blocking; thread-safe because every file is replaced as a whole."""

    def __init__(self, home: Path, store: Store) -> None:
        self._home = home
        self._store = store

    def find(self, key: str, places: Iterable[Saved] = ()) -> Entry | None:
        """Here, or in one of the saved caches `places`, from which it is taken over."""
        path = self._home / f"{key}.json"
        entry = read_entry(path)
        if entry is not None and self._holds(entry):
            with contextlib.suppress(OSError):
                # What was of use a moment ago need not wait for the disk to say so again.
                if not 0 <= time.time() - path.stat().st_mtime < _MOMENT:
                    os.utime(path)
            return entry
        for place in places:
            entry = place.entry(key)
            if entry is not None and self._take(entry, place):
                write_entry(self._home, key, entry)
                return entry
        return None

    def put(self, key: str, entry: Entry) -> None:
        write_entry(self._home, key, entry)

    def entries(self, keys: Iterable[str]) -> dict[str, Entry]:
        """Those of these keys that are known, in the order of the keys' digits."""
        found = ((key, read_entry(self._home / f"{key}.json")) for key in sorted(set(keys)))
        return {key: entry for key, entry in found if entry is not None}

    def known(self) -> list[Known]:
        """All entries, the longest unused first."""
        found = []
        for path in self._home.glob("*.json"):
            entry = read_entry(path)
            with contextlib.suppress(FileNotFoundError):
                if entry is not None:
                    found.append(Known(path.stem, entry, path.stat().st_mtime))
        return sorted(found, key=lambda known: (known.used, known.key))

    def forget(self, keys: Iterable[str]) -> None:
        """These entries; the store's collection takes what only they referred to."""
        for each in keys:
            (self._home / f"{each}.json").unlink(missing_ok=True)

    def prune(self, unused: float = 0.0) -> None:
        """Forget what was not used for so many seconds; the store's own collection takes the
        layers, and those of a forgotten entry."""
        for path in self._home.glob("*.json"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime <= time.time() - unused:
                    path.unlink()

    def layers(self) -> set[str]:
        """Digests that entries refer to: blobs and diff ids."""
        found: set[str] = set()
        for path in self._home.glob("*.json"):
            entry = read_entry(path)
            if entry is not None and entry.layer is not None:
                found |= {entry.layer.digest, entry.layer.diff_id}
        return found

    # -- how

    def _holds(self, entry: Entry) -> bool:
        if entry.layer is None:
            return True
        self._store.protect((entry.layer.digest, entry.layer.diff_id))
        try:
            self._store.blobs.size(entry.layer.digest)
        except NotFound:
            return False
        return True

    def _take(self, entry: Entry, place: Saved) -> bool:
        if self._holds(entry):
            return True
        assert entry.layer is not None
        try:
            place.bring(entry.layer, self._store)
        except (OSError, StackctlError):
            return False  # damaged or incomplete: as good as not there
        return True


def read_entry(path: Path) -> Entry | None:
    try:
        return decoded(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return None


def decoded(raw: Any) -> Entry | None:
    """An entry of a document; None for what is none."""
    try:
        layer = raw["layer"]
        if layer is not None:
            layer = Layer(
                digest=digest(layer["digest"]),
                diff_id=digest(layer["diff_id"]),
                size=int(layer["size"]),
                media_type=str(layer["media_type"]),
            )
        return Entry(layer, float(raw["created"]))
    except (ValueError, KeyError, TypeError, ImageError):
        return None


def encoded(entry: Entry) -> dict[str, Any]:
    layer = entry.layer and {
        "digest": entry.layer.digest,
        "diff_id": entry.layer.diff_id,
        "size": entry.layer.size,
        "media_type": entry.layer.media_type,
    }
    return {"layer": layer, "created": entry.created}


def write_entry(home: Path, key: str, entry: Entry) -> None:
    home.mkdir(parents=True, exist_ok=True)
    path = home / f"{key}.json"
    new = path.with_name(f".{key}-{secrets.token_hex(4)}")
    try:
        new.write_text(json.dumps(encoded(entry)))
        new.rename(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
