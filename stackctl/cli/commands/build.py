"""stackctl build: the images of a stack's services."""

from typing import Annotated

import typer

from stackctl.cli.building import carry_out_build, pairs
from stackctl.cli.invocation import invocation
from stackctl.cli.options import Services


def build(
    ctx: typer.Context,
    services: Services = None,
    build_arg: Annotated[
        list[str] | None,
        typer.Option("--build-arg", metavar="KEY=VAL", help="Value of an ARG; repeatable."),
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Do everything anew.")] = False,
    pull: Annotated[bool, typer.Option("--pull", help="Pull base images again.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print no progress.")] = False,
    progress: Annotated[
        str, typer.Option("--progress", metavar="HOW", help="Progress: auto, tty, plain, quiet.")
    ] = "",
) -> int:
    """Build the images of services that have a `build`, all at once."""
    run = invocation(ctx)
    body = run.body(
        services=services or [],
        build_args=pairs("--build-arg", build_arg or (), run.environment),
        no_cache=no_cache,
        pull=pull,
    )
    result = carry_out_build(run, body, "quiet" if quiet else progress or run.progress)
    if not quiet:
        for image in result.get("images") or ():
            for name in image["names"]:
                run.console.err(f"built {name}")
    return int(result.get("exit_code") or 0)
