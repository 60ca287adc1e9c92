"""Environment files that are not there, told together with a stack's other mistakes.

Services are put together with their files only when nothing else is wrong; an author who
mends one round of mistakes should not be shown a second one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress

from stackctl.spec.files import Files
from stackctl.spec.mistakes import Mistakes
from stackctl.spec.nodes import Mapping, Mark, Node, Scalar, Sequence


def check(
    root: Node, source: Files, mistakes: Mistakes, services: Collection[str] | None = None
) -> None:
    """Of these services (None: of all) in a merged tree with absolute paths.

    What is no path is another's to tell.
    """
    for path, mark in _required(root, services):
        if not source.exists(path):
            tell_missing(path, mark, mistakes)
            continue
        # What is not read does not go along to an engine elsewhere, and would be missing there.
        with suppress(OSError):
            source.read(path, 1)


def tell_missing(path: str, mark: Mark, mistakes: Mistakes) -> None:
    mistakes.add(
        f"the environment file {path} does not exist",
        mark,
        hint="create it, or say required: false",
    )


def _required(root: Node, names: Collection[str] | None) -> Iterator[tuple[str, Mark]]:
    services = root.get("services") if isinstance(root, Mapping) else None
    for name, service in services.entries.items() if isinstance(services, Mapping) else ():
        if names is not None and name not in names:
            continue
        named = service.get("env_file") if isinstance(service, Mapping) else None
        # Another form is a mistake that is told; its path is not absolute.
        for item in named.items if isinstance(named, Sequence) else ():
            found: Node | None = item
            if isinstance(item, Mapping):
                required = item.get("required")
                if isinstance(required, Scalar) and required.value is False:
                    continue
                found = item.get("path")
            if isinstance(found, Scalar) and isinstance(found.value, str):
                yield found.value, found.mark
