"""Verbs that answer with rows, for commands that show no progress (and load no display)."""

from __future__ import annotations

from stackctl.cli.output.errors import place_text, print_warning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from stackctl.cli.connection import Message
    from stackctl.cli.invocation import Invocation


def rows(run: Invocation, verb: str, body: Message) -> list[dict[str, Any]]:
    """All `row` messages of a verb; warnings are printed."""
    found = []
    for message in run.client.stream(verb, body):
        if not warned(run, message) and message["type"] == "row":
            found.append({k: v for k, v in message.items() if k != "type"})
    return found


def asks_for_labels(format: str) -> bool:
    """Whether rows have to come with their labels for a template of --format."""
    return ".Label " in format


def warned(run: Invocation, message: Message) -> bool:
    """Print the message if it is a warning."""
    if message["type"] != "warning":
        return False
    print_warning(run.console, str(message.get("text", "")), place_text(message.get("place")))
    return True
