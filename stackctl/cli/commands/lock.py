"""stackctl lock."""

from __future__ import annotations

from typing import Annotated

import typer

from stackctl.cli import options
from stackctl.cli.invocation import invocation
from stackctl.cli.rows import warned
from stackctl.errors import UsageError


def lock(
    ctx: typer.Context,
    services: options.Services = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Only say whether the lock file fits; exit code 1 if not."),
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask no registry: lock what was pulled here.")
    ] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing.")] = False,
) -> int:
    """Write down which content the images' names mean now, in a lock file beside the stack file.

    `up`, `create`, `run`, `pull` and `plan` then take exactly this content, until the images
    are locked again; --no-lock does without.
    """
    if check and (offline or services):
        raise UsageError("--check looks at the whole file and asks nobody: it goes alone")
    run = invocation(ctx)
    body = run.body(services=services or [], check=check, offline=offline)
    result = {}
    for message in run.client.stream("lock", body):
        if warned(run, message):
            continue
        if message["type"] == "result":
            result = message
        elif message["type"] == "row" and not quiet:
            run.console.out(f"{message['image']}  {message['digest'][:19]}  {message['state']}")
    if check and not quiet:
        fits = not result.get("exit_code")
        run.console.err(f"{result['path']} " + ("fits" if fits else "does not fit the stack file"))
    return int(result.get("exit_code") or 0)
