"""stackctl bundle, unbundle: a stack with its images in one file, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stackctl.cli import options
from stackctl.cli.invocation import invocation
from stackctl.cli.output.format import size_text
from stackctl.cli.project import current_directory
from stackctl.cli.rows import warned
from stackctl.cli.steps import carry_out
from stackctl.errors import UsageError


def bundle(
    ctx: typer.Context,
    output: Annotated[
        str,
        typer.Option("-o", "--output", metavar="FILE", help="Default: PROJECT.bundle.tar, here."),
    ] = "",
    no_lock: options.NoLock = False,
) -> int:
    """Write the stack, the files it mounts and all its images to one file.

    What is missing is pulled or built first. `unbundle` on a machine without a registry
    brings it back; the images in it can be loaded by `image load` and by docker, too.
    """
    run = invocation(ctx)
    result, _ = carry_out(run, "bundle", run.body(output=output, no_lock=no_lock), "bundle")
    count = int(result["images"])
    what = f"{count} image" + ("" if count == 1 else "s")
    run.console.out(f"{result['path']}  {what}, {size_text(result['size'])}")
    return 0


def unbundle(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="What `bundle` wrote.")],
    directory: Annotated[
        str,
        typer.Option("-C", "--directory", metavar="DIR", help="Default: the project's name, here."),
    ] = "",
) -> int:
    """Load a bundle's images and make a directory with its stack file."""
    if not Path(file).is_file():
        raise UsageError(f"there is no file {file}")
    run = invocation(ctx)
    here = current_directory()
    body = run.body(input=str(Path(here, file)), parent=here, directory=directory)
    for message in run.client.stream("unbundle", body):
        if warned(run, message):
            continue
        if message["type"] == "row":
            run.console.out(f"Loaded image: {message['image']}")
        elif message["type"] == "result":
            run.console.out(f"{message['path']}: start it there with `stackctl up -d`")
    return 0
