"""stackctl port."""

from __future__ import annotations

import typer

from stackctl.cli import options
from stackctl.cli.invocation import invocation
from stackctl.cli.later import Annotated
from stackctl.cli.rows import rows
from stackctl.cli.values import container_port
from stackctl.errors import NotFound


def port(
    ctx: typer.Context,
    service: options.Service,
    private_port: Annotated[
        str,
        typer.Argument(
            metavar="[PORT]", help="The container's port; all when absent.", show_default=False
        ),
    ] = "",
    protocol: Annotated[
        str, typer.Option("--protocol", metavar="tcp|udp", help="Which of the two.")
    ] = "tcp",
    index: options.Index = 0,
) -> int:
    """Print the host's address and port for a container's port, or where each is published."""
    run = invocation(ctx)
    number = 0
    if private_port:
        number, protocol = container_port(private_port, protocol)
    found = rows(
        run,
        "port",
        run.body(service=service, private_port=number, protocol=protocol, index=index),
    )
    if not found and number:
        raise NotFound(f'service "{service}" does not publish port {number}/{protocol}')
    for row in found:
        start = "" if number else f"{row['ContainerPort']} -> "
        run.console.out(start + str(row["Address"]))
    return 0
