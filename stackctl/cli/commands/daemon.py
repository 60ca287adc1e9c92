"""stackctl daemon."""

import typer

from stackctl.cli.invocation import invocation


def daemon(ctx: typer.Context) -> int:
    """Run the engine in the foreground, for systemd and containers.

    Other commands start one by themselves when they need it.
    """
    run = invocation(ctx)
    run.console.flush()
    from stackctl.api.serve import foreground

    return foreground(run.paths)
