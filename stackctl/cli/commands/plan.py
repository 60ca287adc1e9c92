"""stackctl plan."""

from __future__ import annotations

import typer

from stackctl.cli import options
from stackctl.cli.invocation import Invocation, invocation
from stackctl.cli.later import Annotated
from stackctl.cli.output.errors import errors_json
from stackctl.cli.output.plan import plan_json, print_plan
from stackctl.cli.rows import warned
from stackctl.cli.values import one_of, pull_when, scales
from stackctl.errors import StackctlError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

CHANGES = 2


def plan(
    ctx: typer.Context,
    services: options.Services = None,
    direction: Annotated[
        str, typer.Option("--for", metavar="up|down", help="The command to plan.")
    ] = "up",
    scale: options.Scale = None,
    force_recreate: options.ForceRecreate = False,
    no_recreate: options.NoRecreate = False,
    no_deps: options.NoDeps = False,
    always_recreate_deps: options.AlwaysRecreateDeps = False,
    renew_anon_volumes: options.RenewAnonVolumes = False,
    renew_volumes: options.RenewVolumes = False,
    build: Annotated[bool, typer.Option("--build", help="As for up --build.")] = False,
    no_build: Annotated[bool, typer.Option("--no-build", help="As for up --no-build.")] = False,
    no_start: Annotated[bool, typer.Option("--no-start", help="As for up --no-start.")] = False,
    timeout: options.Timeout = None,
    pull: options.Pull = "",
    no_lock: options.NoLock = False,
    wait: Annotated[bool, typer.Option("--wait", help="As for up --wait.")] = False,
    remove_orphans: options.RemoveOrphans = None,
    volumes: Annotated[
        bool, typer.Option("-v", "--volumes", help="With --for down: volumes too.")
    ] = False,
    out: Annotated[
        str, typer.Option("--out", metavar="FILE", help="Write it down for `up --plan FILE`.")
    ] = "",
    steps: Annotated[
        bool, typer.Option("--steps", help="Each step, with those that it waits for.")
    ] = False,
    json: options.Json = False,
) -> int:
    """Print what `up` would do and why, and do nothing.

    Exit code 0: nothing to do; 2: there is something to do; 1: an error, which
    --json prints as JSON, too.
    """
    try:
        return _plan(
            invocation(ctx),
            direction,
            json=json,
            steps=steps,
            out=out,
            services=services or [],
            scale=scale or (),
            force_recreate=force_recreate,
            no_recreate=no_recreate,
            no_deps=no_deps,
            always_recreate_deps=always_recreate_deps,
            renew_anon_volumes=renew_anon_volumes,
            renew_volumes=renew_volumes,
            build=build,
            no_build=no_build,
            no_start=no_start,
            timeout=timeout,
            pull=pull_when(pull),
            no_lock=no_lock,
            wait=wait,
            remove_orphans=remove_orphans,
            volumes=volumes,
        )
    except StackctlError as error:
        if error.exit_code == CHANGES:
            error.exit_code = 1
        elif json:
            # Who asked for JSON reads what is wrong with the stack, too.
            invocation(ctx).console.out(errors_json(error))
            return error.exit_code
        raise


def _plan(
    run: Invocation,
    direction: str,
    *,
    json: bool,
    steps: bool,
    out: str,
    scale: Sequence[str],
    volumes: bool,
    **flags: object,
) -> int:
    one_of("--for", direction, ("up", "down"))
    if volumes and direction == "up":
        raise UsageError("--volumes needs --for down")
    body = run.body(scale=scales(scale), volumes=volumes, **flags)
    if out and direction == "down":
        raise UsageError("--out is for `up`")
    return CHANGES if show_plan(run, direction, body, json=json, steps=steps, out=out) else 0


def show_plan(
    run: Invocation,
    direction: str,
    body: dict[str, object],
    *,
    json: bool = False,
    steps: bool = False,
    out: str = "",
    dry_run: bool = False,
) -> bool:
    """Ask for the plan and print it, in a dry run as if it were carried out; True when it has
    steps."""
    found: dict[str, object] = {}
    for message in run.client.stream("plan", {**body, "for": direction}):
        if not warned(run, message) and message["type"] == "plan":
            found = message
    if out:
        from stackctl.cli.planfile import write_plan

        write_plan(out, found, body)
    if (dry_run or run.dry_run) and run.progress == "json":
        from stackctl.cli.output.json_lines import rehearsed

        rehearsed(run.console, found)
    elif json:
        run.console.out(plan_json(found))
    else:
        print_plan(run.console, found, steps=steps)
    return bool(found.get("steps"))
