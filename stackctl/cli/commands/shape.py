"""stackctl create, scale: how many containers there are, without following them."""

from __future__ import annotations

from typing import Annotated

import typer

from stackctl.cli import options
from stackctl.cli.commands.up import bring_up
from stackctl.cli.invocation import invocation
from stackctl.cli.values import pull_when, scales
from stackctl.errors import UsageError


def create(
    ctx: typer.Context,
    services: options.Services = None,
    build: Annotated[
        bool, typer.Option("--build", help="Build images even when they are there.")
    ] = False,
    force_recreate: options.ForceRecreate = False,
    no_recreate: options.NoRecreate = False,
    pull: options.Pull = "",
    quiet_pull: options.QuietPull = False,
    no_build: Annotated[
        bool, typer.Option("--no-build", help="Build nothing, even when an image is missing.")
    ] = False,
    no_lock: options.NoLock = False,
    remove_orphans: options.RemoveOrphans = None,
    scale: options.Scale = None,
    renew_volumes: options.RenewVolumes = False,
) -> int:
    """Create the containers of services and start none."""
    if force_recreate and no_recreate:
        raise UsageError("--force-recreate and --no-recreate do not go together")
    if build and no_build:
        raise UsageError("--build and --no-build do not go together")
    run = invocation(ctx)
    body = run.body(
        services=services or [],
        detach=True,
        no_start=True,
        build=build,
        force_recreate=force_recreate,
        no_recreate=no_recreate,
        no_build=no_build,
        pull=pull_when(pull),
        quiet_pull=quiet_pull,
        no_lock=no_lock,
        remove_orphans=remove_orphans,
        renew_volumes=renew_volumes,
        scale=scales(scale or ()),
    )
    return bring_up(run, body, quiet_summary=True)


def scale(
    ctx: typer.Context,
    counts: Annotated[
        list[str],
        typer.Argument(metavar="SERVICE=N...", help="How many containers each has."),
    ],
    no_deps: options.NoDeps = False,
) -> int:
    """Have so many containers of services."""
    run = invocation(ctx)
    wanted = scales(counts)
    body = run.body(
        services=list(wanted), scale=wanted, detach=True, no_recreate=True, no_deps=no_deps
    )
    return bring_up(run, body, quiet_summary=False)
