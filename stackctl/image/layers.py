"""Unpacked layers: one directory for each diff id, shared by all images that have the layer.

    ROOT/images/layers/<hex>/root          what an overlay takes as a lower directory
    ROOT/images/layers/<hex>/layer.json    sizes, and the directories it implies
    ROOT/images/layers/dirs-<hex>/root     see `_correction`
    ROOT/images/layers/.new-*              being made; never used, swept at start

A layer is unpacked without the ones below it, so that all of an image's are
unpacked at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from stackctl.errors import ImageError
from stackctl.image.blobs import Blobs
from stackctl.image.content import OCI_TAR, Layer, hexadecimal
from stackctl.image.pack import Write, pack
from stackctl.image.removal import remove_tree
from stackctl.image.unpack.process import Unpacked, Unpacking
from stackctl.linux import files

_FORMAT = 1


class Layers:
    """Blocking; thread-safe."""

    def __init__(self, images: Path, blobs: Blobs) -> None:
        self._home = images / "layers"
        self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._blobs = blobs
        self._guard = threading.Lock()
        # Held while a layer's name comes to stand for another directory, or for none.
        self._naming = threading.Lock()
        self._busy: dict[str, threading.Lock] = {}
        self._ready: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._notes: dict[str, dict[str, Any]] = {}
        self._boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    def has(self, diff_id: str) -> bool:
        """Whether it is unpacked, completely."""
        return self._note(diff_id) is not None

    def root(self, diff_id: str) -> Path:
        return self._home / hexadecimal(diff_id) / "root"

    def size(self, layer: Layer) -> int:
        """Bytes in the layer's files; as long as it is not unpacked, of its blob."""
        note = self._note(layer.diff_id)
        return int(note["size"]) if note else layer.size

    def ensure(self, layers: Sequence[Layer]) -> tuple[str, ...]:
        """Directories, top first, of layers that are given bottom first.

        Raises ImageError for a layer that is refused, NotFound when its blob is gone, OSError.
        """
        key = tuple(layer.diff_id for layer in layers)
        ready = self._ready.get(key)
        if ready is not None:
            return ready
        missing = {layer.diff_id: layer for layer in layers if not self.has(layer.diff_id)}
        if len(missing) == 1:
            self.unpack(*missing.values())
        elif missing:
            with ThreadPoolExecutor(os.cpu_count() or 1, "unpack") as pool:
                list(pool.map(self.unpack, missing.values()))
        found: list[str] = []
        for number, diff_id in enumerate(key):
            found.append(str(self.root(diff_id)))
            correction = self._correction(key[: number + 1])
            if correction is not None:
                found.append(str(correction))
        result = tuple(reversed(found))
        self._ready[key] = result
        return result

    def unpack(self, layer: Layer) -> None:
        """From the layer's blob; nothing to do when it is there."""
        with self.unpacking(layer.diff_id) as process:
            if process is not None:
                with self._blobs.open(layer.digest) as blob:
                    process.feed(blob.fileno())

    @contextmanager
    def unpacking(self, diff_id: str) -> Iterator[Unpacking | None]:
        """Feed the layer's bytes inside; on leaving it is checked and published.

        None when it is there already, or will be: another thread was unpacking it.
        """
        with self._guard:
            lock = self._busy.setdefault(diff_id, threading.Lock())
        with lock:
            if self.has(diff_id):
                yield None
                return
            new = self._new()
            try:
                with Unpacking(new / "root") as process:
                    yield process
                    outcome = process.finish()
                if outcome.diff_id != diff_id:
                    raise ImageError(
                        f"a layer's content is {outcome.diff_id}, the image's config says {diff_id}"
                    )
                self._publish(new, outcome)
            finally:
                remove_tree(new)

    @contextmanager
    def discovering(self) -> Iterator[tuple[Unpacking, Callable[[Unpacked], None]]]:
        """A layer whose diff id nobody knows yet: feed it, finish it, publish the outcome."""
        new = self._new()

        try:
            with Unpacking(new / "root") as process:
                yield process, lambda outcome: self._publish(new, outcome)
        finally:
            remove_tree(new)

    def commit(
        self, upper: Path, protect: Callable[[str], None], *, adopt: bool, clamp: int | None
    ) -> Layer:
        """A directory as a stored layer; with `adopt` it is moved here as the unpacked one.

        `protect` is told the digest before there is anything that a collection could take.
        """

        def fill(write: Write) -> int:
            fd = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                return pack(fd, write, clamp=clamp)
            finally:
                os.close(fd)

        layer, entries = self.packed(fill, protect)
        if adopt and not self.has(layer.diff_id):
            new = self._new()
            try:
                (new / "root").rmdir()
                upper.rename(new / "root")
                outcome = Unpacked(
                    diff_id=layer.diff_id,
                    tar_size=layer.size,
                    size=layer.size,
                    entries=entries,
                    implied=(),
                )
                self._publish(new, outcome)
            finally:
                remove_tree(new)
        return layer

    def packed(
        self, fill: Callable[[Write], int], protect: Callable[[str], None]
    ) -> tuple[Layer, int]:
        """A layer of what `fill` writes, a tar, and what `fill` gives: its number of entries."""
        with self._blobs.writer(OCI_TAR) as out:
            entries = fill(_Buffered(out.write).write)
            protect(out.digest)
            found = out.publish()
        return Layer(digest=found.digest, diff_id=found.digest, size=found.size), entries

    def collect(self, keep: set[str]) -> int:
        """Remove all but these diff ids; bytes that are free now."""
        freed = 0
        names = {hexadecimal(diff_id) for diff_id in keep if diff_id}
        for entry in list(os.scandir(self._home)):
            if entry.name.startswith("dirs-"):
                needs = self._read(Path(entry.path)).get("needs") or ["?"]
                if not all(need in keep for need in needs):
                    self._discard(Path(entry.path))
            elif len(entry.name) == 64 and entry.name not in names:
                freed += int(self._read(Path(entry.path)).get("size") or 0)
                self._discard(Path(entry.path))
        self._ready.clear()
        return freed

    def sweep(self) -> None:
        """At start: what a killed process left half made, half removed, or a power cut damaged."""
        for entry in list(os.scandir(self._home)):
            path = Path(entry.path)
            if entry.name.startswith("."):
                # The process that unpacked there may be in its last moments: then next time.
                with suppress(OSError):
                    remove_tree(path)
            elif not self._trusted(path):
                self._discard(path)

    def problems(self) -> Iterator[str]:
        """What is wrong with unpacked layers, for `verify`."""
        for entry in os.scandir(self._home):
            if len(entry.name) == 64:
                note = self._read(Path(entry.path))
                if not note or not (Path(entry.path) / "root").is_dir():
                    yield f"unpacked layer {entry.name[:12]} is incomplete"

    def usage(self) -> dict[str, int]:
        """Bytes in the files of each unpacked layer, by diff id."""
        return {
            f"sha256:{entry.name}": int(self._read(Path(entry.path)).get("size") or 0)
            for entry in (os.scandir(self._home) if self._home.is_dir() else ())
            if len(entry.name) == 64
        }

    # -- publishing

    def _new(self) -> Path:
        new = self._home / f".new-{secrets.token_hex(8)}"
        new.mkdir(mode=0o700)
        (new / "root").mkdir()
        (new / "root").chmod(0o755)
        return new

    def _publish(self, new: Path, outcome: Unpacked) -> None:
        """`new` becomes the layer, unless somebody else was quicker: then theirs stays.

        Containers may run on the other one already, and the digest says it is the same.
        """
        note = {
            "format": _FORMAT,
            "size": outcome.size,
            "tar_size": outcome.tar_size,
            "entries": outcome.entries,
            "implied": list(outcome.implied),
            # Files are on the disk only some time after they were written; until then a
            # layer counts only as long as the machine has not been restarted.
            "boot": self._boot,
        }
        (new / "layer.json").write_text(json.dumps(note))
        place = self._home / hexadecimal(outcome.diff_id)
        with self._naming:
            if self.has(outcome.diff_id):
                return
            damaged = self._hide(place)
            new.rename(place)
            self._notes[outcome.diff_id] = note
        remove_tree(damaged)
        threading.Thread(target=self._settle, args=(place,), daemon=True).start()

    def _settle(self, place: Path) -> None:
        """Once everything is on the disk, say so: the layer then survives a power cut."""
        with suppress(OSError):
            fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                files.sync_file_system(fd)
                with self._naming:
                    # Not into one that is being removed: its directory would not be empty.
                    if os.path.samestat(os.fstat(fd), place.stat()):
                        made = os.open(
                            "durable", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, dir_fd=fd
                        )
                        os.close(made)
            finally:
                os.close(fd)

    def _discard(self, path: Path) -> None:
        with self._naming:
            gone = self._hide(path)
        remove_tree(gone)

    def _hide(self, path: Path) -> Path:
        """Out of sight before it is removed: a kill in the middle leaves nothing half there."""
        self._notes.pop(f"sha256:{path.name}", None)
        gone = self._home / f".gone-{secrets.token_hex(8)}"
        with suppress(FileNotFoundError):
            path.rename(gone)
        return gone

    def _trusted(self, path: Path) -> bool:
        note = self._read(path)
        if note.get("format") != _FORMAT:
            return False
        return note.get("boot") == self._boot or (path / "durable").exists()

    def _note(self, diff_id: str) -> dict[str, Any] | None:
        found = self._notes.get(diff_id)
        if found is None:
            path = self._home / hexadecimal(diff_id)
            found = self._read(path)
            if not found or not self._trusted(path):
                return None
            self._notes[diff_id] = found
        return found

    @staticmethod
    def _read(path: Path) -> dict[str, Any]:
        try:
            found = json.loads((path / "layer.json").read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    # -- directories that a layer implies

    def _correction(self, chain: tuple[str, ...]) -> Path | None:
        """A directory to put above the last layer of `chain`, or None.

        Some tools leave out the entries of parents (usr/ of usr/bin/x). Unpacked alone, such
        a layer has made-up ones, and in an overlay the topmost directory's owner and mode
        count: /tmp would lose its 1777. The correction has only these directories, as the
        layers below have them.
        """
        note = self._note(chain[-1]) or {}
        implied = [str(path) for path in note.get("implied") or ()]
        if not implied or len(chain) == 1:
            return None
        place = self._home / f"dirs-{hashlib.sha256(','.join(chain).encode()).hexdigest()}"
        if not self._trusted(place):
            new, damaged = self._new(), None
            try:
                made = self._correct(new / "root", chain, sorted(implied))
                text = {"format": _FORMAT, "boot": self._boot, "needs": list(chain), "made": made}
                (new / "layer.json").write_text(json.dumps(text))
                with self._naming:
                    if not self._trusted(place):
                        damaged = self._hide(place)
                        new.rename(place)
                if damaged is not None:
                    remove_tree(damaged)
            finally:
                remove_tree(new)
        return place / "root" if self._read(place).get("made") else None

    def _correct(self, root: Path, chain: tuple[str, ...], implied: list[str]) -> int:
        made = 0
        guessed = set(implied)
        for path in implied:
            below = self._effective(path, chain[:-1])
            if below is None:
                continue
            steps = path.split("/")
            for depth in range(1, len(steps) + 1):
                part = "/".join(steps[:depth])
                if (root / part).exists():
                    continue
                layers = chain[:-1] if part in guessed else chain
                status = self._effective(part, layers)
                (root / part).mkdir()
                if status is not None:
                    os.chown(root / part, status.st_uid, status.st_gid)
                    os.chmod(root / part, stat.S_IMODE(status.st_mode))
                    os.utime(root / part, ns=(status.st_mtime_ns, status.st_mtime_ns))
                made += 1
        return made

    def _effective(self, path: str, chain: tuple[str, ...]) -> os.stat_result | None:
        """The directory as the layers show it; None when they do not have one."""
        for diff_id in reversed(chain):
            root = os.open(self.root(diff_id), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fd = files.open_in_root(root, path, os.O_PATH | os.O_NOFOLLOW)
            except OSError:
                continue
            finally:
                os.close(root)
            status = os.fstat(fd)
            os.close(fd)
            if not stat.S_ISDIR(status.st_mode):
                return None
            note = self._note(diff_id) or {}
            if path not in (note.get("implied") or ()):
                return status
        return None


class _Buffered:
    """Headers are small: they reach the file (and the hash) together."""

    def __init__(self, write: Any) -> None:
        self._write = write
        self._held = bytearray()

    def write(self, data: bytes) -> None:
        self._held += data
        if len(self._held) >= 1 << 20 or data == bytes(1024):
            self._write(bytes(self._held))
            self._held.clear()
