"""docs/commands.md, made from the commands themselves: `python -m stackctl.cli.reference`.

python -m stackctl.cli.reference > docs/commands.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from stackctl.cli.main import COMMANDS, GROUPS, PROGRAM, application, load_command, load_group

if TYPE_CHECKING:
    from typer._click.core import Command


def reference() -> str:
    """The whole document, as Markdown."""
    root = application()
    lines = [
        "# Commands",
        "",
        "Made by `python -m stackctl.cli.reference`; a test keeps it current.",
        "",
        *_section(root, PROGRAM, "Options before the command"),
        "Exit codes: 0 done; 1 an error; 2 wrong usage (and `plan`: there is something to do);",
        "130 interrupted. `exec`, `run`, `wait` and `up --exit-code-from` return the",
        "container's own.",
        "",
    ]
    for name, entry in COMMANDS.items():
        command = load_command(name, entry)
        lines += [f"## {PROGRAM} {name}", "", *_section(command, f"{PROGRAM} {name}", "Options")]
    for name, group in GROUPS.items():
        path = f"{PROGRAM} {name}"
        lines += [f"## {path}", "", *_section(load_group(name, group), path, "Options")]
        for member, entry in group.commands.items():
            command = load_command(member, entry)
            lines += [f"### {path} {member}", "", *_section(command, f"{path} {member}", "Options")]
    return "\n".join(lines).rstrip() + "\n"


def _section(command: Command, path: str, heading: str) -> Iterator[str]:
    context: Any = command.make_context(path, [], resilient_parsing=True)
    with context:
        usage = " ".join(command.collect_usage_pieces(context))
        yield f"    {path} {usage}"
        yield ""
        yield _paragraphs(command.help or "")
        yield ""
        options = list(_parameters(command, context))
        if options:
            yield f"| {heading} | |"
            yield "|---|---|"
            yield from options
            yield ""


def _parameters(command: Command, context: typer.Context) -> Iterator[str]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            name, text = (part.replace("|", "\\|") for part in record)
            yield f"| `{name}` | {text} |"


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def main() -> None:
    sys.stdout.write(reference())


if __name__ == "__main__":
    main()
