"""Secrets and configs of a service: plain binds where that is enough, else files of the engine's.

A host's file without other owner or mode is mounted as it is, so that an edit is
seen; everything else is written by the engine (stackctl.daemon.generated), which
works on read-only services as well. What such a file of the host holds is part of the
configuration's hash (Stack.copies): new content makes a new container.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from stackctl.model.container import BindMount, GeneratedFile
from stackctl.spec.model import Config, Secret, Stack, files_of
from stackctl.spec.mounts import ServiceFile
from stackctl.spec.service import Service


def bound(stack: Stack, service: Service) -> tuple[BindMount, ...]:
    """The mounts of files that are used as they are."""
    return tuple(
        BindMount(source=origin.file, target=target, read_only=True, create_host_path=False)
        for _, item, origin, target in _used(stack, service)
        if origin.file and not item.is_copy
    )


def generated(stack: Stack, service: Service) -> tuple[GeneratedFile, ...]:
    """The files that the engine has to make."""
    return tuple(
        GeneratedFile(
            target=target,
            content=stack.contents.get((section, item.source), ""),
            source=origin.file or "",
            uid=int(item.uid or 0),
            gid=int(item.gid or 0),
            mode=0o444 if item.mode is None else item.mode,
        )
        for section, item, origin, target in _used(stack, service)
        if not origin.file or item.is_copy
    )


def _used(
    stack: Stack, service: Service
) -> Iterator[tuple[str, ServiceFile, Secret | Config, str]]:
    for section, item, origin in files_of(stack, [service]):
        home = "/run/secrets" if section == "secrets" else "/"
        yield section, item, origin, posixpath.join(home, item.target or item.source)
