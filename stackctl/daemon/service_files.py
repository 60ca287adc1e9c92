"""Secrets and configs of a service: plain binds where that is enough, else files of the engine's.

A host's file without other owner or mode is mounted as it is, so that an edit is
seen; everything else is written by the engine (stackctl.daemon.generated), which
works on read-only services as well. What such a file of the host holds is part of the
configuration's hash (Stack.copies): new content makes a new container.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from stackctl.errors import StackFileError, StackFileErrors
from stackctl.model.container import BindMount, GeneratedFile
from stackctl.scheduler.ops import CreateContainer, Plan
from stackctl.spec.model import Config, Secret, Stack, files_of
from stackctl.spec.mounts import ServiceFile, place_of
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


def check(stack: Stack, plan: Plan) -> tuple[StackFileError, ...]:
    """Files of the services whose containers are made anew have to be there: told before the old
    container is gone. StackFileErrors.

    What is missing for a service's first container is given back: what starts before it may
    make its files.
    """
    made = [step.op for step in plan.steps if isinstance(step.op, CreateContainer)]
    anew = {op.config.service for op in made if op.replaces}
    if errors := _missing(stack, anew):
        raise StackFileErrors(errors)
    return _missing(stack, {op.config.service for op in made} - anew)


def _missing(stack: Stack, names: Collection[str]) -> tuple[StackFileError, ...]:
    services = [stack.services[name] for name in sorted(names) if name in stack.services]
    missing = {
        (section, item.source): origin.file
        for section, item, origin in files_of(stack, services)
        if origin.file and not Path(origin.file).exists()
    }
    return tuple(
        StackFileError(
            f'the file {file} of {section[:-1]} "{name}" does not exist',
            place=stack.places(section, name, "file"),
            hint=f"make it, or correct {section}.{name}.file",
        )
        for (section, name), file in sorted(missing.items())
    )


def _used(
    stack: Stack, service: Service
) -> Iterator[tuple[str, ServiceFile, Secret | Config, str]]:
    for section, item, origin in files_of(stack, [service]):
        yield section, item, origin, place_of(section, item)
