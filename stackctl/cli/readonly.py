"""An engine that can only be looked at: what `--dry-run` gives to every command."""

from __future__ import annotations

from typing import Any

from stackctl.cli.connection import Client, Message, Messages
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
            raise _refused()
        return self._client.stream(verb, body)

    def __getattr__(self, name: str) -> Any:
        # `export` among them: it makes a file.
        raise _refused()


def _refused() -> UsageError:
    return UsageError(
        "this command cannot be tried without being done",
        hint="--dry-run shows plans: of up, create, scale, down, start, stop, restart, rm, "
        "kill, pause, unpause, run, exec, cp, pull, build and push",
    )
