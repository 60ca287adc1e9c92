"""Which images there are and what they are called: small JSON files, replaced in one step.

    ROOT/images/records/<hex of id>.json   an image: its layers, its manifest
    ROOT/images/names.json                 names and, if pulled, the digest they were pulled by

An image's blobs are there before its record is, and its record before its name:
a kill between any two steps leaves content without a name, never a name without
content.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from stackctl.image.blobs import sync_directory
from stackctl.image.content import Layer, digest, hexadecimal
from stackctl.values import dataclass

#: Seconds. Ages of names are asked for in hours and days.
_MOMENT = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """`id` is the config's digest; layers bottom first; `manifest` "" for one made here."""

    id: str
    layers: tuple[Layer, ...]
    manifest: str = ""
    #: When it came to this machine, Unix seconds.
    stored_at: float = 0.0
    #: The image that it was made from, for its history; "" if unknown.
    parent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """What a name points at; `digest` is the manifest's or index's that it was pulled by.

    `at`: when it last came to point there, or a registry last said that it still does
    (Unix seconds).
    """

    image: str
    digest: str = ""
    at: float = 0.0

    def says(self, other: Name) -> bool:
        """The same of what was made here, a moment ago: not worth waiting for the disk."""
        same = self.image == other.image and not (self.digest or other.digest)
        return same and 0 <= other.at - self.at < _MOMENT


class Index:
    """Blocking; thread-safe. Readers get what was true at one moment."""

    def __init__(self, images: Path) -> None:
        self._records = images / "records"
        self._names = images / "names.json"
        self._records.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.Lock()
        self._loaded: tuple[Mapping[str, ImageRecord], Mapping[str, Name]] | None = None

    def records(self) -> Mapping[str, ImageRecord]:
        """By id."""
        return self._all()[0]

    def names(self) -> Mapping[str, Name]:
        return self._all()[1]

    def put(self, record: ImageRecord) -> None:
        """One that is there already costs no write: a build from the cache ends so."""
        with self._lock:
            records, names = self._load()
            if records.get(record.id) == record:
                return
            path = self._records / f"{hexadecimal(record.id)}.json"
            replace_file(path, json.dumps(asdict(record)))
            self._loaded = ({**records, record.id: record}, names)

    def drop(self, image_id: str) -> None:
        """The record goes, and all names of it."""
        with self._lock:
            records, names = self._load()
            kept = {name: entry for name, entry in names.items() if entry.image != image_id}
            self._write_names(kept)
            (self._records / f"{hexadecimal(image_id)}.json").unlink(missing_ok=True)
            self._loaded = ({i: r for i, r in records.items() if i != image_id}, kept)

    def rename(self, change: Callable[[dict[str, Name]], None]) -> None:
        """`change` edits the names; all its edits become visible at once."""
        with self._lock:
            records, names = self._load()
            changed = dict(names)
            change(changed)
            if changed != names:
                self._write_names(changed)
                self._loaded = (records, changed)

    def _all(self) -> tuple[Mapping[str, ImageRecord], Mapping[str, Name]]:
        loaded = self._loaded
        if loaded is not None:
            return loaded
        with self._lock:
            return self._load()

    def _load(self) -> tuple[Mapping[str, ImageRecord], Mapping[str, Name]]:
        if self._loaded is None:
            records = {record.id: record for record in self._read_records()}
            names = {n: e for n, e in self._read_names().items() if e.image in records}
            self._loaded = (records, names)
        return self._loaded

    def _read_records(self) -> Iterator[ImageRecord]:
        for entry in sorted(os.scandir(self._records), key=lambda e: e.name):
            if not entry.name.endswith(".json"):
                Path(entry.path).unlink(missing_ok=True)  # a replacement that was cut short
                continue
            try:
                raw = json.loads(Path(entry.path).read_text())
                layers = tuple(Layer(**layer) for layer in raw.pop("layers"))
                record = ImageRecord(layers=layers, **raw)
                digest(record.id)
            except (ValueError, TypeError, KeyError):
                continue  # `verify` tells
            yield record

    def _read_names(self) -> dict[str, Name]:
        try:
            raw = json.loads(self._names.read_text())
            return {str(name): Name(**entry) for name, entry in raw.items()}
        except (FileNotFoundError, ValueError, TypeError, AttributeError):
            return {}

    def _write_names(self, names: Mapping[str, Name]) -> None:
        replace_file(self._names, json.dumps({n: asdict(e) for n, e in sorted(names.items())}))


def replace_file(path: Path, text: str) -> None:
    """The file has the old text or the new one, also after a power cut."""
    new = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    with open(new, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    sync_directory(path.parent)
