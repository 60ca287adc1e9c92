"""The life of single containers: start, stop, kill, rm, wait, update, prune and others."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from stackctl.cli import options
from stackctl.cli.commands.container.make import follow
from stackctl.cli.commands.container.wish import limits, restart_policy
from stackctl.cli.invocation import invocation
from stackctl.cli.outcomes import act, filters, outcomes
from stackctl.cli.output.format import size_text
from stackctl.cli.session import DETACH_KEYS, detach_keys, standard_streams
from stackctl.errors import Conflict, UsageError


def start(
    ctx: typer.Context,
    containers: options.Containers,
    attach: Annotated[
        bool, typer.Option("-a", "--attach", help="Show its output and pass signals on.")
    ] = False,
    interactive: Annotated[
        bool, typer.Option("-i", "--interactive", help="Pass our input on.")
    ] = False,
    keys: Annotated[
        str, typer.Option("--detach-keys", metavar="KEYS", help="What detaches from it.")
    ] = DETACH_KEYS,
) -> int:
    """Start containers that were made or have ended."""
    run = invocation(ctx)
    if not (attach or interactive):
        return act(run, "container-start", {"containers": containers})
    if len(containers) > 1:
        raise UsageError("only one container can be attached to")
    typed = detach_keys(keys)
    standard = standard_streams()
    width, height = standard.size()
    session = run.client.open_session(
        "container-start",
        {
            "container": containers[0],
            "exit_frame": True,
            "stdin": interactive,
            "width": width,
            "height": height,
        },
    )
    return follow(run, session, standard, stdin=interactive, keys=typed)


def stop(
    ctx: typer.Context,
    containers: options.Containers,
    timeout: options.Grace = None,
    signal: options.Signal = "",
) -> int:
    """Stop running containers: a signal, and after the grace period a kill."""
    body = {"containers": containers, "timeout": timeout, "signal": signal}
    return act(invocation(ctx), "container-stop", body)


def restart(
    ctx: typer.Context,
    containers: options.Containers,
    timeout: options.Grace = None,
    signal: options.Signal = "",
) -> int:
    """Stop containers and start them again."""
    body = {"containers": containers, "timeout": timeout, "signal": signal}
    return act(invocation(ctx), "container-restart", body)


def kill(
    ctx: typer.Context, containers: options.Containers, signal: options.Signal = "SIGKILL"
) -> int:
    """Send a signal to the process of running containers."""
    return act(
        invocation(ctx), "container-kill", {"containers": containers, "signal": signal or "SIGKILL"}
    )


def rm(
    ctx: typer.Context,
    containers: options.Containers,
    force: Annotated[bool, typer.Option("-f", "--force", help="Kill those that run.")] = False,
    volumes: Annotated[
        bool, typer.Option("-v", "--volumes", help="With their anonymous volumes.")
    ] = False,
) -> int:
    """Remove containers."""
    body = {"containers": containers, "force": force, "volumes": volumes}
    return act(invocation(ctx), "container-rm", body)


def pause(ctx: typer.Context, containers: options.Containers) -> int:
    """Freeze all processes of containers."""
    return act(invocation(ctx), "container-pause", {"containers": containers})


def unpause(ctx: typer.Context, containers: options.Containers) -> int:
    """Let paused containers go on."""
    return act(invocation(ctx), "container-unpause", {"containers": containers})


def wait(ctx: typer.Context, containers: options.Containers) -> int:
    """Wait until containers have ended, and print their exit codes."""

    def shown(row: dict[str, object]) -> str:
        # An honest "unknown" when the engine could not see the end.
        return "unknown" if row["ExitCode"] is None else str(row["ExitCode"])

    return act(invocation(ctx), "container-wait", {"containers": containers}, shown)


def rename(
    ctx: typer.Context,
    container: options.Container,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new name.")],
) -> int:
    """Give a container another name."""
    invocation(ctx).client.call("container-rename", {"container": container, "name": name})
    return 0


def update(
    ctx: typer.Context,
    containers: options.Containers,
    memory: Annotated[
        str | None, typer.Option("-m", "--memory", metavar="SIZE", help="Memory limit.")
    ] = None,
    memory_reservation: Annotated[
        str | None, typer.Option("--memory-reservation", metavar="SIZE", help="Soft limit.")
    ] = None,
    memory_swap: Annotated[
        str | None, typer.Option("--memory-swap", metavar="SIZE", help="Memory and swap.")
    ] = None,
    cpus: Annotated[
        str | None, typer.Option("--cpus", metavar="NUMBER", help="Number of CPUs.")
    ] = None,
    cpu_shares: Annotated[
        int | None, typer.Option("-c", "--cpu-shares", metavar="N", help="Relative weight.")
    ] = None,
    cpu_period: Annotated[
        int | None, typer.Option("--cpu-period", metavar="N", help="Microseconds.")
    ] = None,
    cpu_quota: Annotated[
        int | None, typer.Option("--cpu-quota", metavar="N", help="Microseconds of a period.")
    ] = None,
    cpuset_cpus: Annotated[
        str | None, typer.Option("--cpuset-cpus", metavar="LIST", help="CPUs, such as 0-2.")
    ] = None,
    cpuset_mems: Annotated[
        str | None, typer.Option("--cpuset-mems", metavar="LIST", help="Memory nodes.")
    ] = None,
    pids_limit: Annotated[
        int | None, typer.Option("--pids-limit", metavar="N", help="Number of processes.")
    ] = None,
    blkio_weight: Annotated[
        int | None, typer.Option("--blkio-weight", metavar="N", help="10 to 1000.")
    ] = None,
    restart: Annotated[
        str | None, typer.Option("--restart", metavar="POLICY", help="When it comes back.")
    ] = None,
) -> int:
    """Change limits and restart policy, also of containers that run."""
    flags = {
        "memory": memory,
        "memory_reservation": memory_reservation,
        "memory_swap": memory_swap,
        "cpus": cpus,
        "cpu_shares": cpu_shares,
        "cpu_period": cpu_period,
        "cpu_quota": cpu_quota,
        "cpuset_cpus": cpuset_cpus,
        "cpuset_mems": cpuset_mems,
        "pids_limit": pids_limit,
        "blkio_weight": blkio_weight,
    }
    host = {key: value for key, value in limits(flags).items() if value is not None}
    if restart is not None:
        host["RestartPolicy"] = restart_policy(restart)
    if not host:
        raise UsageError("say what is to be changed", hint="--memory, --cpus, --restart, ...")
    return act(invocation(ctx), "container-update", {"containers": containers, "host": host})


def prune(
    ctx: typer.Context,
    force: Annotated[bool, typer.Option("-f", "--force", help="Do not ask.")] = False,
    filter: options.PruneFilter = None,
) -> int:
    """Remove all containers that do not run."""
    run = invocation(ctx)
    confirm(force, "this removes all containers that do not run")
    removed = []
    for message in outcomes(run, "container-prune", {"filters": filters(filter)}):
        if message["type"] == "row":
            removed.append(str(message["Name"]))
            continue
        if removed:
            run.console.out("Deleted Containers:")
            for name in removed:
                run.console.out(name)
            run.console.out()
        freed = size_text(message.get("SpaceReclaimed") or 0)
        run.console.out(f"Total reclaimed space: {freed}")
    return 0


def confirm(force: bool, what: str) -> None:
    """Ask at a terminal; elsewhere --force is needed. Raises Conflict for a no."""
    if force:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{what}: --force is needed without a terminal")
    sys.stderr.write(f"{what}. Go on? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Conflict("nothing was removed")
