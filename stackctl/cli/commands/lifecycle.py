"""stackctl start, stop, restart, kill, pause, unpause, wait."""

from __future__ import annotations

import sys

import typer

from stackctl.cli import options
from stackctl.cli.connection import Message
from stackctl.cli.failures import Leave
from stackctl.cli.invocation import Invocation, invocation
from stackctl.cli.later import Annotated
from stackctl.cli.output.text import replica_name
from stackctl.cli.steps import carry_out, rehearse
from stackctl.errors import UsageError


def start(
    ctx: typer.Context,
    services: options.Services = None,
    wait: options.Wait = False,
    wait_timeout: options.WaitTimeout = None,
) -> int:
    """Start containers that exist."""
    run = invocation(ctx)
    return _carry_out(run, "start", services, wait=wait, wait_timeout=wait_timeout)


def stop(
    ctx: typer.Context, services: options.Services = None, timeout: options.Timeout = None
) -> int:
    """Stop containers, keep them."""
    return _carry_out(invocation(ctx), "stop", services, timeout=timeout)


def restart(
    ctx: typer.Context,
    services: options.Services = None,
    timeout: options.Timeout = None,
    no_deps: Annotated[
        bool, typer.Option("--no-deps", help="Do not restart services that depend on them.")
    ] = False,
) -> int:
    """Stop and start containers."""
    return _carry_out(invocation(ctx), "restart", services, timeout=timeout, no_deps=no_deps)


def rm(
    ctx: typer.Context,
    services: options.Services = None,
    force: Annotated[bool, typer.Option("-f", "--force", help="Do not ask.")] = False,
    stop: Annotated[bool, typer.Option("-s", "--stop", help="Stop them first.")] = False,
    volumes: Annotated[
        bool, typer.Option("-v", "--volumes", help="Remove anonymous volumes too.")
    ] = False,
    all: Annotated[bool, typer.Option("-a", "--all", help="No effect.", hidden=True)] = False,
) -> int:
    """Remove stopped containers."""
    run = invocation(ctx)
    if not force and not run.dry_run:
        _consent(run, run.body(services=services or [], stop=stop))
    return _carry_out(run, "rm", services, stop=stop, volumes=volumes)


def _consent(run: Invocation, body: Message) -> None:
    """Ask, on a terminal or whoever writes into our input. Raises UsageError, Leave."""
    plan = run.client.stream("plan", {**body, "for": "rm"})
    steps = [step for message in plan if message["type"] == "plan" for step in message["steps"]]
    names = [str(step["target"]) for step in steps if step["op"] == "RemoveContainer"]
    if not names:
        run.console.err("nothing to remove")
        raise Leave
    run.console.err(f"going to remove {', '.join(names)}")
    run.console.stderr.write("sure? [y/N] ")
    run.console.stderr.flush()
    answer = sys.stdin.readline()
    if not answer:
        raise UsageError("nobody answers", hint="rm -f does not ask")
    if answer.strip().lower() not in ("y", "yes"):
        raise Leave(1)


def kill(
    ctx: typer.Context,
    services: options.Services = None,
    signal: Annotated[
        str, typer.Option("-s", "--signal", metavar="SIGNAL", help="The signal to send.")
    ] = "SIGKILL",
    remove_orphans: Annotated[
        bool,
        typer.Option("--remove-orphans", help="Also containers of services not in the file."),
    ] = False,
) -> int:
    """Send a signal to the containers."""
    run = invocation(ctx)
    return _carry_out(run, "kill", services, signal=signal, remove_orphans=remove_orphans)


def pause(ctx: typer.Context, services: options.Services = None) -> int:
    """Freeze the containers' processes."""
    return _carry_out(invocation(ctx), "pause", services)


def unpause(ctx: typer.Context, services: options.Services = None) -> int:
    """Let frozen containers go on."""
    return _carry_out(invocation(ctx), "unpause", services)


def wait(
    ctx: typer.Context,
    services: options.SomeServices,
    down_project: Annotated[
        bool, typer.Option("--down-project", help="Take the stack down when the first one ends.")
    ] = False,
) -> int:
    """Wait until the services' containers end; returns the last one's exit code."""
    run = invocation(ctx)
    code = 0
    for message in run.client.stream("wait", run.body(services=services)):
        match message["type"]:
            case "exit":
                run.console.out(_exit_line(message))
                run.console.flush()
                if down_project:
                    carry_out(run, "down", run.body(services=[]), "down")
                    return 255 if message.get("code") is None else int(message["code"])
            case "result":
                code = int(message.get("exit_code") or 0)
    return code


def _exit_line(message: Message) -> str:
    name = replica_name(str(message.get("container", "")), str(message.get("service", "")))
    code = message.get("code")
    return f"{name} exited with {'an unknown code' if code is None else f'code {code}'}"


def _carry_out(run: Invocation, verb: str, services: list[str] | None, **fields: object) -> int:
    body = run.body(services=services or [], **fields)
    if run.dry_run:
        return rehearse(run, verb, body)
    result, board = carry_out(run, verb, body, verb)
    if not result.get("changed", True) and not board.steps and run.talks:
        run.console.err("nothing to do")
    return int(result.get("exit_code") or 0)
