"""stackctl cp."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from stackctl.cli import options
from stackctl.cli.archive import Chunks, pack, unpack
from stackctl.cli.connection import Readable
from stackctl.cli.invocation import Invocation, invocation
from stackctl.cli.output.errors import print_warning
from stackctl.cli.rows import rows
from stackctl.cli.steps import rehearse
from stackctl.errors import MachineError, NotFound, RemoteError, UsageError

_CHUNK = 1 << 18
#: Go's os.FileMode bits, as Docker's path stat has them.
_GO_DIRECTORY = 1 << 31


def cp(
    ctx: typer.Context,
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="SERVICE:PATH, a path here, or -.")
    ],
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="SERVICE:PATH, a path here, or -.")
    ],
    index: options.Index = 0,
    all: Annotated[
        bool, typer.Option("--all", help="To the containers that `run` made, too.")
    ] = False,
    archive: Annotated[
        bool, typer.Option("-a", "--archive", help="Keep user and group ids.")
    ] = False,
    follow_link: Annotated[
        bool, typer.Option("-L", "--follow-link", help="Copy what a link in SOURCE points to.")
    ] = False,
) -> int:
    """Copy files between a service's container and this machine.

    A trailing /. copies a directory's contents. With - a tar stream is read from
    standard input or written to standard output.
    """
    run = invocation(ctx)
    return copy(
        run,
        source,
        target,
        lambda service: containers_of(run, service, index, oneoffs=all),
        owners=archive,
        follow=follow_link,
    )


def copy(
    run: Invocation,
    source: str,
    target: str,
    containers_of: Callable[[str], list[str]],
    *,
    owners: bool,
    follow: bool,
    what: str = "SERVICE",
) -> int:
    """Carry it out; `containers_of` gives the containers that a name before the colon means."""
    from_service, from_path = _place(source)
    to_service, to_path = _place(target)
    if bool(from_service) == bool(to_service):
        raise UsageError(
            "one of the two has to be in a service's container, the other here"
            if what == "SERVICE"
            else "one of the two has to be in a container, the other here",
            hint=f"cp {what}:PATH PATH, or cp PATH {what}:PATH",
        )
    try:
        if run.dry_run and what == "SERVICE":
            return _rehearse(run, containers_of(from_service or to_service), source, target)
        if from_service:
            container = containers_of(from_service)[0]
            _copy_out(run, container, from_path, to_path, owners=owners, follow=follow)
        else:
            containers = containers_of(to_service)
            for container in containers[:1] if from_path == "-" else containers:
                _copy_in(run, container, from_path, to_path, owners=owners, follow=follow)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise MachineError(f"{error.filename or target}: {error.strerror}") from error
    return 0


def _rehearse(run: Invocation, containers: list[str], source: str, target: str) -> int:
    """Print what would go where. What is in the containers is not looked at."""
    into = bool(_place(target)[0])
    if into and source != "-":
        _check_here(source)
    else:
        containers = containers[:1]
    body = run.body(containers=containers, source=source, target=target, into=into)
    return rehearse(run, "cp", body)


def _place(text: str) -> tuple[str, str]:
    """(service, path); service "" for a path here. `./a:b` and `/a:b` are paths."""
    service, colon, path = text.partition(":")
    if not colon or text.startswith((".", "/")) or not service:
        return "", text
    return service, path


def containers_of(run: Invocation, service: str, index: int, *, oneoffs: bool = False) -> list[str]:
    """Full ids of the service's containers (or of number `index`), lowest number first."""
    found = [
        row
        for row in rows(run, "ps", run.body(services=[service], all=True))
        if oneoffs or "com.docker.compose.oneoff=True" not in str(row.get("Labels")).split(",")
    ]
    if index:
        number = f"com.docker.compose.container-number={index}"
        found = [row for row in found if number in str(row.get("Labels", "")).split(",")]
    if not found:
        which = f" number {index}" if index else ""
        raise NotFound(f'service "{service}" has no container{which}')
    return [str(row.get("FullID") or row["ID"]) for row in found]


# -- out of a container


