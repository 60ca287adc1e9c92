"""An image that is to be built, as whoever wants it says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """One image to be built. Paths are absolute.

    `context` is a directory or a tar archive; "" is an empty one. `dockerfile` is a
    path, relative to the context or absolute, unless `text` is given. `contexts` are
    further ones by name: a path, or docker-image://REFERENCE. `secrets` are contents by id.
    """

    context: str = ""
    dockerfile: str = "Dockerfile"
    text: bytes | None = None
    names: tuple[str, ...] = ()
    arguments: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    contexts: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    no_cache: bool = False
    no_cache_stages: tuple[str, ...] = ()
    pull: bool = False
    platforms: tuple[str, ...] = ()
    network: str = "default"
    #: What a Dockerfile may ask for: "security.insecure", "network.host".
    allow: tuple[str, ...] = ()
    #: Every RUN has all rights.
    privileged: bool = False
    extra_hosts: tuple[tuple[str, str], ...] = ()
    shm_size: int = 0
    cache_from: tuple[str, ...] = ()
    cache_to: tuple[str, ...] = ()
