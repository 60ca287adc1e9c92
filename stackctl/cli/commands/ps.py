"""stackctl ps."""

from __future__ import annotations

import typer

from stackctl.cli import options
from stackctl.cli.invocation import Invocation, invocation
from stackctl.cli.later import Annotated
from stackctl.cli.output.containers import container_table, full_id, json_row
from stackctl.cli.rows import asks_for_labels, rows
from stackctl.cli.values import one_of
from stackctl.errors import UsageError
from stackctl.json_text import json_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_STATES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")


def ps(
    ctx: typer.Context,
    services: options.Services = None,
    all: Annotated[bool, typer.Option("-a", "--all", help="Stopped containers too.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only ids.")] = False,
    only_services: Annotated[bool, typer.Option("--services", help="Only service names.")] = False,
    status: Annotated[
        list[str] | None,
        typer.Option("--status", metavar="STATE", help="Only this state; repeatable."),
    ] = None,
    filter: Annotated[
        list[str] | None, typer.Option("--filter", metavar="status=STATE", help="As --status.")
    ] = None,
    format: Annotated[
        str,
        typer.Option("--format", metavar="FORMAT", help="table, json, or a template: {{.Name}}."),
    ] = "table",
    orphans: Annotated[
        bool,
        typer.Option(
            "--orphans/--no-orphans", help="Also of services that the file does not have."
        ),
    ] = True,
    no_trunc: Annotated[bool, typer.Option("--no-trunc", help="Cut nothing.")] = False,
) -> int:
    """List the stack's containers."""
    run = invocation(ctx)
    if "{{" not in format:
        one_of("--format", format, ("table", "json", "pretty"))
    states = _states(status or (), filter or ())
    wish = {
        "services": services or [],
        "all": all or bool(states),
        "size": ".Size" in format,
        "labels": asks_for_labels(format),
    }
    found = rows(run, "ps", run.body(**wish))
    if not orphans:
        known = _known(run)
        found = [row for row in found if row.get("Service") in known]
    if states:
        found = [row for row in found if row.get("State") in states]
    if "{{" in format and not quiet and not only_services:
        from stackctl.cli.output.format import print_rows

        listed = [json_row(row, full=no_trunc) for row in found]
        labels = [row.get("LabelMap", {}) for row in found]
        print_rows(run.console, listed, (), format, labels=labels)
        return 0
    for line in _lines(run.console.out_width(), found, quiet, only_services, format, no_trunc):
        run.console.out(line)
    return 0


def _known(run: Invocation) -> set[str]:
    """The services of the file, those of other profiles too."""
    body = run.body()
    body["project"]["profiles"] = ["*"]
    for message in run.client.stream("config", body):
        if message["type"] == "result":
            return set(message.get("services") or ())
    return set()


def _states(status: list[str] | tuple[str, ...], filters: list[str] | tuple[str, ...]) -> set[str]:
    states = list(status)
    for text in filters:
        key, _, value = text.partition("=")
        if key != "status":
            raise UsageError(f'--filter "{text}" is not supported', hint="--filter status=running")
        states.append(value)
    return {one_of("--status", state, _STATES) for state in states}


def _lines(
    width: int | None,
    found: list[dict[str, Any]],
    quiet: bool,
    only_services: bool,
    format: str,
    no_trunc: bool,
) -> list[str]:
    if quiet:
        return [full_id(row) for row in found]
    if only_services:
        return sorted({str(row.get("Service", "")) for row in found})
    if format == "json":
        return [json_line(json_row(row, full=no_trunc)) for row in found]
    return container_table(found, None if no_trunc else width, full_command=no_trunc)
