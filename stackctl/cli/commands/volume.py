"""stackctl volume ls, create, inspect, rm, prune."""

from __future__ import annotations

from typing import Annotated

import typer

from stackctl.cli import options
from stackctl.cli.commands.container.life import confirm
from stackctl.cli.commands.container.show import inspect_all
from stackctl.cli.invocation import invocation
from stackctl.cli.outcomes import act, filters, outcomes
from stackctl.cli.output.format import OF_CLUSTERS, print_rows, size_text
from stackctl.cli.output.table import Column
from stackctl.cli.rows import rows
from stackctl.errors import UsageError

_COLUMNS = ((Column("DRIVER"), "Driver"), (Column("VOLUME NAME"), "Name"))


def ls(
    ctx: typer.Context,
    filter: options.RowsFilter = None,
    format: options.RowsFormat = "",
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Names only.")] = False,
) -> int:
    """List volumes."""
    run = invocation(ctx)
    listed = rows(run, "volume-ls", {"filters": filters(filter)})
    found = [
        {
            "Driver": row["Driver"],
            "Labels": ",".join(f"{k}={v}" for k, v in row["Labels"].items()),
            "Mountpoint": row["Mountpoint"],
            "Name": row["Name"],
            "Scope": row["Scope"],
            **OF_CLUSTERS,
        }
        for row in listed
    ]
    if quiet and not format:
        for row in found:
            run.console.out(row["Name"])
        return 0
    labels = [row["Labels"] for row in listed]
    print_rows(run.console, found, _COLUMNS, format, labels=labels)
    return 0


def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="[VOLUME]", help="Its name.")] = "",
    driver: Annotated[
        str, typer.Option("-d", "--driver", metavar="NAME", help="Only local.")
    ] = "local",
    options: Annotated[
        list[str] | None, typer.Option("-o", "--opt", metavar="KEY=VAL", help="For the driver.")
    ] = None,
    labels: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY[=VAL]", help="Add a label.")
    ] = None,
) -> int:
    """Make a volume, unless it is there, and print its name."""
    run = invocation(ctx)
    body = {
        "name": name,
        "driver": driver,
        "options": dict(text.partition("=")[::2] for text in options or ()),
        "labels": dict(text.partition("=")[::2] for text in labels or ()),
    }
    run.console.out(str(run.client.call("volume-create", body)["Name"]))
    return 0


def inspect(
    ctx: typer.Context,
    volumes: options.VolumeNames,
    format: options.InspectFormat = "",
) -> int:
    """Print all that is known of volumes."""
    return inspect_all(invocation(ctx), "volume-inspect", {"volumes": volumes}, format)


def rm(
    ctx: typer.Context,
    volumes: options.VolumeNames,
    force: Annotated[
        bool, typer.Option("-f", "--force", help="One that is not there is no error.")
    ] = False,
) -> int:
    """Remove volumes that no container uses."""
    return act(invocation(ctx), "volume-rm", {"volumes": volumes, "force": force})


def prune(
    ctx: typer.Context,
    all: Annotated[bool, typer.Option("-a", "--all", help="Named ones as well.")] = False,
    force: Annotated[bool, typer.Option("-f", "--force", help="Do not ask.")] = False,
    filter: options.PruneFilter = None,
) -> int:
    """Remove anonymous volumes that no container uses."""
    run = invocation(ctx)
    chosen = filters(filter)
    if all and "all" in chosen:
        raise UsageError("--all and --filter all= say the same")
    if all:
        chosen["all"] = ["true"]
    which = "all" if all else "anonymous"
    confirm(force, f"this removes {which} volumes that no container uses")
    removed = []
    for message in outcomes(run, "volume-prune", {"filters": chosen}):
        if message["type"] == "row":
            removed.append(str(message["Name"]))
            continue
        if removed:
            run.console.out("Deleted Volumes:")
            for name in removed:
                run.console.out(name)
            run.console.out()
        freed = size_text(message.get("SpaceReclaimed") or 0)
        run.console.out(f"Total reclaimed space: {freed}")
    return 0
