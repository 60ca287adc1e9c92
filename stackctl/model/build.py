"""An image that is to be built, as whoever wants it says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from stackctl.errors import Place
from stackctl.model.container import Ulimit
from stackctl.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOutput:
    """Where a result goes besides, or instead of, the engine's store.

    `type` "image" (the store; with `push` a registry too), "local" (files into the directory
    `dest`), "tar" (files as one archive), "docker" or "oci" (an image's archive; `unpacked`: a
    directory), "cacheonly" (nothing but the cache). `dest` is an absolute path; "" of "docker"
    is the store.
    """

    type: str
    dest: str = ""
    name: str = ""
    push: bool = False
    unpacked: bool = False

    @property
    def is_image(self) -> bool:
        """Whether the store keeps the image, under its names."""
        return self.type == "image" or (self.type == "docker" and not self.dest)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """One image to be built. Paths are absolute.

    `context` is a directory, a tar archive, or the address of either or of a Git repository; ""
    is an empty one. `dockerfile` is a path, relative to the context or absolute, unless `text`
    is given. `contexts` are further ones by name: likewise, or docker-image://REFERENCE,
    oci-layout://DIRECTORY, or service:NAME for what `bases` says how to build. `secrets` are
    contents by id, `ssh` an agent's socket or files of keys by id. No `outputs`: the store.
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
    ulimits: tuple[Ulimit, ...] = ()
    ssh: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: Where a stack file asks for it: told when the context or the Dockerfile is not there.
    place: Place | None = field(default=None, repr=False, compare=False)
    cache_from: tuple[str, ...] = ()
    cache_to: tuple[str, ...] = ()
    outputs: tuple[BuildOutput, ...] = ()
    #: Other builds that `contexts` name as service:NAME, by that name.
    bases: Mapping[str, BuildRequest] = field(default_factory=dict)
