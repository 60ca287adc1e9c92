"""stackctl system events, df, prune, and builder prune (info is stackctl.cli.commands.about's)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from stackctl.cli import options
from stackctl.cli.commands.container.life import confirm
from stackctl.cli.invocation import Invocation, invocation
from stackctl.cli.outcomes import filters, outcomes
from stackctl.cli.output.format import ago, print_rows, size_text
from stackctl.cli.output.table import Column
from stackctl.cli.values import moment
from stackctl.errors import UsageError
from stackctl.json_text import json_line


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
        return lambda event: json_line(_shape(event))
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
    volumes = [v for v in found["Volumes"] if v["Links"]]
    images = [i for i in found["Images"] if i["Containers"]]
    # What images have as well is counted there, and goes with them only.
    cached = [c for c in found["BuildCache"] if not c["shared"]]
    rows = [
        _row("Images", found["Images"], images, found["LayersSize"], found["LayersReclaimable"]),
        _row("Containers", found["Containers"], running, *_sizes("SizeRw", found, running)),
        _row("Local Volumes", found["Volumes"], volumes, *_sizes("Size", found, volumes)),
        _row("Build Cache", found["BuildCache"], [], *[sum(c["size"] for c in cached)] * 2),
    ]
    print_rows(run.console, rows, _DF, format)
    return 0


def _sizes(field: str, found: Mapping[str, Any], active: Sequence[Any]) -> tuple[int, int]:
    """Bytes of all, and of those that are not active."""
    every = found["Containers" if field == "SizeRw" else "Volumes"]
    total, kept = (sum(int(thing[field] or 0) for thing in part) for part in (every, active))
    return total, total - kept


def _row(
    name: str, every: Sequence[Any], active: Sequence[Any], total: int, reclaimable: int
) -> dict[str, str]:
    share = f" ({reclaimable * 100 // total}%)" if total else ""
    return {
        "Type": name,
        "TotalCount": str(len(every)),
        "Active": str(len(active)),
        "Size": size_text(total),
        "Reclaimable": size_text(reclaimable) + share,
    }


def _each(run: Invocation, found: Mapping[str, Any]) -> None:
    console = run.console
    images = [
        {
            "R": ", ".join(i["Names"]) or "<none>",
            "ID": i["ID"][7:19],
            "C": ago(i["Created"]),
            "S": size_text(i["Size"]),
            "H": size_text(i["Size"] - i["UniqueSize"]),
            "U": size_text(i["UniqueSize"]),
            "N": str(i["Containers"]),
        }
        for i in found["Images"]
    ]
    console.out("Images space usage:\n")
    print_rows(
        console,
        images,
        (
            (Column("REFERENCE"), "R"),
            (Column("IMAGE ID"), "ID"),
            (Column("CREATED"), "C"),
            (Column("SIZE"), "S"),
            (Column("SHARED SIZE"), "H"),
            (Column("UNIQUE SIZE"), "U"),
            (Column("CONTAINERS"), "N"),
        ),
        "",
    )
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
    cached = [
        {
            "ID": c["id"][:12],
            "T": c["kind"],
            "S": size_text(c["size"]),
            "C": ago(c["created"]),
            "U": ago(c["used"]),
            "H": str(c["shared"]).lower(),
        }
        for c in found["BuildCache"]
    ]
    console.out("\nBuild cache usage:\n")
    print_rows(
        console,
        cached,
        (
            (Column("CACHE ID"), "ID"),
            (Column("CACHE TYPE"), "T"),
            (Column("SIZE"), "S"),
            (Column("CREATED"), "C"),
            (Column("LAST USED"), "U"),
            (Column("SHARED"), "H"),
        ),
        "",
    )


def prune(
    ctx: typer.Context,
    volumes: Annotated[bool, typer.Option("--volumes", help="Anonymous volumes as well.")] = False,
    all: Annotated[bool, typer.Option("-a", "--all", help="All unused images.")] = False,
    force: Annotated[bool, typer.Option("-f", "--force", help="Do not ask.")] = False,
    filter: options.PruneFilter = None,
) -> int:
    """Remove containers that do not run, networks and images that nothing uses, build cache."""
    run = invocation(ctx)
    which = "all images without a container" if all else "images without a name"
    more = ", anonymous volumes" if volumes else ""
    what = f"containers that do not run, unused networks, {which}, build cache{more}"
    confirm(force, f"this removes {what}")
    chosen = filters(filter)
    verbs = [("container-prune", "Containers"), ("system-prune-networks", "Networks")]
    if volumes:
        verbs.append(("volume-prune", "Volumes"))
    freed = sum(_pruned(run, verb, {"filters": chosen, "all": all}, title) for verb, title in verbs)
    until = moment("--filter until=", (chosen.get("until") or [""])[-1]) or 0
    labels = [*chosen.get("label", ()), *(f"!{text}" for text in chosen.get("label!", ()))]
    images = {"all": all, "until": until, "labels": labels}
    freed += _pruned(run, "image-prune", images, "Images")
    if not labels:
        # A step of a build has no labels.
        freed += _pruned(run, "build-prune", {"all": all, "until": until}, "build cache objects")
    run.console.out(f"Total reclaimed space: {size_text(freed)}")
    return 0


def prune_build_cache(
    ctx: typer.Context,
    all: Annotated[
        bool, typer.Option("-a", "--all", help="Also of steps whose layers images have.")
    ] = False,
    force: Annotated[bool, typer.Option("-f", "--force", help="Do not ask.")] = False,
    keep_storage: Annotated[
        str, typer.Option("--keep-storage", metavar="SIZE", help="So much may stay.")
    ] = "",
    filter: Annotated[
        list[str] | None,
        typer.Option("--filter", metavar="until=TIME", help="What was not used since then."),
    ] = None,
) -> int:
    """Remove what builds have left for later ones."""
    from stackctl.cli.building import size

    run = invocation(ctx)
    chosen = filters(filter)
    for name in chosen:
        if name not in ("until", "unused-for"):
            raise UsageError(f"--filter {name} is not supported", hint="until is")
    times = [text for texts in chosen.values() for text in texts]
    body = {
        "all": all,
        "keep": size(keep_storage),
        "until": min((moment("--filter until=", text) or 0 for text in times), default=0),
    }
    confirm(force, f"this removes {'all' if all else 'the'} build cache")
    freed = _pruned(run, "build-prune", body, "build cache objects")
    run.console.out(f"Total reclaimed space: {size_text(freed)}")
    return 0


def _pruned(run: Invocation, verb: str, body: dict[str, Any], title: str) -> int:
    """Bytes that are free now; what has gone is printed below its title."""
    names, freed = [], 0
    for message in outcomes(run, verb, body):
        if message["type"] == "row":
            words = (
                f"{word}: {message[word]}" for word in ("untagged", "deleted") if word in message
            )
            names.append(next(words, "") or str(message["Name"]))
        else:
            freed += int(message.get("SpaceReclaimed") or message.get("reclaimed") or 0)
    if names:
        run.console.out(f"Deleted {title}:")
        for name in names:
            run.console.out(name)
        run.console.out()
    return freed
