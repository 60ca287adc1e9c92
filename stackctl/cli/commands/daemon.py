"""stackctl daemon."""

from __future__ import annotations

from typing import Annotated

import typer

from stackctl.cli.invocation import invocation
from stackctl.state.paths import Paths


def daemon(
    ctx: typer.Context,
    host: Annotated[
        list[str] | None,
        typer.Option(
            "-H",
            "--host",
            metavar="ADDRESS",
            help="Answer here too: tcp://[HOST][:2376] (with --tlsverify), unix:///PATH.",
        ),
    ] = None,
    tlsverify: Annotated[
        bool, typer.Option("--tlsverify", help="Ask clients for a certificate; TCP needs it.")
    ] = False,
    tlscacert: Annotated[
        str, typer.Option("--tlscacert", metavar="FILE", help="The authority of the clients.")
    ] = "",
    tlscert: Annotated[
        str, typer.Option("--tlscert", metavar="FILE", help="The engine's certificate.")
    ] = "",
    tlskey: Annotated[str, typer.Option("--tlskey", metavar="FILE", help="Its key.")] = "",
    group: Annotated[
        str,
        typer.Option(
            "-G",
            "--group",
            metavar="GROUP",
            envvar="STACKCTL_SOCKET_GROUP",
            help="May use the sockets, besides root.",
        ),
    ] = "",
    docker_socket: Annotated[
        str,
        typer.Option(
            "--docker-socket",
            metavar="PATH",
            envvar="STACKCTL_DOCKER_SOCKET",
            help="Link our socket here if no Docker is there, for example /var/run/docker.sock.",
        ),
    ] = "",
) -> int:
    """Run the engine in the foreground, for systemd and containers.

    Other commands start one by themselves when they need it.
    """
    run = invocation(ctx)
    from stackctl.api.listening import listening
    from stackctl.api.serve import foreground

    wanted = listening(
        host or (),
        verify=tlsverify,
        files=(tlscacert, tlscert, tlskey),
        group=group,
        link=docker_socket,
    )
    # Whatever context commands use: it is this machine's that is run.
    paths = run.paths if run.engine.host else Paths.from_environment(run.environment)
    run.console.flush()
    return foreground(paths, wanted)
