"""stackctl up."""

from __future__ import annotations

import time

import typer

from stackctl.cli import options
from stackctl.cli.invocation import Invocation, invocation
from stackctl.cli.later import Annotated
from stackctl.cli.values import pull_when, scales
from stackctl.errors import UsageError


def up(
    ctx: typer.Context,
    services: options.Services = None,
    detach: Annotated[
        bool, typer.Option("-d", "--detach", help="Leave the services running and return.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when all are running or healthy; implies -d.")
    ] = False,
    wait_timeout: options.WaitTimeout = None,
    scale: options.Scale = None,
    force_recreate: options.ForceRecreate = False,
    no_recreate: options.NoRecreate = False,
    no_deps: options.NoDeps = False,
    always_recreate_deps: options.AlwaysRecreateDeps = False,
    no_start: Annotated[
        bool, typer.Option("--no-start", help="Create containers, start none.")
    ] = False,
    build: Annotated[
        bool, typer.Option("--build", help="Build images even when they are there.")
    ] = False,
    pull: options.Pull = "",
    quiet_pull: options.QuietPull = False,
    no_build: Annotated[
        bool, typer.Option("--no-build", help="Build nothing, even when an image is missing.")
    ] = False,
    no_lock: options.NoLock = False,
    remove_orphans: options.RemoveOrphans = None,
    renew_anon_volumes: options.RenewAnonVolumes = False,
    timeout: options.Timeout = None,
    abort_on_container_exit: Annotated[
        bool, typer.Option("--abort-on-container-exit", help="Stop all when one container ends.")
    ] = False,
    abort_on_container_failure: Annotated[
        bool, typer.Option("--abort-on-container-failure", help="Stop all when one fails.")
    ] = False,
    exit_code_from: Annotated[
        str,
        typer.Option(
            "--exit-code-from",
            metavar="SERVICE",
            help="Return this service's exit code; implies --abort-on-container-exit.",
        ),
    ] = "",
    attach: Annotated[
        list[str] | None,
        typer.Option("--attach", metavar="SERVICE", help="Only this one's logs; repeatable."),
    ] = None,
    no_attach: Annotated[
        list[str] | None,
        typer.Option("--no-attach", metavar="SERVICE", help="Not this one's logs; repeatable."),
    ] = None,
    attach_dependencies: Annotated[
        bool,
        typer.Option("--attach-dependencies", help="Logs of what the services depend on, too."),
    ] = False,
    no_log_prefix: options.NoLogPrefix = False,
    no_color: options.NoColor = False,
    timestamps: Annotated[
        bool, typer.Option("--timestamps", help="Print the time before each line.")
    ] = False,
    plan: Annotated[
        str,
        typer.Option(
            "--plan", metavar="FILE", help="Do what `plan --out FILE` wrote, or refuse when stale."
        ),
    ] = "",
    watch: Annotated[
        bool, typer.Option("-w", "--watch", help="Carry changes of sources into the services.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done and do nothing.")
    ] = False,
    quiet_build: options.QuietBuild = False,
    menu: Annotated[bool, typer.Option("--menu", help="There is none.", hidden=True)] = False,
    renew_volumes: options.RenewVolumes = False,
) -> int:
    """Create and start the services, in the order they need.

    Without -d their logs follow; Ctrl-C stops them gracefully, a second Ctrl-C
    kills them.
    """
    aborting = abort_on_container_exit or abort_on_container_failure or bool(exit_code_from)
    detached = detach or wait or no_start
    _check(
        conflicts=(
            (force_recreate and no_recreate, "--force-recreate and --no-recreate"),
            (
                detached and aborting,
                "-d, --wait or --no-start and --abort-on-... or --exit-code-from",
            ),
            (detached and bool(attach), "-d, --wait or --no-start and --attach"),
            (
                abort_on_container_failure and (abort_on_container_exit or bool(exit_code_from)),
                "--abort-on-container-failure and --abort-on-container-exit or --exit-code-from",
            ),
            (
                detached and attach_dependencies,
                "-d, --wait or --no-start and --attach-dependencies",
            ),
            (detached and watch, "-d, --wait or --no-start and --watch"),
            (watch and aborting, "--watch and --abort-on-... or --exit-code-from"),
            (build and no_build, "--build and --no-build"),
            (always_recreate_deps and no_recreate, "--always-recreate-deps and --no-recreate"),
            (bool(attach) and attach_dependencies, "--attach and --attach-dependencies"),
        )
    )
    if menu:
        raise UsageError("there is no menu of keys", hint="--watch does what its key w does")
    run = invocation(ctx)
    dry_run = dry_run or run.dry_run
    planned = None
    if plan:
        from stackctl.cli.planfile import read_plan

        planned = read_plan(plan, run.console)
        changing = (services, scale, pull, force_recreate, no_recreate, no_deps, remove_orphans)
        more = (build, no_build, no_lock, always_recreate_deps, no_start, renew_anon_volumes)
        if any(changing) or any(more):
            raise UsageError("--plan applies a plan as it is: no services, no flags that change it")
        if wait and not planned.request.get("wait"):
            raise UsageError(
                "--wait was not planned", hint="stackctl plan --wait --out FILE plans it"
            )
        if timeout is not None and planned.request.get("timeout", timeout) != timeout:
            raise UsageError("--timeout is not what the plan was made with")
        planned.adopt(run)
        no_start = bool(planned.request.get("no_start"))
        detached = detached or no_start
    body = run.body(
        services=services or [],
        detach=detached,
        attach=not detached and not dry_run,
        wait=wait,
        wait_timeout=wait_timeout,
        scale=scales(scale or ()),
        force_recreate=force_recreate,
        always_recreate_deps=always_recreate_deps,
        attach_dependencies=attach_dependencies,
        no_recreate=no_recreate,
        build=build,
        no_build=no_build,
        pull=pull_when(pull),
        quiet_pull=quiet_pull,
        no_lock=no_lock,
        remove_orphans=remove_orphans,
        no_deps=no_deps,
        no_start=no_start,
        timeout=timeout,
        renew_anon_volumes=renew_anon_volumes,
        renew_volumes=renew_volumes,
        attach_services=attach or [],
        no_attach=no_attach or [],
        exit_code_from=exit_code_from,
        dry_run=dry_run,
        watch=watch,
    )
    if planned is not None:
        planned.complete(body)
    if dry_run:
        from stackctl.cli.commands.plan import show_plan

        show_plan(run, "up", body, dry_run=True)
        return 0
    if detached:
        return bring_up(run, body, quiet_summary=no_start)
    from stackctl.cli.attached import AttachedUp, Attachment

    flags = Attachment(
        abort_on="failure" if abort_on_container_failure else "any" if aborting else "",
        exit_code_from=exit_code_from,
        timeout=timeout,
        prefix=not no_log_prefix,
        colour=not no_color,
        timestamps=timestamps,
        attach=attach or (),
        no_attach=no_attach or (),
    )
    watching = None
    if watch:
        from stackctl.cli.watching import setup

        rules, known = setup.rules(run, services or ())
        watching = setup.watching(known, rules)
    return AttachedUp(run, flags, services or (), watching).run(body)


def _check(conflicts: tuple[tuple[bool, str], ...]) -> None:
    for conflict, text in conflicts:
        if conflict:
            raise UsageError(
                f"{text} do not go together" if " and " in text else f"{text} has no effect"
            )


def bring_up(run: Invocation, body: dict[str, object], *, quiet_summary: bool) -> int:
    """Carry `up` out with its progress and come back; `create` and `scale` are that, too."""
    if run.dry_run:
        from stackctl.cli.commands.plan import show_plan

        show_plan(run, "up", body)
        return 0
    from stackctl.cli.steps import carry_out
    from stackctl.cli.summary import print_summary

    began = time.monotonic()
    result, board = carry_out(run, "up", body, "up")
    if not quiet_summary and run.talks:
        print_summary(run, board, time.monotonic() - began, run.console.for_status().err)
    return int(result.get("exit_code") or 0)
