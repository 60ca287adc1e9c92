"""The build cache: what a step did, found by everything that it depends on. Plain files.

    ROOT/build/cache/<key>.json     {"layer": {...} | null, "created": seconds}

A key is the digest of what goes into the step; an entry names the layer that came out
(null: it changed nothing). It holds as long as the store has that layer. A directory
for `--cache-to type=local` has the same entries, and the layers' blobs beside them:

    DIR/entries/<key>.json    DIR/blobs/<64 hex>

What comes from such a directory is checked: a blob has to have the digest that it is named by.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stackctl.errors import ImageError, NotFound, StackctlError
from stackctl.image.content import Layer, hexadecimal
from stackctl.image.store import Store


@dataclass(frozen=True, slots=True)
class Entry:
    """`layer` None: the step changed no file. `created` are Unix seconds."""

    layer: Layer | None
    created: float


def key(**parts: Any) -> str:
    """Everything that a step depends on, as one digest."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=list)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


class Cache:
    """Blocking; thread-safe because every file is replaced as a whole."""

    def __init__(self, home: Path, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._home = home
        self._store = store
        self._clock = clock

    def find(self, key: str, places: Iterable[Path] = ()) -> Entry | None:
        """Here, or in one of the imported directories `places`, from which it is taken over."""
        path = self._home / f"{key}.json"
        entry = self._read(path)
        if entry is not None and self._holds(entry):
            with contextlib.suppress(OSError):
                os.utime(path)
            return entry
        for place in places:
            entry = self._read(place / "entries" / f"{key}.json")
            if entry is not None and self._take(entry, place):
                self._write(self._home, key, entry)
                return entry
        return None

    def put(self, key: str, layer: Layer | None, created: float | None = None) -> Entry:
        entry = Entry(layer, self._clock() if created is None else created)
        self._write(self._home, key, entry)
        return entry

    def export(self, keys: Iterable[str], place: Path) -> None:
        """Copy these entries and their layers into a directory. Raises OSError."""
        blobs = place / "blobs"
        blobs.mkdir(parents=True, exist_ok=True)
        for each in sorted(set(keys)):
            entry = self._read(self._home / f"{each}.json")
            if entry is None:
                continue
            if entry.layer is not None:
                target = blobs / hexadecimal(entry.layer.digest)
                if not target.exists():
                    self._copy_blob(entry.layer.digest, target)
            self._write(place / "entries", each, entry)

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
            entry = self._read(path)
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

    def _take(self, entry: Entry, place: Path) -> bool:
        if self._holds(entry):
            return True
        assert entry.layer is not None
        path = place / "blobs" / hexadecimal(entry.layer.digest)
        try:
            with path.open("rb") as file:
                self._store.put_blob(
                    file, expected=entry.layer.digest, media_type=entry.layer.media_type
                )
        except (OSError, StackctlError):
            return False  # damaged or incomplete: as good as not there
        return True

    def _copy_blob(self, digest: str, target: Path) -> None:
        new = target.with_name(f".{target.name}-{secrets.token_hex(4)}")
        with self._store.open_blob(digest) as source, new.open("wb") as file:
            while os.sendfile(file.fileno(), source.fileno(), None, 1 << 26):
                pass
        new.rename(target)

    def _read(self, path: Path) -> Entry | None:
        try:
            raw = json.loads(path.read_bytes())
            layer = raw["layer"]
            if layer is not None:
                layer = Layer(
                    digest=str(layer["digest"]),
                    diff_id=str(layer["diff_id"]),
                    size=int(layer["size"]),
                    media_type=str(layer["media_type"]),
                )
                hexadecimal(layer.digest)
                hexadecimal(layer.diff_id)
            return Entry(layer, float(raw["created"]))
        except (OSError, ValueError, KeyError, TypeError, ImageError):
            return None

    def _write(self, home: Path, key: str, entry: Entry) -> None:
        home.mkdir(parents=True, exist_ok=True)
        layer = entry.layer and {
            "digest": entry.layer.digest,
            "diff_id": entry.layer.diff_id,
            "size": entry.layer.size,
            "media_type": entry.layer.media_type,
        }
        path = home / f"{key}.json"
        new = path.with_name(f".{key}-{secrets.token_hex(4)}")
        try:
            new.write_text(json.dumps({"layer": layer, "created": entry.created}))
            new.rename(path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                new.unlink()