def _copy_out(
    run: Invocation, container: str, path: str, target: str, *, owners: bool, follow: bool
) -> None:
    contents = path.endswith("/.") or path == "."
    path = path.removesuffix("/.") or "/"
    if follow:
        path = _resolved(run, container, path)
    bare = path == "/"
    # Names of a root's archive have no directory in common, with "/." they are relative.
    found, content = run.client.archive_get(container, "/." if bare else path)
    with closing(content):
        if target == "-":
            _write_stream(content)
            return
        is_directory = _is_directory(found)
        directory, rename = _destination(target, is_directory, contents and is_directory)
        skipped = unpack(content, directory, rename=rename, bare=bare, owners=owners)
    for name in skipped:
        print_warning(run.console, f'"{name}" is a device and was not copied')


def _destination(target: str, is_directory: bool, contents: bool) -> tuple[Path, str | None]:
    """Where to unpack and what the copied thing is called there: docker cp's rules."""
    path = Path(target)
    if path.is_dir():
        return path, "" if contents else None
    if path.exists() and is_directory:
        raise UsageError(f'"{target}" is a file: a directory cannot be copied onto it')
    if target.endswith("/") and not is_directory:
        raise NotFound(f'there is no directory "{target}"')
    if not path.parent.is_dir():
        raise NotFound(f'there is no directory "{path.parent}"')
    return path.parent, path.name


def _write_stream(content: Readable) -> None:
    if sys.stdout.isatty():
        raise UsageError("a tar stream is not for a terminal", hint="redirect standard output")
    while chunk := content.read(_CHUNK):
        view = memoryview(chunk)
        while view:
            view = view[os.write(1, view) :]


# -- into a container


def _copy_in(
    run: Invocation, container: str, source: str, path: str, *, owners: bool, follow: bool
) -> None:
    path = path or "/"
    if source == "-":
        run.client.archive_put(container, path, Chunks(_read_stream()))
        return
    here = _check_here(source)
    contents = source.endswith("/.") or source == "."
    is_directory = here.is_dir() and (follow or not here.is_symlink() or contents)
    directory, name = _place_inside(run, container, path, here, is_directory, contents)
    stream = pack(here.resolve() if contents else here, name, follow=follow, owners=owners)
    run.client.archive_put(container, directory, Chunks(stream))


def _check_here(source: str) -> Path:
    here = Path(source)
    if not here.exists() and not here.is_symlink():
        raise NotFound(f'there is no "{source}" here')
    return here


def _place_inside(
    run: Invocation, container: str, path: str, here: Path, is_directory: bool, contents: bool
) -> tuple[str, str]:
    """The directory in the container, and the name there ("" for contents only)."""
    found = _stat(run, container, path)
    if found is not None and found.get("linkTarget"):
        path = _joined(path, str(found["linkTarget"]))
        found = _stat(run, container, path)
    if found is not None and _is_directory(found):
        return path, "" if contents else here.resolve().name if here.name == ".." else here.name
    if found is not None and is_directory:
        raise UsageError(f'"{path}" is a file in the container: a directory cannot go there')
    if found is None and path.endswith("/") and not is_directory:
        raise NotFound(f'the container has no directory "{path}"')
    parent, name = os.path.split(path.rstrip("/"))
    return parent or "/", name


def _stat(run: Invocation, container: str, path: str) -> dict[str, Any] | None:
    try:
        return run.client.archive_stat(container, path)
    except RemoteError as error:
        if error.kind == NotFound.kind:
            return None
        raise


def _resolved(run: Invocation, container: str, path: str) -> str:
    found = run.client.archive_stat(container, path)
    return _joined(path, str(found["linkTarget"])) if found.get("linkTarget") else path


def _joined(path: str, link: str) -> str:
    return os.path.normpath(os.path.join(os.path.dirname(path), link))  # noqa: PTH118, PTH120


def _is_directory(found: dict[str, Any]) -> bool:
    mode = int(found.get("mode") or 0)
    return bool(mode & _GO_DIRECTORY) or stat.S_ISDIR(mode & 0xFFFF)


def _read_stream() -> Iterator[bytes]:
    if sys.stdin.isatty():
        raise UsageError("a tar stream is not for a terminal", hint="redirect standard input")
    while data := os.read(0, _CHUNK):
        yield data
