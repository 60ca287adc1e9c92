"""stackctl ls."""

from __future__ import annotations

import typer

from stackctl.cli.invocation import invocation
from stackctl.cli.later import Annotated
from stackctl.cli.output.table import Column, table
from stackctl.cli.rows import rows
from stackctl.cli.values import one_of
from stackctl.errors import UsageError
from stackctl.json_text import json_line

_COLUMNS = (Column("NAME"), Column("STATUS"), Column("CONFIG FILES", yields=1))


def ls(
    ctx: typer.Context,
    all: Annotated[bool, typer.Option("-a", "--all", help="Stopped stacks too.")] = False,
    filter: Annotated[
        list[str] | None,
        typer.Option("--filter", metavar="name=TEXT", help="Only names with this in them."),
    ] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only names.")] = False,
    format: Annotated[
        str, typer.Option("--format", metavar="table|json", help="json: an array.")
    ] = "table",
) -> int:
    """List the stacks of this engine."""
    run = invocation(ctx)
    one_of("--format", format, ("table", "json", "pretty"))
    found = rows(run, "ls", {"all": all})
    for text in filter or ():
        key, _, value = text.partition("=")
        if key != "name":
            raise UsageError(f'--filter "{text}" is not supported', hint="--filter name=shop")
        found = [row for row in found if value in str(row.get("Name", ""))]
    if quiet:
        lines = [str(row.get("Name", "")) for row in found]
    elif format == "json":
        lines = [json_line(found)]
    else:
        cells = [[str(row.get(k, "")) for k in ("Name", "Status", "ConfigFiles")] for row in found]
        lines = table(_COLUMNS, cells, run.console.out_width())
    for line in lines:
        run.console.out(line)
    return 0
