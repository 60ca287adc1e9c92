"""What is asked of the builder, what it needs from the engine, and what it tells."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from stackctl.model.container import Mount
from stackctl.model.image import Image, Snapshot

Message = dict[str, Any]
Emit = Callable[[Message], None]
#: (stream 1 or 2, bytes)
Output = Callable[[int, bytes], None]


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
    extra_hosts: tuple[tuple[str, str], ...] = ()
    shm_size: int = 0
    cache_from: tuple[str, ...] = ()
    cache_to: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunJob:
    """A RUN as the engine carries it out: a process in a root of these mounts."""

    title: str
    argv: tuple[str, ...]
    env: tuple[str, ...]
    working_dir: str
    user: str
    snapshot: Snapshot
    mounts: tuple[Mount, ...]
    network: str
    extra_hosts: tuple[tuple[str, str], ...]
    shm_size: int
    privileged: bool


class Runner(Protocol):
    async def run(self, job: RunJob, output: Output) -> int:
        """The exit code. Cancelled, nothing of the process is left. Raises StackctlError."""


#: (reference, ask the registry even when it is here) -> the image, which is in the store then
#: or is the built-in one. Raises NotFound.
BaseImage = Callable[[str, bool], Awaitable[Image]]
