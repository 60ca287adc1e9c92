"""stackctl version, stackctl info."""

from __future__ import annotations

import json as json_module
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from stackctl import __version__
from stackctl.cli import options
from stackctl.cli.connection import Message
from stackctl.cli.invocation import Invocation, invocation
from stackctl.cli.output.format import print_inspected
from stackctl.cli.output.text import pad
from stackctl.errors import EngineUnreachable

#: Docker Compose's, whose commands and files these are: programs that drive it ask for a number
#: before they speak (ADR 0046).
COMPOSE = "2.40.0"

_PEOPLE = ("text", "pretty")


def version(
    ctx: typer.Context,
    short: Annotated[
        bool, typer.Option("--short", help="Only the number of the Docker Compose that it is like.")
    ] = False,
    format: options.FactsFormat = "text",
) -> int:
    """Print the versions of this command and of the engine, if one runs.

    The one of Docker Compose is for programs that drive it, and ask for it.
    """
    run = invocation(ctx)
    if short:
        run.console.out(COMPOSE)
        return 0
    if format not in _PEOPLE:
        facts = {"Client": {"Version": __version__}, "Server": _engine(run)}
        # compose's own name for it stands first.
        _print(run, {"version": f"v{COMPOSE}", **facts}, format)
        return 0
    # Also when asking the engine fails.
    run.console.out(f"stackctl {__version__}")
    run.console.out(f"Docker Compose version v{COMPOSE}, as which it can be driven")
    engine = _engine(run)
    if engine is None:
        run.console.out("engine   does not run")
        return 0
    for line in _lines({"engine": engine}):
        run.console.out(line)
    return 0


def _engine(run: Invocation) -> dict[str, Any] | None:
    """Facts of the engine; None when none runs: asking for a version starts nothing."""
    try:
        return _facts(run.connect(start=False).call("version", {}))
    except EngineUnreachable:
        return None


def info(ctx: typer.Context, format: options.FactsFormat = "text") -> int:
    """Print facts about the engine and its machine."""
    run = invocation(ctx)
    facts = _facts(run.client.call("info", {}))
    if format not in _PEOPLE:
        _print(run, facts, format)
        return 0
    for line in _lines(facts):
        run.console.out(line)
    return 0


def _print(run: Invocation, facts: dict[str, Any], format: str) -> None:
    """As JSON in one line, or by a template."""
    if format == "json":
        run.console.out(json_module.dumps(facts))
    else:
        print_inspected(run.console, [facts], format)


def _facts(result: Message) -> dict[str, Any]:
    return {k: v for k, v in result.items() if k not in ("type", "exit_code")}


def _lines(facts: dict[str, Any], indent: str = "") -> Iterator[str]:
    """`Name   value`, nested ones indented; lists in one line."""
    width = max((len(name) for name in facts), default=0)
    for name, value in facts.items():
        if isinstance(value, dict):
            yield f"{indent}{name}"
            yield from _lines(value, indent + "  ")
            continue
        if isinstance(value, list):
            value = ", ".join(map(str, value)) or "-"
        elif name.startswith("Mem") and isinstance(value, int):
            value = f"{value / 2**20:.0f} MiB"
        yield f"{indent}{pad(name, width)}  {value}"
