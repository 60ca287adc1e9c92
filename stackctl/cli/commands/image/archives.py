"""stackctl image save, load, import: files on this machine, or standard input and output."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from stackctl.cli import options
from stackctl.cli.invocation import Invocation, invocation
from stackctl.errors import UsageError
from stackctl.state.endpoints import LocalEngine

_CHUNK = 1 << 20


def save(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Names or ids.")],
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="FILE", help="Instead of standard output.")
    ] = "",
    platform: options.OnlyPlatform = "",
) -> int:
    """Write images to an archive (docker-archive and OCI layout in one)."""
    run = invocation(ctx)
    body = {"names": names, "platform": platform}
    if output and output != "-":
        run.client.call("image-save", {**body, "output": str(Path(output).absolute())})
        return 0
    if sys.stdout.isatty():
        raise UsageError("an archive is nothing for a terminal", hint="-o FILE, or redirect it")
    with tempfile.TemporaryDirectory(dir=_scratch(run)) as directory:
        file = Path(directory) / "images.tar"
        run.client.call("image-save", {**body, "output": str(file)})
        with open(file, "rb") as source:
            run.console.flush()
            shutil.copyfileobj(source, sys.stdout.buffer, _CHUNK)
            sys.stdout.buffer.flush()
    return 0


def load(
    ctx: typer.Context,
    input: Annotated[
        str, typer.Option("-i", "--input", metavar="FILE", help="Instead of standard input.")
    ] = "",
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing.")] = False,
    platform: options.OnlyPlatform = "",
) -> int:
    """Take images from an archive or an OCI layout."""
    run = invocation(ctx)
    with _readable(run, input) as path:
        for message in run.client.stream("image-load", {"input": path, "platform": platform}):
            if message["type"] == "row" and not quiet:
                name = message["name"]
                run.console.out(
                    f"Loaded image: {name}" if name else f"Loaded image ID: {message['id']}"
                )
    return 0


def import_(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="Tar of a root file system.")],
    name: Annotated[str, typer.Argument(metavar="[NAME[:TAG]]", help="What to call it.")] = "",
    change: Annotated[
        list[str] | None,
        typer.Option("-c", "--change", metavar="INSTRUCTION", help="As in a Dockerfile."),
    ] = None,
    message: Annotated[
        str, typer.Option("-m", "--message", metavar="TEXT", help="For its history.")
    ] = "",
    platform: Annotated[
        str, typer.Option("--platform", metavar="OS/ARCH", help="What it runs on.")
    ] = "",
) -> int:
    """Make an image of the tar of a root file system."""
    run = invocation(ctx)
    with _readable(run, "" if file == "-" else file) as path:
        result = run.client.call(
            "image-import",
            {
                "input": path,
                "reference": name,
                "changes": change or [],
                "message": message,
                "platform": platform,
            },
        )
    run.console.out(str(result["id"]))
    return 0


@contextmanager
def _readable(run: Invocation, given: str) -> Iterator[str]:
    """A path for the engine: the file, or what comes on standard input."""
    if given and given != "-":
        if not Path(given).exists():
            raise UsageError(f"there is no file {given}")
        yield str(Path(given).absolute())
        return
    if sys.stdin.isatty():
        raise UsageError("nothing comes on standard input", hint="-i FILE")
    _ = run.client  # the engine has made its directories then
    with tempfile.NamedTemporaryFile(dir=_scratch(run)) as file:
        shutil.copyfileobj(sys.stdin.buffer, file, _CHUNK)
        file.flush()
        yield file.name


def _scratch(run: Invocation) -> str:
    """A directory with room, next to where the images are if that is on this machine."""
    if not isinstance(run.endpoint, LocalEngine):
        return tempfile.gettempdir()
    place = run.paths.images / "transfer"
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    return str(place)
