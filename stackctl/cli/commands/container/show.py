"""stackctl container ls, inspect, logs, top, port, stats."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from stackctl.cli import options
from stackctl.cli.invocation import Invocation, invocation
from stackctl.cli.outcomes import filters, outcomes
from stackctl.cli.output.format import print_inspected, print_rows, size_text
from stackctl.cli.output.table import Column, table
from stackctl.cli.output.text import cut
from stackctl.cli.rows import asks_for_labels, rows
from stackctl.cli.values import moment, tail

_COLUMNS = (
    (Column("CONTAINER ID"), "ID"),
    (Column("IMAGE", yields=2), "Image"),
    (Column("COMMAND", yields=4), "Command"),
    (Column("CREATED", yields=3), "RunningFor"),
    (Column("STATUS"), "Status"),
    (Column("PORTS", yields=1), "Ports"),
    (Column("NAMES"), "Names"),
)
_TITLES = {"Labels": "LABELS", "Mounts": "MOUNTS", "Networks": "NETWORKS", "Size": "SIZE"}


def ls(
    ctx: typer.Context,
    all: Annotated[bool, typer.Option("-a", "--all", help="Also those that do not run.")] = False,
    filter: options.RowsFilter = None,
    format: options.RowsFormat = "",
    last: Annotated[
        int, typer.Option("-n", "--last", metavar="N", help="The last N that were made.")
    ] = 0,
    latest: Annotated[bool, typer.Option("-l", "--latest", help="The last one.")] = False,
    no_trunc: options.NoTrunc = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Ids only.")] = False,
    size: Annotated[bool, typer.Option("-s", "--size", help="What they have written.")] = False,
) -> int:
    """List containers, those of stacks as well."""
    run = invocation(ctx)
    body = {
        "all": all,
        "filters": filters(filter),
        "last": 1 if latest else last,
        "size": size or "Size" in format,
        "labels": asks_for_labels(format),
    }
    listed = rows(run, "container-ls", body)
    found = [_listed(row, full=no_trunc) for row in listed]
    if quiet and not format:
        for row in found:
            run.console.out(row["ID"])
        return 0
    columns = (*_COLUMNS, (Column("SIZE"), "Size")) if size else _COLUMNS
    labels = [row.get("LabelMap", {}) for row in listed]
    print_rows(run.console, found, columns, format, titles=_TITLES, labels=labels)
    return 0


def _listed(row: Mapping[str, Any], *, full: bool) -> dict[str, str]:
    """The texts of docker ps's placeholders."""
    command = str(row["Command"])
    written = row.get("SizeRw")
    mounts = [str(mount) for mount in row["Mounts"]]
    return {
        "Command": f'"{command if full else cut(command, 20)}"',
        "CreatedAt": _date(row["CreatedAt"]),
        "ID": row["ID"] if full else row["ID"][:12],
        "Image": row["Image"],
        "Labels": row["Labels"],
        "LocalVolumes": str(row["LocalVolumes"]),
        "Mounts": ",".join(mounts if full else [cut(mount, 15) for mount in mounts]),
        "Names": row["Names"],
        "Networks": ",".join(row["Networks"]),
        "Ports": row["Ports"],
        "RunningFor": row["RunningFor"],
        "Size": "0B" if written is None else size_text(written),
        "State": row["State"],
        "Status": row["Status"],
    }


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(seconds))


def inspect(
    ctx: typer.Context,
    containers: options.Containers,
    format: options.InspectFormat = "",
    size: Annotated[bool, typer.Option("-s", "--size", help="What they have written.")] = False,
) -> int:
    """Print all that is known of containers."""
    run = invocation(ctx)
    return inspect_all(run, "container-inspect", {"containers": containers, "size": size}, format)


def inspect_all(run: Invocation, verb: str, body: dict[str, Any], format: str) -> int:
    """Print what was found, after the errors about what was not."""
    found, code = [], 0
    for message in outcomes(run, verb, body):
        if message["type"] == "result":
            code = int(message["exit_code"])
        else:
            found.append(message["Inspected"])
    print_inspected(run.console, found, format)
    return code


