"""Storage drivers: they prepare directories and return mounts, and mount nothing.

The mounts are performed by the container's own process, in its own namespace.
Today there is overlay; btrfs and vfs (copies, where overlay cannot stack) fit
the same Protocol: a driver that makes copies returns DirectoryMounts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stackctl.image.removal import remove_tree
from stackctl.model.image import OverlayMount, Snapshot


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a root: what is to be seen at `target`, directories top first."""

    target: str
    layers: tuple[str, ...]


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
        mounts: list[OverlayMount] = []
        for number, part in enumerate(parts):
            home = writable / str(number)
            for directory in (home / "upper", home / "work"):
                directory.mkdir(parents=True, exist_ok=True)
                # The root of an overlay has the mode of its upper directory; past the umask.
                directory.chmod(0o755)
            mounts.append(
                OverlayMount(
                    target=part.target,
                    lower=part.layers,
                    upper=str(home / "upper"),
                    work=str(home / "work"),
                )
            )
        return Snapshot(mounts=tuple(mounts))

    def release(self, writable: Path) -> None:
        remove_tree(writable)
