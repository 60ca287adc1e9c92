"""A stack's lock file: what its images' names meant when it was locked.

    stack.yaml -> stack.lock   {"version": 1, "images": {"docker.io/library/nginx:1": "sha256:..."}}

Names are whole (registry, path, tag), digests those of the registry's manifest or index.
Images without a registry (built ones, stackctl/host) and those that the stack file names by
digest are never in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from stackctl.errors import ImageError, UsageError
from stackctl.image.index import replace_file
from stackctl.linux import plain
from stackctl.model.reference import parse

_VERSION = 1
_SIZE = 1 << 24


def path_of(stack_file: str) -> Path:
    """The lock file beside a stack file."""
    return Path(stack_file).with_suffix(".lock")


def lockable(image: str) -> str:
    """The whole name of an image that can be locked; "" for one that cannot."""
    try:
        reference = parse(image)
    except ImageError:
        return ""
    return "" if reference.is_host or reference.digest else str(reference)


def _text(path: Path) -> str:
    return plain.read(str(path), _SIZE).decode()


def read(path: Path, text_of: Callable[[Path], str] = _text) -> dict[str, str] | None:
    """Digest by whole name; None when there is no such file. Raises UsageError."""
    try:
        text = text_of(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    try:
        raw = json.loads(text)
        version, images = raw["version"], dict(raw["images"])
        for name, digest in images.items():
            parse(f"{name}@{digest}")
    except (ValueError, KeyError, TypeError, ImageError) as error:
        raise UsageError(
            f"{path} is not a lock file: {error}",
            hint="write it again with `stackctl lock`, or do without it: --no-lock",
        ) from None
    if version != _VERSION:
        raise UsageError(
            f"{path} is of version {version}, which this stackctl does not know",
            hint="write it again with `stackctl lock`, or do without it: --no-lock",
        )
    return {str(name): str(digest) for name, digest in images.items()}


def text(images: Mapping[str, str]) -> str:
    """The file's content; the same for the same images."""
    return (
        json.dumps({"version": _VERSION, "images": dict(sorted(images.items()))}, indent=2) + "\n"
    )


def write(path: Path, images: Mapping[str, str]) -> None:
    """Raises OSError."""
    replace_file(path, text(images))


def pins(images: Iterable[str], locked: Mapping[str, str]) -> dict[str, str]:
    """By image as the stack file has it: the same with its digest, of those that are locked."""
    return {
        image: f"{name}@{locked[name]}"
        for image in images
        if (name := lockable(image)) and name in locked
    }