def logs(
    ctx: typer.Context,
    container: options.Container,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as lines come.")] = False,
    lines: Annotated[
        str, typer.Option("-n", "--tail", metavar="N", help="Lines from the end.")
    ] = "all",
    timestamps: Annotated[
        bool, typer.Option("-t", "--timestamps", help="Print the time before each line.")
    ] = False,
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="Only after this.")] = "",
    until: Annotated[str, typer.Option("--until", metavar="TIME", help="Only before this.")] = "",
    details: Annotated[bool, typer.Option("--details", hidden=True, help="Nothing more.")] = False,
) -> int:
    """Print what a container has said, each stream to its own."""
    run = invocation(ctx)
    body = {
        "container": container,
        "follow": follow,
        "tail": tail(lines),
        "since": moment("--since", since),
        "until": moment("--until", until),
    }
    console = run.console
    for message in run.client.stream("container-logs", body):
        if message["type"] != "log":
            continue
        stamp = f"{message['time']} " if timestamps else ""
        is_error = message["stream"] == "stderr"
        if is_error:
            console.flush()
        stream = console.stderr if is_error else console.stdout
        stream.write(f"{stamp}{message['line']}" + ("" if message.get("partial") else "\n"))
        if follow or is_error:
            stream.flush()
    return 0


def top(
    ctx: typer.Context,
    container: options.Container,
    options: Annotated[
        list[str] | None, typer.Argument(metavar="[PS OPTIONS]", help="What to show (-ef).")
    ] = None,
) -> int:
    """Print the processes of a container."""
    run = invocation(ctx)
    asked = [] if options in (["-ef"], ["ef"]) else options or []
    found = rows(run, "container-top", {"container": container, "options": asked})
    names: list[str] = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    if asked:
        names, *cells = [row["Cells"] for row in found]
    else:
        cells = [[str(row[name]) for name in names] for row in found]
    for line in table([Column(name) for name in names], cells):
        run.console.out(line)
    return 0


def port(
    ctx: typer.Context,
    container: options.Container,
    private: Annotated[
        str, typer.Argument(metavar="[PORT[/PROTOCOL]]", help="Only this one.", show_default=False)
    ] = "",
) -> int:
    """Print where a container's ports are published."""
    run = invocation(ctx)
    for row in rows(run, "container-port", {"container": container, "port": private}):
        prefix = "" if private else f"{row['ContainerPort']} -> "
        run.console.out(f"{prefix}{row['Address']}")
    return 0


# -- stats

_STATS = (
    (Column("CONTAINER ID"), "ID"),
    (Column("NAME"), "Name"),
    (Column("CPU %"), "CPUPerc"),
    (Column("MEM USAGE / LIMIT"), "MemUsage"),
    (Column("MEM %"), "MemPerc"),
    (Column("NET I/O", yields=2), "NetIO"),
    (Column("BLOCK I/O", yields=1), "BlockIO"),
    (Column("PIDS"), "PIDs"),
)


def stats(
    ctx: typer.Context,
    containers: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CONTAINER...]", help="All that run if none is named."),
    ] = None,
    all: Annotated[bool, typer.Option("-a", "--all", help="Also those that do not run.")] = False,
    format: options.RowsFormat = "",
    no_stream: Annotated[bool, typer.Option("--no-stream", help="Print once and end.")] = False,
    no_trunc: options.NoTrunc = False,
) -> int:
    """Show what containers use, once a second."""
    run = invocation(ctx)
    console = run.console
    body = {"containers": containers or [], "all": all, "stream": not no_stream}
    found: list[dict[str, str]] = []
    live = console.out_is_terminal and not no_stream and not format
    for message in run.client.stream("container-stats", body):
        if message["type"] == "row":
            found.append(_used(message, full=no_trunc))
        elif message["type"] == "round":
            # One look alone has no share of CPU time: it is not worth showing.
            if message["Round"] > 1:
                if live:
                    console.stdout.write("\x1b[H\x1b[J")
                print_rows(console, found, _STATS, format)
                console.flush()
            found = []
    return 0


def _used(row: Mapping[str, Any], *, full: bool) -> dict[str, str]:
    """docker stats's placeholders; `--` for what is not known."""
    memory, limit = row.get("Memory"), row.get("MemoryLimit")
    container = row["ID"] if full else row["ID"][:12]
    return {
        "BlockIO": _both(row.get("Read"), row.get("Written")),
        "CPUPerc": "--" if row.get("Cpu") is None else f"{row['Cpu']:.2f}%",
        "Container": container,
        "ID": container,
        "MemPerc": f"{memory / limit * 100:.2f}%" if memory is not None and limit else "--",
        "MemUsage": _both(memory, limit, binary=True),
        "Name": row["Name"],
        "NetIO": _both(row.get("Received"), row.get("Sent")),
        "PIDs": "--" if row.get("Pids") is None else str(row["Pids"]),
    }


def _both(one: int | None, other: int | None, *, binary: bool = False) -> str:
    texts = ["--" if n is None else size_text(n, binary=binary) for n in (one, other)]
    return " / ".join(texts)
