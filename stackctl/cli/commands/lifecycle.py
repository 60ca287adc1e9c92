"""stackctl start, stop, restart, kill, pause, unpause, wait."""

from typing import Annotated

import typer

from stackctl.cli.connection import Message
from stackctl.cli.invocation import Invocation, invocation
from stackctl.cli.options import Services, SomeServices, Timeout
from stackctl.cli.output.text import replica_name
from stackctl.cli.steps import carry_out


def start(ctx: typer.Context, services: Services = None) -> int:
    """Start containers that exist."""
    return _carry_out(invocation(ctx), "start", services)


def stop(ctx: typer.Context, services: Services = None, timeout: Timeout = None) -> int:
    """Stop containers, keep them."""
    return _carry_out(invocation(ctx), "stop", services, timeout=timeout)


def restart(ctx: typer.Context, services: Services = None, timeout: Timeout = None) -> int:
    """Stop and start containers."""
    return _carry_out(invocation(ctx), "restart", services, timeout=timeout)


def kill(
    ctx: typer.Context,
    services: Services = None,
    signal: Annotated[
        str, typer.Option("-s", "--signal", metavar="SIGNAL", help="The signal to send.")
    ] = "SIGKILL",
) -> int:
    """Send a signal to the containers."""
    return _carry_out(invocation(ctx), "kill", services, signal=signal)


def pause(ctx: typer.Context, services: Services = None) -> int:
    """Freeze the containers' processes."""
    return _carry_out(invocation(ctx), "pause", services)


def unpause(ctx: typer.Context, services: Services = None) -> int:
    """Let frozen containers go on."""
    return _carry_out(invocation(ctx), "unpause", services)


def wait(ctx: typer.Context, services: SomeServices) -> int:
    """Wait until the services' containers end; returns the last one's exit code."""
    run = invocation(ctx)
    code = 0
    for message in run.client.stream("wait", run.body(services=services)):
        match message["type"]:
            case "exit":
                run.console.out(_exit_line(message))
                run.console.flush()
            case "result":
                code = int(message.get("exit_code") or 0)
    return code


def _exit_line(message: Message) -> str:
    name = replica_name(str(message.get("container", "")), str(message.get("service", "")))
    code = message.get("code")
    return f"{name} exited with {'an unknown code' if code is None else f'code {code}'}"


def _carry_out(run: Invocation, verb: str, services: list[str] | None, **fields: object) -> int:
    result, board = carry_out(run, verb, run.body(services=services or [], **fields), verb)
    if not result.get("changed", True) and not board.steps and run.progress != "quiet":
        run.console.err("nothing to do")
    return int(result.get("exit_code") or 0)
