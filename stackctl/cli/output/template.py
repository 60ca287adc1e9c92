"""The subset of Go's templates that `--format` of docker's commands is used with.

    {{.Names}}  {{.State.Health.Status}}  {{json .}}  {{index .Labels "key"}}
    {{range .Mounts}}...{{end}}  {{range $k, $v := .Networks}}...{{end}}
    {{if .Ports}}...{{else}}...{{end}}  {{with .X}}...{{end}}  {{.X | json}}  {{- trimmed -}}

Functions: json, index, join, split, upper, lower, title, truncate, len, print, printf,
println, eq, ne, lt, gt, le, ge, and, or, not. A missing field prints `<no value>`, as in Go.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stackctl.errors import UsageError

Value = Any
Scope = dict[str, Value]

NO_VALUE = "<no value>"


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Action:
    words: str


@dataclass(slots=True)
class Block:
    """range, if or with; `other` is what stands behind {{else}}."""

    kind: str
    words: str
    body: list[Node] = field(default_factory=list)
    other: list[Node] = field(default_factory=list)


Node = Text | Action | Block

_TAG = re.compile(r"\{\{(- )?(.*?)( -)?\}\}", re.DOTALL)
_WORD = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*"|`[^`]*`)|(?P<open>\()|(?P<close>\))|(?P<pipe>\|)"""
    r"""|(?P<number>-?\d+(?:\.\d+)?)|(?P<path>(?:\$\w*)?(?:\.\w+)+|\$\w*|\.)|(?P<name>\w+))"""
)


class Template:
    """A template, read once. `render(value)` gives its text."""

    def __init__(self, source: str) -> None:
        """Raises UsageError for what is no template, or not of this subset."""
        self._source = source
        nodes = list(_tokens(source))
        self._nodes, rest, _ = self._parse(nodes, 0, inside=False)
        assert rest == len(nodes)

    def render(
        self, value: Value, *, methods: Mapping[str, Callable[..., Value]] | None = None
    ) -> str:
        """With `methods`, `value` is an object as Go has them: it has its fields and these
        methods, and another name is a mistake. Raises UsageError.
        """
        if methods is not None:
            value = _Object(value, methods)
        return self._run(self._nodes, value, {"$": value})

    def _wrong(self, why: str) -> UsageError:
        return UsageError(f'--format "{self._source}": {why}')

    # -- reading

    def _parse(
        self, nodes: Sequence[Text | Action], at: int, *, inside: bool
    ) -> tuple[list[Node], int, str]:
        """Nodes up to {{end}} or {{else}}; where that is, and which it was."""
        found: list[Node] = []
        while at < len(nodes):
            node = nodes[at]
            at += 1
            if isinstance(node, Text):
                found.append(node)
                continue
            kind, _, words = node.words.partition(" ")
            if kind in ("range", "if", "with"):
                block = Block(kind, words)
                block.body, at, ended = self._parse(nodes, at, inside=True)
                if ended == "else":
                    block.other, at, ended = self._parse(nodes, at, inside=True)
                found.append(block)
            elif node.words in ("end", "else"):
                if not inside:
                    raise self._wrong(f"{{{{{node.words}}}}} without a beginning")
                return found, at, node.words
            elif not node.words.startswith("/*"):
                found.append(node)
        if inside:
            raise self._wrong("an {{end}} is missing")
        return found, at, ""

    # -- carrying out

    def _run(self, nodes: Sequence[Node], dot: Value, scope: Scope) -> str:
        parts = []
        for node in nodes:
            match node:
                case Text(text):
                    parts.append(text)
                case Action(words):
                    parts.append(_shown(self._value(words, dot, scope)))
                case Block():
                    parts.append(self._block(node, dot, scope))
        return "".join(parts)

    def _block(self, block: Block, dot: Value, scope: Scope) -> str:
        names, assigned, words = block.words.rpartition(":=")
        value = self._value(words.strip(), dot, scope)
        variables = [name.strip() for name in names.split(",")] if assigned else []
        if block.kind != "range":
            if not value:
                return self._run(block.other, dot, scope)
            inner = {**scope, **({variables[0]: value} if variables else {})}
            return self._run(block.body, value if block.kind == "with" else dot, inner)
        pairs = sorted(value.items()) if isinstance(value, Mapping) else enumerate(value or ())
        parts = [
            self._run(block.body, item, {**scope, **_bound(variables, key, item)})
            for key, item in pairs
        ]
        return "".join(parts) if parts else self._run(block.other, dot, scope)

    def _value(self, words: str, dot: Value, scope: Scope) -> Value:
        tokens = self._words(words)
        value, rest = self._pipeline(tokens, dot, scope)
        if rest:
            raise self._wrong(f'"{words}" is not understood')
        return value

    def _words(self, words: str) -> list[tuple[str, str]]:
        tokens, at = [], 0
        words = words.strip()
        while at < len(words):
            found = _WORD.match(words, at)
            if found is None or found.lastgroup is None:
                raise self._wrong(f'"{words}" is not understood')
            tokens.append((found.lastgroup, found[found.lastgroup]))
            at = found.end()
        if not tokens:
            raise self._wrong("an action is empty")
        return tokens

    def _pipeline(
        self, tokens: list[tuple[str, str]], dot: Value, scope: Scope
    ) -> tuple[Value, list[tuple[str, str]]]:
        """The value up to a closing parenthesis, and what stands behind it."""
        piped: list[Value] = []
        while True:
            value, tokens = self._command(tokens, dot, scope, piped)
            if not tokens or tokens[0][0] == "close":
                return value, tokens
            tokens, piped = tokens[1:], [value]

    def _command(
        self, tokens: list[tuple[str, str]], dot: Value, scope: Scope, piped: list[Value]
    ) -> tuple[Value, list[tuple[str, str]]]:
        function: Callable[..., Value] | None = None
        arguments: list[Value] = []
        first = True
        while tokens and tokens[0][0] not in ("close", "pipe"):
            (kind, text), tokens = tokens[0], tokens[1:]
            if kind == "open":
                value, tokens = self._pipeline(tokens, dot, scope)
                if not tokens:
                    raise self._wrong("a parenthesis is not closed")
                tokens = tokens[1:]
                if tokens and tokens[0][0] == "path" and tokens[0][1].startswith("."):
                    # (index .A 0).B
                    value, tokens = _operand("path", tokens[0][1], value, scope), tokens[1:]
            elif kind == "name" and text in ("true", "false", "nil"):
                value = {"true": True, "false": False, "nil": None}[text]
            elif kind == "name":
                if not first or text not in _FUNCTIONS:
                    raise self._wrong(f'there is no function "{text}"')
                function, first = _FUNCTIONS[text], False
                continue
            else:
                value = _operand(kind, text, dot, scope)
            first = False
            arguments.append(value)
        arguments += piped
        if function is None and arguments and callable(arguments[0]):
            function, *arguments = arguments
        if function is None:
            if len(arguments) != 1:
                raise self._wrong("a value was called like a function")
            return arguments[0], tokens
        try:
            return function(*arguments), tokens
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            raise self._wrong(str(error)) from None


