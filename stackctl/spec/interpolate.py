"""Variables in a stack file's values: $V ${V} ${V:-d} ${V-d} ${V:?e} ${V?e} ${V:+r} ${V+r} $$.

Keys are never touched. The first operator after the name counts, words nest,
and a word that is not used is checked but not evaluated. `}` ends the innermost
`${`; a lone `{` does not open anything, and a `$` before anything else stays one, as in
`$(date)` and `^x$` (as compose reads it).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable

from stackctl.spec.mistakes import Mistakes
from stackctl.spec.nodes import Mark, Node, Scalar, Sequence

#: The value of a variable, None when it is not set.
Lookup = Callable[[str], str | None]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-?+]")
#: Where a text within braces, and one that is in none, goes on in another way.
_INSIDE, _OUTSIDE = re.compile("[$}]"), re.compile("[$]")
_MAX_NESTING = 50
# Variables whose values hold large texts, used again and again, must not grow without bound.
_MAX_LENGTH = 1024 * 1024


class TemplateError(ValueError):
    """A template that cannot be read, or a required variable that is missing."""

    def __init__(self, brief: str, hint: str = "") -> None:
        super().__init__(brief)
        self.brief = brief
        self.hint = hint


def substitute(template: str, lookup: Lookup, unset: Callable[[str], None] | None = None) -> str:
    """`template` with its variables replaced; `unset` is told of each that is not set.

    Raises TemplateError.
    """
    if "$" not in template:
        return template
    text, _ = _Reader(template, lookup, unset or (lambda name: None)).read(0, 0, True)
    return text


class _Reader:
    def __init__(self, template: str, lookup: Lookup, unset: Callable[[str], None]) -> None:
        self._text = template
        self._lookup = lookup
        self._unset = unset

    def read(self, at: int, depth: int, live: bool) -> tuple[str, int]:
        """Up to the closing brace (depth > 0) or the end; gives the text and where it stopped."""
        text = self._text
        parts: list[str] = []
        length = 0
        stops = _INSIDE if depth else _OUTSIDE
        while at < len(text):
            found = stops.search(text, at)
            end = found.start() if found else len(text)
            parts.append(text[at:end])
            if end == len(text) or text[end] == "}":
                at = end
                break
            part, at = self._variable(end, depth, live)
            length += len(part)
            if length > _MAX_LENGTH:
                raise TemplateError("the interpolated text is too long")
            parts.append(part)
        return "".join(parts), at

    def _variable(self, at: int, depth: int, live: bool) -> tuple[str, int]:
        text = self._text
        follows = text[at + 1 : at + 2]
        if follows == "$":
            return "$", at + 2
        if follows == "{":
            return self._braced(at, depth, live)
        name = _NAME.match(text, at + 1)
        if name is None:
            return "$", at + 1
        return (self._value(name[0]) if live else ""), name.end()

    def _braced(self, at: int, depth: int, live: bool) -> tuple[str, int]:
        text = self._text
        if depth >= _MAX_NESTING:
            raise TemplateError(f"variables nested deeper than {_MAX_NESTING} levels")
        found = _NAME.match(text, at + 2)
        if found is None:
            raise self._invalid(at)
        name, end = found[0], found.end()
        if text[end : end + 1] == "}":
            return (self._value(name) if live else ""), end + 1
        operator = _OPERATOR.match(text, end)
        if operator is None:
            raise self._invalid(at)
        value = self._lookup(name) if live else None
        present = value is not None and (operator[0][0] != ":" or value != "")
        wants_word = live and (present if operator[0][-1] == "+" else not present)
        word, closing = self.read(operator.end(), depth + 1, wants_word)
        if text[closing : closing + 1] != "}":
            raise TemplateError(f'"{_excerpt(text, at)}" is never closed', "add the missing }")
        if not live:
            return "", closing + 1
        match operator[0][-1]:
            case "?" if not present:
                reason = word or ("empty" if value == "" else "not set")
                raise TemplateError(
                    f'the required variable "{name}" is missing a value: {reason}',
                    f"set {name} in the environment or in .env",
                )
            case "+":
                return word if present else "", closing + 1
            case _:
                return (value or "") if present else word, closing + 1

    def _value(self, name: str) -> str:
        value = self._lookup(name)
        if value is None:
            self._unset(name)
            return ""
        return value

    def _invalid(self, at: int) -> TemplateError:
        return TemplateError(
            f'"{_excerpt(self._text, at)}" is not a variable',
            "a literal $ is written $$",
        )


def _excerpt(text: str, at: int) -> str:
    piece = text[at : at + 30].split("\n")[0]
    return piece + ("..." if len(text) > at + 30 else "")


class Interpolation:
    """One load's variables: reports each unset one once, at its first use."""

    def __init__(self, lookup: Lookup, mistakes: Mistakes, *, told: set[str] | None = None) -> None:
        self._lookup = lookup
        self._mistakes = mistakes
        #: Shared by the projects of one load.
        self._told: set[str] = set() if told is None else told

    def tree(self, node: Node) -> Node:
        """The tree with every value interpolated; branches without variables are shared."""
        return self._node(node, {})

    def _node(self, node: Node, done: dict[int, Node]) -> Node:
        if isinstance(node, Scalar):
            text = node.value
            return self._scalar(node, text) if isinstance(text, str) and "$" in text else node
        if not node.live:
            return node
        # An anchored branch is worked on once, and stays shared.
        if (known := done.get(id(node))) is not None:
            return known
        found: Node = node
        if isinstance(node, Sequence):
            items = [self._node(item, done) for item in node.items]
            if any(map(operator.is_not, items, node.items)):
                found = node.with_items(items)
        else:
            changed: dict[str, Node] = {}
            for key, value in node.entries.items():
                if isinstance(value, Scalar) or value.live:
                    new = self._node(value, done)
                    if new is not value:
                        changed[key] = new
            found = node.updated(changed)
        done[id(node)] = found
        return found

    def _scalar(self, node: Scalar, template: str) -> Node:
        try:
            text = substitute(template, self._lookup, lambda name: self._warn(name, node.mark))
        except TemplateError as error:
            self._mistakes.add(error.brief, node.mark, hint=error.hint)
            text = template
        if "\0" in text:
            # The files themselves hold none (see yaml): a variable does.
            self._mistakes.add("a text cannot have a NUL character (\\0)", node.mark)
        self._mistakes.spend(node.mark, text=len(text))
        return Scalar(text, node.mark, tag=node.tag)

    def _warn(self, name: str, mark: Mark) -> None:
        if name not in self._told:
            self._told.add(name)
            self._mistakes.warn(
                f'the variable "{name}" is not set: an empty string takes its place', mark
            )
