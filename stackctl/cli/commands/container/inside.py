"""stackctl container exec, attach."""

from __future__ import annotations

from typing import Annotated

import typer

from stackctl.cli import options
from stackctl.cli.commands.container.make import follow
from stackctl.cli.commands.container.wish import file_lines
from stackctl.cli.invocation import invocation
from stackctl.cli.session import DETACH_KEYS, Detached, detach_keys, interact, standard_streams
from stackctl.cli.values import variables
from stackctl.errors import UsageError


def execute(
    ctx: typer.Context,
    container: options.Container,
    command: Annotated[
        list[str],
        typer.Argument(metavar="COMMAND [ARGS...]", help="What to run.", show_default=False),
    ],
    detach: Annotated[bool, typer.Option("-d", "--detach", help="Do not wait for it.")] = False,
    interactive: Annotated[
        bool, typer.Option("-i", "--interactive", help="Pass our input on.")
    ] = False,
    tty: Annotated[bool, typer.Option("-t", "--tty", help="Give it a terminal.")] = False,
    env: options.Environment = None,
    env_file: Annotated[
        list[str] | None, typer.Option("--env-file", metavar="FILE", help="Variables, one a line.")
    ] = None,
    user: Annotated[
        str, typer.Option("-u", "--user", metavar="USER[:GROUP]", help="Who it runs as.")
    ] = "",
    workdir: Annotated[
        str, typer.Option("-w", "--workdir", metavar="DIR", help="Working directory inside.")
    ] = "",
    privileged: Annotated[
        bool, typer.Option("--privileged", help="With all capabilities of the container's root.")
    ] = False,
    keys: options.DetachKeys = DETACH_KEYS,
) -> int:
    """Run a command in a running container."""
    run = invocation(ctx)
    typed = detach_keys(keys)
    standard = standard_streams()
    if tty and interactive and not detach and not standard.is_terminal:
        raise UsageError("the input device is not a terminal", hint="leave -t out")
    width, height = standard.size()
    given = [*file_lines("--env-file", env_file or ()), *(env or ())]
    session = run.client.open_session(
        "exec",
        {
            "container": container,
            "command": command,
            "env": variables(given, run.environment),
            "user": user,
            "workdir": workdir,
            "tty": tty,
            "stdin": interactive and not detach,
            "width": width,
            "height": height,
            "detach": detach,
            "privileged": privileged,
            "exit_frame": not detach,
        },
    )
    if detach:
        session.socket.close()
        return 0
    try:
        return interact(run.client, session, standard, stdin=interactive, keys=typed)
    except Detached:
        run.console.err("read escape sequence")
        return 0


def attach(
    ctx: typer.Context,
    container: options.Container,
    no_stdin: Annotated[bool, typer.Option("--no-stdin", help="Do not pass our input on.")] = False,
    sig_proxy: Annotated[
        bool, typer.Option("--sig-proxy/--no-sig-proxy", help="Pass signals on.")
    ] = True,
    keys: options.DetachKeys = DETACH_KEYS,
) -> int:
    """Connect to the input and output of a running container."""
    run = invocation(ctx)
    typed = detach_keys(keys)
    standard = standard_streams()
    width, height = standard.size()
    session = run.client.open_session(
        "container-attach",
        {
            "container": container,
            "exit_frame": True,
            "stdin": not no_stdin,
            "width": width,
            "height": height,
        },
    )
    return follow(run, session, standard, stdin=not no_stdin, keys=typed, proxy=sig_proxy)
