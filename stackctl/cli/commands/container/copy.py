"""stackctl container cp."""

from __future__ import annotations

from typing import Annotated

import typer

from stackctl.cli.commands import cp as copying
from stackctl.cli.invocation import invocation


def cp(
    ctx: typer.Context,
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="CONTAINER:PATH, a path here, or -.")
    ],
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="CONTAINER:PATH, a path here, or -.")
    ],
    archive: Annotated[
        bool, typer.Option("-a", "--archive", help="Keep user and group ids.")
    ] = False,
    follow_link: Annotated[
        bool, typer.Option("-L", "--follow-link", help="Copy what a link in SOURCE points to.")
    ] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing.")] = False,
) -> int:
    """Copy files between a container and this machine; with - a tar stream."""
    run = invocation(ctx)
    return copying.copy(
        run,
        source,
        target,
        lambda name: [name],
        owners=archive,
        follow=follow_link,
        what="CONTAINER",
    )
