"""stackctl down."""

import time
from typing import Annotated

import typer

from stackctl.cli.invocation import invocation
from stackctl.cli.options import Services, Timeout
from stackctl.cli.output.text import seconds
from stackctl.cli.steps import carry_out


def down(
    ctx: typer.Context,
    services: Services = None,
    volumes: Annotated[
        bool, typer.Option("-v", "--volumes", help="Remove named and anonymous volumes too.")
    ] = False,
    remove_orphans: Annotated[
        bool,
        typer.Option("--remove-orphans", help="Remove containers of services not in the file."),
    ] = False,
    timeout: Timeout = None,
) -> int:
    """Stop the stack and remove its containers and networks."""
    run = invocation(ctx)
    began = time.monotonic()
    body = run.body(
        services=services or [], volumes=volumes, remove_orphans=remove_orphans, timeout=timeout
    )
    if run.dry_run:
        from stackctl.cli.commands.plan import show_plan

        show_plan(run, "down", body)
        return 0
    result, board = carry_out(run, "down", body, "down")
    if run.progress != "quiet":
        elapsed = seconds(time.monotonic() - began)
        what = f"down after {elapsed}" if board.steps else "nothing to remove"
        run.console.err(f"{board.project + ': ' if board.project else ''}{what}")
    return int(result.get("exit_code") or 0)
