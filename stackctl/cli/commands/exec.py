"""stackctl exec."""

from __future__ import annotations

import typer

from stackctl.cli import options, piped
from stackctl.cli.invocation import invocation
from stackctl.cli.later import Annotated
from stackctl.cli.session import interact, standard_streams
from stackctl.cli.steps import rehearse
from stackctl.cli.values import variables


def execute(
    ctx: typer.Context,
    service: options.Service,
    command: Annotated[
        list[str],
        typer.Argument(metavar="COMMAND [ARGS...]", help="What to run.", show_default=False),
    ],
    detach: Annotated[bool, typer.Option("-d", "--detach", help="Do not wait for it.")] = False,
    no_tty: options.NoTty = False,
    tty: options.Tty = True,
    env: options.Environment = None,
    user: options.User = "",
    workdir: options.Workdir = "",
    index: options.Index = 0,
    privileged: Annotated[
        bool, typer.Option("--privileged", help="With all capabilities of the container's root.")
    ] = False,
    interactive: Annotated[
        bool, typer.Option("-i", "--interactive", help="Keep stdin open (always so).", hidden=True)
    ] = True,
) -> int:
    """Run a command in a running service's container.

    It gets a terminal when our standard input and output are one.
    """
    run = piped.named(invocation(ctx))
    standard = standard_streams()
    tty = tty and standard.is_terminal and not no_tty and not detach
    width, height = standard.size()
    body = run.body(
        service=service,
        index=index,
        command=command,
        # A bare KEY is the project's where the caller has none: the engine reads .env.
        env=variables(env or (), run.environment, keep=True),
        user=user,
        workdir=workdir,
        tty=tty,
        stdin=interactive and not detach,
        width=width,
        height=height,
        detach=detach,
        privileged=privileged,
    )
    if run.dry_run:
        return rehearse(run, "exec", body)
    session = run.client.open_session("exec", body)
    if detach:
        session.socket.close()
        return 0
    return interact(run.client, session, standard, stdin=interactive)
