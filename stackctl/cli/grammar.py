"""Reads a command line without typer, whose import takes longer than most commands.

The options of all commands are in grammar.json, which `make docs` makes from what the
commands declare. What is understood here is understood by typer in the same way (a test
compares them, line by line); whatever is not (`--help`, a mistake) is left to typer, so
that there is one place for help and for words about mistakes. Only what docker compose's
reader takes of a whole line is known here alone: `--all=true`, and `--dry-run` behind the
command.

    {"stack ps": {
        "call": "ps:ps",               module below stackctl.cli.commands, function
        "stops": false,                whether options end at the first argument
        "options": {"--all": ["all", "yes"], "-a": ["all", "yes"]},
        "arguments": [["services", true, false]],    name, takes many, must be given
        "values": {"all": false, "services": null},  of what is not given
        "variables": {}}}              parameter -> environment variable

Kinds of options: yes, no (flags); text, texts (repeatable); whole, natural, number.
The root's own options are below "", a group has null, another name a command's name.
"""

from __future__ import annotations

import os

from stackctl.json_text import dumps, loads
from stackctl.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, TypeAlias

#: A line for each command.
TABLE = os.path.join(os.path.dirname(__file__), "grammar.json")

_FLAGS = {"yes": True, "no": False}
_SWITCHED = {"true": True, "false": False}
#: Of the whole line, but understood behind a stack's command, too.
_ANYWHERE = {"--dry-run": ["dry_run", "yes"]}
Values: TypeAlias = "dict[str, Any]"


class Line(NamedTuple):
    """A command line: what it calls, with the values of all parameters."""

    module: str
    function: str
    globals: Values
    arguments: Values


class _Number(NamedTuple):
    kind: str
    text: str


class _Unclear(Exception):
    """Typer has to look at it."""


def parse(arguments: Sequence[str]) -> Line | None:
    """None when this is nothing to decide here."""
    table = _Table()
    try:
        given, words = _read(table.get(""), arguments)
        name, words = _command(table, words)
        command = table.get(name)
        if " " not in name:
            command = {**command, "options": {**_ANYWHERE, **command["options"]}}
        values, words = _read(command, words)
        if "dry_run" not in command["values"]:
            given["dry_run"] |= values.pop("dry_run", False)
        _assign(command["arguments"], words, values)
    except _Unclear:
        return None
    module, _, function = command["call"].partition(":")
    return Line(module, function, given, values)


class _Table:
    """The file, of which two lines or three are read: all of it takes longer than a command."""

    def __init__(self) -> None:
        with open(TABLE, encoding="utf-8") as file:
            self._text = file.read()

    def get(self, name: str) -> Any:
        key = f"\n{dumps(name)}: "
        start = self._text.find(key)
        if start < 0:
            raise _Unclear
        start += len(key)
        return loads(self._text[start : self._text.index("\n", start)].rstrip(","))


def _command(table: _Table, words: list[str]) -> tuple[str, list[str]]:
    """The name of the command, and what follows it."""
    for count in (1, 2):
        name = " ".join(words[:count])
        if name.count(" ") != count - 1 or not name:
            raise _Unclear
        found = table.get(name)
        if isinstance(found, str):
            name, found = found, table.get(found)
        if found is not None:
            return name, words[count:]
        words = [name, *words[1:]]
    raise _Unclear


def _read(command: Mapping[str, Any], words: Iterable[str]) -> tuple[Values, list[str]]:
    """The values of a command's options, and the words that are none."""
    options = command["options"]
    given: Values = {}
    rest: list[str] = []
    queue = list(words)[::-1]
    while queue:
        word = queue.pop()
        if word == "--":
            break
        if not word.startswith("-") or word == "-":
            rest.append(word)
            if command["stops"]:
                break
        elif word.startswith("--"):
            name, equals, text = word.partition("=")
            parameter, kind = _option(options, name)
            if kind not in _FLAGS:
                _take(given, parameter, kind, text if equals else _next(queue))
            elif equals:
                given[parameter] = _FLAGS[kind] == _switched(text)
            else:
                given[parameter] = _FLAGS[kind]
        else:
            _read_letters(options, word, queue, given)
    for parameter, variable in command["variables"].items():
        if parameter not in given and (found := os.environ.get(variable)):
            _take(given, parameter, _kind(options, parameter), found)
    # Of a repeated option only the last value counts, and has to be one.
    numbers = {k: _number(*v) for k, v in given.items() if isinstance(v, _Number)}
    return {**command["values"], **given, **numbers}, rest + queue[::-1]


def _switched(text: str) -> bool:
    try:
        return _SWITCHED[text.lower()]
    except KeyError:
        raise _Unclear from None


def _read_letters(options: Mapping[str, Any], word: str, queue: list[str], given: Values) -> None:
    """`-it`, `-p80:80`: flags, and an option that takes the rest of the word or the next one."""
    for end, letter in enumerate(word[1:], 2):
        parameter, kind = _option(options, f"-{letter}")
        if kind not in _FLAGS:
            _take(given, parameter, kind, word[end:] or _next(queue))
            break
        given[parameter] = _FLAGS[kind]


def _take(given: Values, parameter: str, kind: str, text: str) -> None:
    if kind == "texts":
        given.setdefault(parameter, []).append(text)
    elif kind == "text":
        given[parameter] = text
    else:
        given[parameter] = _Number(kind, text)


def _number(kind: str, text: str) -> int | float:
    try:
        value: int | float = float(text) if kind == "number" else int(text)
    except ValueError:
        raise _Unclear from None
    if kind == "natural" and value < 0:
        raise _Unclear
    return value


def _assign(arguments: Sequence[tuple[str, bool, bool]], words: list[str], values: Values) -> None:
    """Gives the words that are no options to the arguments; one of these may take many."""
    left = list(arguments)
    while left and words and not left[0][1]:
        values[left.pop(0)[0]] = words.pop(0)
    while left and words and not left[-1][1]:
        values[left.pop()[0]] = words.pop()
    if left and words:
        values[left.pop()[0]] = words
        words = []
    if words or any(required for _, _, required in left):
        raise _Unclear


def _option(options: Mapping[str, Any], name: str) -> tuple[str, str]:
    try:
        parameter, kind = options[name]
    except KeyError:
        raise _Unclear from None
    return parameter, kind


def _kind(options: Mapping[str, Any], parameter: str) -> str:
    return next(str(kind) for name, kind in options.values() if name == parameter)


def _next(queue: list[str]) -> str:
    if not queue:
        raise _Unclear
    return queue.pop()