class _Object(dict[str, Value]):
    """Fields, which are what is printed of it, and methods."""

    def __init__(self, fields: Mapping[str, Value], methods: Mapping[str, Callable[..., Value]]):
        super().__init__(fields)
        self.methods = methods

    def get(self, name: str, default: Value = None) -> Value:
        if name in self:
            return self[name]
        if name in self.methods:
            return self.methods[name]
        from stackctl.spec.mistakes import did_you_mean

        raise UsageError(f"--format: there is no field .{name}", hint=did_you_mean(name, self))


def _tokens(source: str) -> Iterator[Text | Action]:
    at, trim = 0, False
    for tag in _TAG.finditer(source):
        text = source[at : tag.start()]
        text = text.lstrip() if trim else text
        yield Text(text.rstrip() if tag[1] else text)
        yield Action(" ".join(tag[2].split()) if '"' not in tag[2] else tag[2].strip())
        at, trim = tag.end(), bool(tag[3])
    rest = source[at:]
    if "{{" in rest:
        raise UsageError(f'--format "{source}": an action is not closed')
    yield Text(rest.lstrip() if trim else rest)


def _operand(kind: str, text: str, dot: Value, scope: Scope) -> Value:
    match kind:
        case "string":
            return text[1:-1] if text[0] == "`" else json.loads(text)
        case "number":
            return float(text) if "." in text else int(text)
    start, _, path = text.partition(".")
    value = scope.get(start) if start else dot
    for name in filter(None, path.split(".")):
        value = value.get(name, NO_VALUE) if isinstance(value, Mapping) else NO_VALUE
    return value


def _bound(variables: list[str], key: Value, item: Value) -> Scope:
    if len(variables) == 2:
        return {variables[0]: key, variables[1]: item}
    return {variables[0]: item} if variables else {}


def _shown(value: Value) -> str:
    """As Go prints a value."""
    match value:
        case True | False:
            return str(value).lower()
        case None:
            return "<nil>"
        case Mapping():
            inner = " ".join(f"{k}:{_shown(v)}" for k, v in sorted(value.items()))
            return f"map[{inner}]"
        case list() | tuple():
            return f"[{' '.join(map(_shown, value))}]"
    return str(value)


def _json(value: Value) -> str:
    value = None if value is NO_VALUE else value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _index(value: Value, *keys: Value) -> Value:
    for key in keys:
        if isinstance(value, Mapping):
            value = value.get(key, "")
        elif value is None or value is NO_VALUE:
            return NO_VALUE
        else:
            value = value[int(key)]
    return value


def _printf(format: str, *values: Value) -> str:
    return re.sub("%[vsd]", "%s", format) % tuple(map(_shown, values))


_FUNCTIONS: Mapping[str, Callable[..., Value]] = {
    "json": _json,
    "index": _index,
    "join": lambda values, separator: separator.join(map(_shown, values or ())),
    "split": lambda text, separator: text.split(separator),
    "upper": lambda text: _shown(text).upper(),
    "lower": lambda text: _shown(text).lower(),
    "title": lambda text: _shown(text).title(),
    "truncate": lambda text, size: _shown(text)[:size],
    "len": len,
    "print": lambda *values: "".join(map(_shown, values)),
    "println": lambda *values: " ".join(map(_shown, values)) + "\n",
    "printf": _printf,
    "eq": lambda one, *others: one in others,
    "ne": lambda one, other: one != other,
    "lt": lambda one, other: one < other,
    "gt": lambda one, other: one > other,
    "le": lambda one, other: one <= other,
    "ge": lambda one, other: one >= other,
    "and": lambda *values: next((v for v in values if not v), values[-1]),
    "or": lambda *values: next((v for v in values if v), values[-1]),
    "not": lambda value: not value,
}
