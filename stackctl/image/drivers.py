"""Storage drivers: they prepare directories and return mounts, and mount nothing.

The mounts are performed by the container's own process, in its own namespace.

    overlay   layers shared by all, one writable layer a container (default)
    btrfs     a subvolume a container, cloned from one an image (in place of copies)
    vfs       a copy of everything for each container; where overlay cannot stack
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from stackctl.errors import UsageError
from stackctl.image.merge import merge
from stackctl.image.removal import remove_tree
from stackctl.model.image import DirectoryMount, OverlayMount, RootMount, Snapshot
from stackctl.values import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a root: what is to be seen at `target`, directories top first."""

    target: str
    layers: tuple[str, ...]


def distinct(layers: Sequence[str]) -> tuple[str, ...]:
    """Each directory once (top first), for an overlay: it refuses a second one with ELOOP.

    A layer may come twice in an image (RUN true, and RUN true again). Its uppermost place is
    enough: whatever it adds, hides or replaces further down, it does there again, above all
    that lies between.
    """
    return tuple(dict.fromkeys(layers))


class StorageDriver(Protocol):
    """Blocking; the service calls it in threads. All errors are OSError."""

    @property
    def name(self) -> str: ...

    def prepare(self, writable: Path, parts: Sequence[Part]) -> Snapshot:
        """Makes what is missing below `writable` (a container's own directory).

        Called again for a container that starts again: what it wrote is kept.
        """

    def release(self, writable: Path) -> None:
        """Removes all that the container wrote. Nothing there is fine."""


class Overlay:
    """Layers shared by all, and a writable layer per container and part.

    <writable>/<n>/upper and <writable>/<n>/work, owned by root as the container
    sees it (0): the runtime id-maps the directory that holds both.
    """

    name = "overlay"

    def prepare(self, writable: Path, parts: Sequence[Part]) -> Snapshot:
        mounts: list[RootMount] = []
        for number, part in enumerate(parts):
            home = writable / str(number)
            for directory in (home / "upper", home / "work"):
                directory.mkdir(parents=True, exist_ok=True)
                # The root of an overlay has the mode of its upper directory; past the umask.
                directory.chmod(0o755)
            mounts.append(
                OverlayMount(
                    target=part.target,
                    lower=distinct(part.layers),
                    upper=str(home / "upper"),
                    work=str(home / "work"),
                )
            )
        return Snapshot(mounts=tuple(mounts))

    def release(self, writable: Path) -> None:
        remove_tree(writable)


class Copies:
    """vfs: a container's root is a plain directory, the layers copied into each other.

    <writable>/<n>/root; what is being copied has another name until it is complete. On
    file systems that share extents (btrfs, xfs) a copy of a file's content costs nothing.
    """

    name = "vfs"

    def prepare(self, writable: Path, parts: Sequence[Part]) -> Snapshot:
        if any(part.target != "/" for part in parts):
            # A container that may write needs a copy, and this one is all of the machine's /usr.
            raise UsageError(
                f"stackctl/host cannot be had with the storage driver {self.name}",
                hint="STACKCTL_STORAGE_DRIVER=overlay, or another image",
            )
        mounts: list[RootMount] = []
        for number, part in enumerate(parts):
            home = writable / str(number)
            root = home / "root"
            if not root.is_dir():
                home.mkdir(parents=True, exist_ok=True)
                new = home / "new"
                remove_tree(new)
                merge([Path(layer) for layer in part.layers], new)
                # What a layer at the bottom of an overlay would be: a commit compares with it.
                (home / "layers.json").write_text(json.dumps(part.layers))
                new.rename(root)
            mounts.append(DirectoryMount(target=part.target, source=str(root)))
        return Snapshot(mounts=tuple(mounts))

    def release(self, writable: Path) -> None:
        remove_tree(writable)


class Btrfs(Copies):
    """As vfs, on btrfs: files share their extents with the layers', so that a copy is cheap."""

    name = "btrfs"


_DRIVERS: dict[str, type[Overlay] | type[Copies]] = {
    "overlay": Overlay,
    "overlay2": Overlay,
    "vfs": Copies,
    "btrfs": Btrfs,
}


def driver_for(name: str, root: Path) -> StorageDriver:
    """By name; "" is overlay. Raises UsageError."""
    if name == "":
        return Overlay()
    made = _DRIVERS.get(name)
    if made is None:
        raise UsageError(
            f"there is no storage driver {name!r}", hint="overlay, btrfs and vfs are there"
        )
    if name == "btrfs" and not _is_btrfs(root):
        raise UsageError(f"{root} is not on btrfs", hint="overlay works everywhere")
    return made()


def _is_btrfs(path: Path) -> bool:
    """By the mount table: os.statvfs does not tell the kind."""
    best = ("", "")
    where = os.path.realpath(path)
    for line in Path("/proc/self/mountinfo").read_text(errors="replace").splitlines():
        left, _, right = line.partition(" - ")
        point, kind = left.split()[4], right.split()[0]
        if (where + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(best[0]):
            best = (point, kind)
    return best[1] == "btrfs"
