"""stackctl logs."""

from __future__ import annotations

import typer

from stackctl.cli import options
from stackctl.cli.invocation import invocation
from stackctl.cli.later import Annotated
from stackctl.cli.output.containers import replicas
from stackctl.cli.output.logs import LogPrinter
from stackctl.cli.rows import rows, warned
from stackctl.cli.values import moment, tail


def logs(
    ctx: typer.Context,
    services: options.Services = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as lines come.")] = False,
    lines: Annotated[
        str, typer.Option("-n", "--tail", metavar="N", help="Lines from the end of each log.")
    ] = "all",
    timestamps: Annotated[
        bool, typer.Option("-t", "--timestamps", help="Print the time before each line.")
    ] = False,
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="Only after this: 10m, 2026-01-31T12:00.")
    ] = "",
    until: Annotated[str, typer.Option("--until", metavar="TIME", help="Only before this.")] = "",
    index: options.Index = 0,
    no_log_prefix: options.NoLogPrefix = False,
    no_color: options.NoColor = False,
) -> int:
    """Print the services' logs, in order of time."""
    run = invocation(ctx)
    body = run.body(
        services=services or [],
        follow=follow,
        index=index,
        tail=tail(lines),
        timestamps=timestamps,
        since=moment("--since", since),
        until=moment("--until", until),
    )
    printer = LogPrinter(
        run.console, prefix=not no_log_prefix, timestamps=timestamps, colour=not no_color
    )
    if not no_log_prefix:
        # So that the first line is as far indented as the last.
        known = rows(run, "ps", run.body(services=services or [], all=True))
        printer.project = str(known[0].get("Project", "")) if known else ""
        printer.expect(*replicas(known))
    for message in run.client.stream("logs", body):
        if not warned(run, message) and message["type"] == "log":
            printer.print(message)
            if follow:
                run.console.flush()
    return 0
