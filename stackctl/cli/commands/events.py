"""stackctl events."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from stackctl.cli import options
from stackctl.cli.invocation import invocation
from stackctl.cli.output.logs import local_time, timestamp
from stackctl.cli.output.text import one_line
from stackctl.cli.values import moment
from stackctl.json_text import json_line


def events(
    ctx: typer.Context,
    services: options.Services = None,
    json: options.Json = False,
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="What was remembered since then, first.")
    ] = "",
    until: Annotated[str, typer.Option("--until", metavar="TIME", help="End at this time.")] = "",
) -> int:
    """Print what happens to the stack's containers, as it happens."""
    run = invocation(ctx)
    body = run.body(
        services=services or [],
        since=moment("--since", since),
        until=moment("--until", until),
        follow=True,
    )
    for message in run.client.stream("events", body):
        if message["type"] == "event":
            run.console.out(_json(message) if json else _line(message))
            run.console.flush()
    return 0


def _line(event: dict[str, Any]) -> str:
    """`2026-01-31 12:00:00.000001 container start 0123... (image=x, name=y)`."""
    attributes = ", ".join(f"{k}={v}" for k, v in sorted(_told(event).items()))
    return one_line(
        f"{local_time(event.get('time'))} {event.get('kind')} {event.get('action')}"
        f" {event.get('id')} ({attributes})"
    )


def _told(event: dict[str, Any]) -> dict[str, str]:
    """The attributes without those that only say to which service it belongs, as compose's."""
    attributes = event.get("attributes") or {}
    return {k: v for k, v in attributes.items() if not k.startswith("com.docker.compose.")}


def _json(event: dict[str, Any]) -> str:
    """compose's object: time, type, service, id, action, attributes."""
    attributes = dict(event.get("attributes") or {})
    service = attributes.get("com.docker.compose.service") or attributes.get("service") or ""
    return json_line(
        {
            "time": timestamp(event.get("time")),
            "type": event.get("kind"),
            "service": service,
            "id": event.get("id"),
            "action": event.get("action"),
            "attributes": _told(event),
        }
    )
