"""From a command line to the rules, and to the watching of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from stackctl.cli.invocation import Invocation
from stackctl.cli.output.errors import print_warning
from stackctl.cli.rows import warned
from stackctl.cli.watching.actions import Watching
from stackctl.cli.watching.rules import Rule, rules_of


def rules(run: Invocation, services: Sequence[str]) -> tuple[list[Rule], Invocation]:
    """Of the stack's services, or of those named; and the invocation that knows the project's
    name, for which no file is read again. Raises NotFound, UsageError.
    """
    text = "{}"
    for message in run.client.stream("config", run.body(format="json", services=list(services))):
        if not warned(run, message) and message["type"] == "result":
            text = str(message["text"])
    found, warnings = rules_of(text, services)
    for warning in warnings:
        print_warning(run.console, warning)
    return found, run.named(str(json.loads(text).get("name") or ""))


def watching(run: Invocation, found: Sequence[Rule], *, prune: bool = True) -> Watching:
    """On a connection of its own: it works in another thread."""
    return Watching(run.connect(start=False), found, run.body, prune=prune)


def described(found: Sequence[Rule]) -> Iterator[str]:
    """A line a rule, for --dry-run."""
    for rule in found:
        target = f" -> {rule.target}" if rule.syncs else ""
        yield f"{rule.service}: {rule.action} {rule.path}{target}"
