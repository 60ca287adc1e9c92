"""Projects of callers on other machines: their files come with the request. Pure.

    {"project": {..., "carried": {path: base64}}, "uploads": {path: where it is here}}

Nothing that such a project names is looked for on this machine: contents of secrets and
configs are taken from what was carried, and a bind of the caller's own path is a mistake.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from stackctl.errors import StackFileError, StackFileErrors, UsageError
from stackctl.model.sockets import DOCKER_SOCKETS
from stackctl.spec.files import DISK, Carried, Files

if TYPE_CHECKING:
    from stackctl.model.build import BuildRequest
    from stackctl.spec.model import Config, Secret, Stack

_Item = TypeVar("_Item", "Secret", "Config")


def is_carried(project: Mapping[str, Any]) -> bool:
    return "carried" in project


def source(project: Mapping[str, Any]) -> Files:
    """Where the files of a request's "project" part are. Raises UsageError."""
    if not is_carried(project):
        return DISK
    raw = project["carried"]
    try:
        return Carried({str(path): base64.b64decode(text) for path, text in raw.items()})
    except (AttributeError, TypeError, binascii.Error):
        raise UsageError("the files of the request cannot be read") from None


def filled(stack: Stack, files: Files, limit: int = 1 << 24) -> Stack:
    """The stack with the contents of secrets and configs in place of their files.

    Raises StackFileErrors for those that the caller did not have.
    """
    mistakes: list[StackFileError] = []
    contents = dict(stack.contents)

    def without_files(section: str, items: Mapping[str, _Item]) -> dict[str, _Item]:
        return {key: without_file(section, key, item) for key, item in items.items()}

    def without_file(section: str, key: str, item: _Item) -> _Item:
        if not item.file:
            return item
        try:
            text = files.read(item.file, limit).decode("utf-8", "surrogateescape")
        except OSError as error:
            if _is_used(stack, section, key):
                where = stack.places(section, key, "file")
                brief = f'{section[:-1]} "{key}": {item.file}: {error.strerror}'
                mistakes.append(StackFileError(brief, place=where))
            return item
        contents[section, key] = text
        return item.model_copy(update={"file": None})

    found = replace(
        stack,
        secrets=without_files("secrets", stack.secrets),
        configs=without_files("configs", stack.configs),
        contents=contents,
    )
    if mistakes:
        raise StackFileErrors(tuple(mistakes))
    return found


def _is_used(stack: Stack, section: str, key: str) -> bool:
    return any(
        item.source == key
        for service in stack.services.values()
        for item in (
            *getattr(service, section),
            *(service.build.secrets if service.build and section == "secrets" else ()),
        )
    )


def refuse_binds(stack: Stack) -> None:
    """Raises StackFileErrors: a path of the caller's machine cannot be mounted on this one."""
    found = [
        StackFileError(
            f'service "{name}" mounts {volume.source}, which is on another machine than the engine',
            place=stack.places("services", name, "volumes", number),
            hint="a named volume, a config or an image can hold it; "
            "for files of the engine's machine bring the stack up there",
        )
        for name, service in stack.services.items()
        for number, volume in enumerate(service.volumes)
        if volume.type == "bind" and volume.source not in DOCKER_SOCKETS
    ]
    if found:
        raise StackFileErrors(tuple(found))


def here(each: BuildRequest, uploads: Mapping[str, str] | None) -> BuildRequest:
    """A build with its paths as they are on this machine; without uploads they are already.

    Raises UsageError for what was not sent.
    """
    if uploads is None:
        return each
    if any("=" in part and part.split("=")[0] in ("src", "dest") for part in _fields(each)):
        raise UsageError("a cache in a directory is for an engine on the same machine")

    def sent(path: str) -> str:
        if not path.startswith("/"):
            return path
        if path not in uploads:
            raise UsageError(f"{path} was not sent to the engine", hint="stackctl build")
        return uploads[path]

    return replace(
        each,
        context=sent(each.context),
        dockerfile=sent(each.dockerfile) if each.text is None else each.dockerfile,
        contexts={name: sent(path) for name, path in each.contexts.items()},
    )


def _fields(each: BuildRequest) -> list[str]:
    return [part for text in (*each.cache_from, *each.cache_to) for part in text.split(",")]
