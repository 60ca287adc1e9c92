"""What is made from the commands' declarations: a page for people, a table for the parser.

python -m stackctl.cli.reference > docs/commands.md
python -m stackctl.cli.reference grammar > stackctl/cli/grammar.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperArgument

from stackctl.cli.application import application, load_command, load_group
from stackctl.cli.table import ALIASES, COMMANDS, GROUPS, PROGRAM, Entry

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


def grammar() -> str:
    """The table that stackctl.cli.grammar reads, a line a command."""
    table: dict[str, Any] = {"": _grammar(application(), "", stops=True)}
    for name, entry in COMMANDS.items():
        table[name] = _entry(name, entry)
    table |= ALIASES
    seen: dict[int, str] = {}
    for name, group in GROUPS.items():
        if first := seen.get(id(group)):
            table[name] = first
            continue
        seen[id(group)] = name
        table[name] = None
        for member, entry in group.commands.items():
            table[f"{name} {member}"] = _entry(member, entry)
        for other, member in group.aliases.items():
            table[f"{name} {other}"] = f"{name} {member}"
    lines = (f"{json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in table.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _entry(name: str, entry: Entry) -> dict[str, Any]:
    call = f"{entry.module}:{entry.function or name}"
    return _grammar(load_command(name, entry), call, stops=entry.passes_on)


def _grammar(command: Command, call: str, *, stops: bool) -> dict[str, Any]:
    """One command in the form that stackctl.cli.grammar explains."""
    options: dict[str, tuple[str, str]] = {}
    arguments, values, variables = [], {}, {}
    for parameter in command.params:
        name = str(parameter.name)
        if isinstance(parameter, TyperArgument):
            arguments.append((name, parameter.nargs == -1, parameter.required))
            if not parameter.required:
                values[name] = parameter.default
            continue
        if parameter.is_eager:
            continue  # --version acts on its own
        values[name] = parameter.default
        if parameter.envvar:
            variables[name] = parameter.envvar
        kind = _kind(parameter)
        options |= dict.fromkeys(parameter.opts, (name, kind))
        options |= dict.fromkeys(parameter.secondary_opts, (name, "no"))
    return {
        "call": call,
        "stops": stops,
        "options": options,
        "arguments": arguments,
        "values": values,
        "variables": variables,
    }


def _kind(option: Any) -> str:
    """Raises TypeError for a declaration that the parser would not understand."""
    if option.is_flag:
        return "yes"
    kinds = {"str": "texts" if option.multiple else "text", "int": "whole"}
    kinds |= {"float": "number", "int range": "natural"}
    kind = kinds.get(option.type.name, "")
    is_plain = option.nargs == 1 and not option.callback and not option.count
    if not is_plain or (kind == "natural" and (option.type.min, option.type.max) != (0, None)):
        kind = ""
    if not kind or (option.multiple and kind != "texts"):
        raise TypeError(f"{option.opts}: stackctl.cli.grammar has no such kind of option")
    return kind


def main() -> None:
    sys.stdout.write(grammar() if sys.argv[1:] == ["grammar"] else reference())


if __name__ == "__main__":
    main()
