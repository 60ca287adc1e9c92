"""Verbs on several things: print the name of each that succeeded, the error of each that failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from stackctl.cli.connection import Message
from stackctl.cli.invocation import Invocation
from stackctl.cli.output.errors import print_error
from stackctl.cli.rows import warned
from stackctl.errors import RemoteError, UsageError


def outcomes(run: Invocation, verb: str, body: Message) -> Iterator[Message]:
    """The rows of those that succeeded, then the result; failures are printed as they come."""
    for message in run.client.stream(verb, body):
        if message["type"] == "failure":
            run.console.flush()
            print_error(run.console, RemoteError(message.get("error") or {}))
        elif not warned(run, message) and message["type"] in ("row", "result"):
            yield message


def act(
    run: Invocation,
    verb: str,
    body: Message,
    shown: Callable[[dict[str, Any]], str] = lambda row: str(row["Name"]),
) -> int:
    """Print `shown` of each row; the result's exit code."""
    code = 0
    for message in outcomes(run, verb, body):
        if message["type"] == "result":
            code = int(message.get("exit_code") or 0)
        else:
            run.console.out(shown(message))
            run.console.flush()
    return code


def filters(values: list[str] | None) -> dict[str, list[str]]:
    """`--filter name=value` as Docker's API takes them. Raises UsageError."""
    found: dict[str, list[str]] = {}
    for text in values or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f'--filter "{text}" is not NAME=VALUE', hint="--filter status=exited")
        found.setdefault(name.strip(), []).append(value.strip())
    return found
