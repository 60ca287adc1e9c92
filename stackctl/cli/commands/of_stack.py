"""attach, commit, export, stats, volumes: docker's commands, with a stack's services for names."""

from __future__ import annotations

from typing import Annotated

import typer

from stackctl.cli import options
from stackctl.cli.commands.container import became
from stackctl.cli.commands.cp import containers_of
from stackctl.cli.invocation import Invocation, invocation
from stackctl.cli.outcomes import filters
from stackctl.cli.output.format import OF_CLUSTERS, print_rows
from stackctl.cli.output.table import Column
from stackctl.cli.rows import rows
from stackctl.errors import NotFound

_PROJECT = "com.docker.compose.project"
_VOLUME = "com.docker.compose.volume"
#: What docker says of volumes of a cluster only; programs expect the keys.
_VOLUMES = ((Column("DRIVER"), "Driver"), (Column("VOLUME NAME"), "Name"))


def attach(
    ctx: typer.Context,
    service: options.Service,
    index: options.Index = 0,
    no_stdin: Annotated[bool, typer.Option("--no-stdin", help="Do not pass our input on.")] = False,
    sig_proxy: Annotated[
        bool, typer.Option("--sig-proxy/--no-sig-proxy", help="Pass signals on.")
    ] = True,
    keys: Annotated[
        str, typer.Option("--detach-keys", metavar="KEYS", help="What leaves it running.")
    ] = "ctrl-p,ctrl-q",
) -> int:
    """Connect to the input and output of a service's container."""
    from stackctl.cli.commands.container.inside import attach as attach_to

    return attach_to(ctx, _container(invocation(ctx), service, index), no_stdin, sig_proxy, keys)


def commit(
    ctx: typer.Context,
    service: options.Service,
    name: options.CommitName = "",
    author: options.Author = "",
    message: options.CommitMessage = "",
    change: options.Changes = None,
    pause: options.CommitPause = True,
    index: options.Index = 0,
) -> int:
    """Make an image of what a service's container changed, and print its id."""
    container = containers_of(invocation(ctx), service, index)[0]
    return became.commit(ctx, container, name, author, message, change, pause)


def export(
    ctx: typer.Context,
    service: options.Service,
    output: options.ExportOutput = "",
    index: options.Index = 0,
) -> int:
    """Write the files of a service's container as a tar, without those of volumes."""
    container = containers_of(invocation(ctx), service, index)[0]
    return became.export(ctx, container, output)


def stats(
    ctx: typer.Context,
    services: options.Services = None,
    all: Annotated[bool, typer.Option("-a", "--all", help="Also those that do not run.")] = False,
    format: Annotated[
        str, typer.Option("--format", metavar="table|json|TEMPLATE", help="How to print it.")
    ] = "",
    no_stream: Annotated[bool, typer.Option("--no-stream", help="Print once and end.")] = False,
    no_trunc: Annotated[bool, typer.Option("--no-trunc", help="Whole ids.")] = False,
) -> int:
    """Show what the containers of services use, once a second."""
    from stackctl.cli.commands.container.show import stats as show_stats

    run = invocation(ctx)
    found = rows(run, "ps", run.body(services=services or [], all=all))
    ids = [str(row["FullID"]) for row in found]
    return show_stats(ctx, ids, all, format, no_stream, no_trunc) if ids else 0


def volumes(
    ctx: typer.Context,
    services: options.Services = None,
    format: Annotated[
        str, typer.Option("--format", metavar="table|json|TEMPLATE", help="How to print it.")
    ] = "",
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Names only.")] = False,
) -> int:
    """List the volumes of the stack."""
    run = invocation(ctx)
    project = _project(run)
    used = _used_volumes(run, services or [])
    listed = [
        row
        for row in rows(run, "volume-ls", {"filters": filters([f"label={_PROJECT}={project}"])})
        if used is None or row["Labels"].get(_VOLUME) in used
    ]
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
    if quiet:
        for row in found:
            run.console.out(str(row["Name"]))
    else:
        labels = [row["Labels"] for row in listed]
        print_rows(run.console, found, _VOLUMES, format, labels=labels)
    return 0


def _container(run: Invocation, service: str, index: int) -> str:
    found = [
        row
        for row in rows(run, "ps", run.body(services=[service]))
        if not index or str(row["Name"]).endswith(f"-{index}")
    ]
    if not found:
        raise NotFound(f'service "{service}" is not running', hint="start it: stackctl up -d")
    return str(found[0]["FullID"])


def _project(run: Invocation) -> str:
    for message in run.client.stream("config", run.body()):
        if message["type"] == "result":
            return str(message.get("name", ""))
    return ""


def _used_volumes(run: Invocation, services: list[str]) -> set[str] | None:
    """Keys of the volumes that services mount; None: no service was named."""
    if not services:
        return None
    import json

    found: set[str] = set()
    for message in run.client.stream("config", run.body(format="json", services=services)):
        if message["type"] == "result":
            data = json.loads(str(message["text"]))
            for name in services:
                mounts = data["services"].get(name, {}).get("volumes", [])
                found |= {m["source"] for m in mounts if m["type"] == "volume" and "source" in m}
    return found
