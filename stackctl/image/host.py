"""The built-in image stackctl/host: this machine's own programs, none of its secrets.

Its root is a small generated directory (host_files, skeleton) with the host's
/usr, and /bin, /lib... where those are real directories, laid over it. Nothing
is pulled and nothing large is copied.

    ROOT/images/host/<digest>/root/          the skeleton, read-only for all
    ROOT/images/host/<digest>/manifest.json  what must be in it
    ROOT/images/host/index.json              the digest that goes with the host's present files

The image's id is the digest of what was generated, so that the image counts as
changed exactly when something in it did. Looking at the host takes a few
milliseconds (lstat only); reading and generating only happens after a change.
A skeleton is made under another name and renamed; one that a power cut left
damaged is made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import threading
from collections.abc import Callable
from pathlib import Path

from stackctl.image import host_files, skeleton
from stackctl.image.drivers import Part
from stackctl.image.removal import remove_tree
from stackctl.model.image import Image, ImageConfig
from stackctl.model.reference import HOST
from stackctl.values import dataclass

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

CONFIG = ImageConfig(command=("/bin/sh",), env=(f"PATH={PATH}",), working_dir="/")

#: Raised when what is generated from the same host changes.
_GENERATION = 1

_ID = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class _Known:
    signature: str
    digest: str
    size: int


class HostImage:
    """Blocking; `host` is the machine's root, `chown` None for tests of any user."""

    def __init__(
        self,
        images: Path,
        host: Path = Path("/"),
        chown: Callable[[str, int, int], None] | None = os.chown,
    ) -> None:
        self._home = images / "host"
        self._host = host
        self._chown = chown
        self._known: _Known | None = None
        self._checked: set[str] = set()
        #: A caller that leaves takes its thread not along: the next one must not find a
        #: skeleton that came into being meanwhile, and take it for a damaged one.
        self._looking = threading.Lock()

    def current(self) -> Image:
        """The image of the host as it is now; its skeleton is there. Raises OSError."""
        with self._looking:
            signature = self._signature()
            known = self._known or self._read_index()
            if known is None or known.signature != signature or not self._intact(known.digest):
                known = self._generate(signature)
            self._known = known
            return self._image(known.digest, known.size)

    def get(self, image_id: str) -> Image | None:
        """An image that a container was made from, also after the host has changed."""
        if not _ID.fullmatch(image_id):
            return None
        digest = image_id.removeprefix("sha256:")
        return self._image(digest, 0) if self._intact(digest) else None

    def parts(self, image: Image) -> tuple[Part, ...]:
        """What makes a root of it: the skeleton, then the host's directories."""
        root = self._home / image.id.removeprefix("sha256:") / "root"
        names = ["usr", *host_files.top_level_names(self._host)]
        return (
            Part("/", (str(root),)),
            *(
                Part(f"/{name}", (str(self._host / name),))
                for name in names
                if not (self._host / name).is_symlink()
            ),
        )

    def sweep(self, keep: frozenset[str]) -> None:
        """Removes half-made skeletons, and those that neither `keep` (image ids) nor we need."""
        current = self._known or self._read_index()
        for entry in self._home.iterdir() if self._home.is_dir() else ():
            wanted = f"sha256:{entry.name}" in keep or (current and entry.name == current.digest)
            if entry.is_dir() and not wanted:
                remove_tree(entry)
                self._checked.discard(entry.name)

    def _image(self, digest: str, size: int) -> Image:
        created = (self._home / digest).stat().st_mtime
        return Image(
            id=f"sha256:{digest}", reference=HOST, config=CONFIG, size=size, created_at=created
        )

    def _generate(self, signature: str) -> _Known:
        entries = host_files.entries(self._host)
        digest = skeleton.digest(entries)
        if not self._intact(digest):
            self._publish(digest, entries)
        known = _Known(signature, digest, skeleton.size(entries))
        text = {"signature": signature, "digest": digest, "size": known.size}
        _replace(self._home / "index.json", json.dumps(text))
        return known

    def _publish(self, digest: str, entries: tuple[skeleton.Entry, ...]) -> None:
        self._home.mkdir(parents=True, exist_ok=True)
        new = self._home / f".new-{os.getpid()}-{secrets.token_hex(4)}"
        try:
            new.mkdir(mode=0o755)
            skeleton.write(entries, new / "root", self._chown)
            rows = json.dumps(skeleton.rows(entries))
            (new / "manifest.json").write_text(rows)
            place = self._home / digest
            if place.exists():
                # Damaged: by a power cut, after which nothing runs on it, or by somebody's hand.
                place.rename(new / "damaged")
            new.rename(place)
            if (place / "damaged").exists():
                remove_tree(place / "damaged")
        except BaseException:
            remove_tree(new)
            raise
        self._checked.add(digest)

    def _intact(self, digest: str) -> bool:
        """Checked in full once in a process; afterwards nobody but us writes there."""
        place = self._home / digest
        if digest in self._checked:
            return place.is_dir()
        try:
            rows = json.loads((place / "manifest.json").read_text())
        except (OSError, ValueError):
            return False
        if not skeleton.intact(rows, place / "root", owners=self._chown is not None):
            return False
        self._checked.add(digest)
        return True

    def _read_index(self) -> _Known | None:
        try:
            raw = json.loads((self._home / "index.json").read_text())
            return _Known(str(raw["signature"]), str(raw["digest"]), int(raw["size"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _signature(self) -> str:
        """Over lstat of everything that `host_files.entries` looks at."""
        total = hashlib.sha256(f"{_GENERATION}\n".encode())
        for line in sorted(host_files.looked_at(self._host)):
            total.update(line.encode(errors="surrogateescape") + b"\n")
        return total.hexdigest()


def _replace(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    new.write_text(text)
    new.rename(path)
