"""Images as the other layers see them, and the mounts that make a container's root."""

from __future__ import annotations

from dataclasses import field

from stackctl.model.container import HealthCheck
from stackctl.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """The image's defaults for a container (OCI image spec, config object)."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    working_dir: str = "/"
    user: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    volumes: tuple[str, ...] = ()
    exposed_ports: tuple[str, ...] = ()
    stop_signal: str = ""
    health: HealthCheck | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """`id` is the digest of the config ("sha256:..."); `reference` what it was looked up by."""

    id: str
    reference: str
    config: ImageConfig
    size: int = 0
    created_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayMount:
    """One overlay in a container's root: `lower` directories top first, all on the host.

    `upper` and `work` are siblings in one directory on one file system. Files in
    them carry ids as the container sees them (root is 0): the runtime id-maps.
    """

    target: str
    lower: tuple[str, ...]
    upper: str
    work: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryMount:
    """A plain directory mounted at `target` (drivers that copy, e.g. vfs)."""

    target: str
    source: str


RootMount = OverlayMount | DirectoryMount


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The mounts that make the root, outermost first; the first one's target is "/".

    `mounted`: the same of each image that the container mounts.
    """

    mounts: tuple[RootMount, ...]
    mounted: tuple[tuple[RootMount, ...], ...] = ()
