"""An engine that can only be looked at: what `--dry-run` gives to every command."""

from __future__ import annotations

from typing import Any

from stackctl.cli.connection import Client, Content, Message, Messages
from stackctl.errors import UsageError

#: Verbs that change nothing, whatever their body says.
LOOKING = frozenset(
    (
        *("plan", "ps", "ls", "logs", "port", "top", "events", "config", "version", "info"),
        *("doctor", "wait", "images", "volume-ls", "volume-inspect", "container-ls"),
        *("container-inspect", "container-logs", "container-top", "container-port"),
        *("container-stats", "container-diff", "image-ls", "image-inspect", "image-history"),
    )
)


class ReadOnly:
    """Lets through what looks; everything else is refused before it is sent."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def stream(self, verb: str, body: Message) -> Messages:
        if verb not in LOOKING:
            raise UsageError(
                f'"{verb}" cannot be tried without being done',
                hint="--dry-run shows plans: of up, create, scale, down, start, stop, restart, rm, "
                "kill, pause, unpause, run, exec, cp, pull, build and push",
            )
        return self._client.stream(verb, body)

    def export(self, container: str) -> Content:
        return self._client.export(container)

    def __getattr__(self, name: str) -> Any:
        raise UsageError(
            "this command cannot be tried without being done", hint="leave --dry-run out"
        )
