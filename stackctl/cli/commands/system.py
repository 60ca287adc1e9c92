"""stackctl system events, df, prune (info is stackctl.cli.commands.about's)."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from stackctl.cli import options
from stackctl.cli.commands.container.life import confirm
from stackctl.cli.invocation import Invocation, invocation
from stackctl.cli.outcomes import filters, outcomes
from stackctl.cli.output.format import print_rows, size_text
from stackctl.cli.output.table import Column
from stackctl.cli.values import moment


def events(
    ctx: typer.Context,
    filter: options.RowsFilter = None,
    format: options.RowsFormat = "",
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="Also since then.")] = "",
    until: Annotated[str, typer.Option("--until", metavar="TIME", help="Only until then.")] = "",
) -> int:
    """Print what happens in the engine, as it happens."""
    run = invocation(ctx)
    body = {
        "filters": filters(filter),
        "since": moment("--since", since),
        "until": moment("--until", until),
    }
    render = _renderer(format)
    for message in run.client.stream("system-events", body):
        if message["type"] == "event":
            run.console.out(render(message))
            run.console.flush()
    return 0


def _renderer(format: str) -> Any:
    if not format:
        return _line
    if format == "json":
        return lambda event: json.dumps(_shape(event))
    from stackctl.cli.output.template import Template

    template = Template(format)
    return lambda event: template.render(_shape(event))


def _line(event: Mapping[str, Any]) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(event["time"]))
    zone = time.strftime("%z", time.localtime(event["time"]))
    attributes = ", ".join(f"{k}={v}" for k, v in sorted(event["attributes"].items()))
    stamp = f"{whole}.{int(event['time'] % 1 * 1e9):09d}{zone[:3]}:{zone[3:]}"
    return f"{stamp} {event['kind']} {event['action']} {event['id']} ({attributes})"


def _shape(event: Mapping[str, Any]) -> dict[str, Any]:
    """Docker's object, its old fields and its new ones."""
    return {
        "status": event["action"],
        "id": event["id"],
        "from": event["attributes"].get("image", ""),
        "Type": event["kind"],
        "Action": event["action"],
        "Actor": {"ID": event["id"], "Attributes": event["attributes"]},
        "scope": "local",
        "time": int(event["time"]),
        "timeNano": int(event["time"] * 1e9),
    }


_DF = (
    (Column("TYPE"), "Type"),
    (Column("TOTAL"), "TotalCount"),
    (Column("ACTIVE"), "Active"),
    (Column("SIZE"), "Size"),
    (Column("RECLAIMABLE"), "Reclaimable"),
)


def df(
    ctx: typer.Context,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Each of them.")] = False,
    format: options.RowsFormat = "",
) -> int:
    """Print what images, containers and volumes take on the disk."""
    run = invocation(ctx)
    found = run.client.call("system-df", {})
    if verbose:
        _each(run, found)
        return 0
    running = [c for c in found["Containers"] if c["State"] in ("running", "paused")]
    used = [v for v in found["Volumes"] if v["Links"]]
    rows = [
        _row("Images", found["Images"], found["Images"], "Size"),
        _row("Containers", found["Containers"], running, "SizeRw"),
        _row("Local Volumes", found["Volumes"], used, "Size"),
    ]
    print_rows(run.console, rows, _DF, format)
    return 0


def _row(
    name: str, all: Sequence[dict[str, Any]], active: Sequence[dict[str, Any]], field: str
) -> dict[str, str]:
    total, kept = (sum(int(thing[field] or 0) for thing in part) for part in (all, active))
    share = f" ({(total - kept) * 100 // total}%)" if total else ""
    return {
        "Type": name,
        "TotalCount": str(len(all)),
        "Active": str(len(active)),
        "Size": size_text(total),
        "Reclaimable": size_text(total - kept) + share,
    }


def _each(run: Invocation, found: Mapping[str, Any]) -> None:
    console = run.console
    images = [
        {"ID": i["ID"][7:19], "R": i["Reference"], "S": size_text(i["Size"])}
        for i in found["Images"]
    ]
    console.out("Images space usage:\n")
    heads = ((Column("IMAGE ID"), "ID"), (Column("REFERENCE"), "R"), (Column("SIZE"), "S"))
    print_rows(console, images, heads, "")
    containers = [
        {
            "ID": c["ID"][:12],
            "N": c["Name"],
            "I": c["Image"],
            "S": size_text(c["SizeRw"]),
            "T": c["Status"],
        }
        for c in found["Containers"]
    ]
    console.out("\nContainers space usage:\n")
    print_rows(
        console,
        containers,
        (
            (Column("CONTAINER ID"), "ID"),
            (Column("IMAGE"), "I"),
            (Column("SIZE"), "S"),
            (Column("STATUS"), "T"),
            (Column("NAMES"), "N"),
        ),
        "",
    )
    volumes = [
        {"N": v["Name"], "L": str(v["Links"]), "S": size_text(v["Size"])} for v in found["Volumes"]
    ]
    console.out("\nLocal Volumes space usage:\n")
    heads = ((Column("VOLUME NAME"), "N"), (Column("LINKS"), "L"), (Column("SIZE"), "S"))
    print_rows(console, volumes, heads, "")


def prune(
    ctx: typer.Context,
    volumes: Annotated[bool, typer.Option("--volumes", help="Anonymous volumes as well.")] = False,
    all: Annotated[bool, typer.Option("-a", "--all", help="All unused images.")] = False,
    force: Annotated[bool, typer.Option("-f", "--force", help="Do not ask.")] = False,
    filter: options.PruneFilter = None,
) -> int:
    """Remove containers that do not run, networks and images that nothing uses."""
    run = invocation(ctx)
    more = " and anonymous volumes" if volumes else ""
    confirm(force, f"this removes all containers that do not run, unused networks{more}")
    chosen, freed = filters(filter), 0
    verbs = [("container-prune", "Containers"), ("system-prune-networks", "Networks")]
    if volumes:
        verbs.append(("volume-prune", "Volumes"))
    for verb, title in verbs:
        names = []
        for message in outcomes(run, verb, {"filters": chosen, "all": all}):
            if message["type"] == "row":
                names.append(str(message["Name"]))
            else:
                freed += int(message.get("SpaceReclaimed") or 0)
        if names:
            run.console.out(f"Deleted {title}:")
            for name in names:
                run.console.out(name)
            run.console.out()
    run.console.out(f"Total reclaimed space: {size_text(freed)}")
    return 0
