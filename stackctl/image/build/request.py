"""What is asked of the builder, what it needs from the engine, and what it tells."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from stackctl.model.build import BuildRequest
from stackctl.model.container import Mount, Ulimit
from stackctl.model.image import Image, Snapshot
from stackctl.values import dataclass

Message = dict[str, Any]
Emit = Callable[[Message], None]
#: (stream 1 or 2, bytes)
Output = Callable[[int, bytes], None]


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
    ulimits: tuple[Ulimit, ...] = ()
    hostname: str = ""


class Runner(Protocol):
    async def run(self, job: RunJob, output: Output) -> int:
        """The exit code. Cancelled, nothing of the process is left. Raises StackctlError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """What the builder needs of the engine around it."""

    runner: Runner
    #: (reference or id, ask the registry even when it is here) -> the image, which is in the
    #: store then or is the built-in one. Raises NotFound.
    base_image: Callable[[str, bool], Awaitable[Image]]
    #: An image by name to its registry. Raises StackctlError.
    push: Callable[[str], Awaitable[object]]
    #: That of the caller: credentials and proxies.
    environment: Callable[[], Mapping[str, str]]


__all__ = ["BuildRequest", "Emit", "Engine", "Message", "Output", "RunJob", "Runner"]
