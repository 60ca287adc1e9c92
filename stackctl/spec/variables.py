"""Which variables a stack's files use, and what they do without them."""

from __future__ import annotations

import re

from stackctl.spec.nodes import Node, Scalar, walk
from stackctl.values import dataclass

_USE = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<plain>[A-Za-z_][A-Za-z0-9_]*)"
    r"|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<operator>:?[-?+])?)"
)

_MOST = 1000


@dataclass(frozen=True, slots=True)
class Variable:
    """`presence` is what stands there when it IS set (`+`)."""

    name: str
    required: bool = False
    default: str = ""
    presence: str = ""

    def row(self) -> dict[str, object]:
        """In docker compose's words."""
        return {
            "Name": self.name,
            "DefaultValue": self.default,
            "PresenceValue": self.presence,
            "Required": self.required,
        }


def used(root: Node) -> list[Variable]:
    """Every variable of a tree that was not filled in, by name; the most telling use of each."""
    found: dict[str, Variable] = {}
    for node in walk(root):
        if isinstance(node, Scalar) and isinstance(node.value, str) and "$" in node.value:
            for variable in _of_text(node.value):
                known = found.get(variable.name)
                found[variable.name] = _both(known, variable) if known else variable
    return [found[name] for name in sorted(found)]


def _of_text(text: str) -> list[Variable]:
    """Those that stand in other ones' words are found as well: the rest is searched again."""
    variables: list[Variable] = []
    todo = [text]
    while todo:
        piece = todo.pop()
        end = 0
        for use in _USE.finditer(piece):
            if use.start() < end:
                continue  # in another one's word
            name = use["plain"] or use["name"]
            if not name:
                continue
            operator, rest = use["operator"] or "", ""
            if operator:
                rest = _word(piece, use.end())
                end = use.end() + len(rest)
            # Deeper than files can be read, and each level is searched again.
            if "$" in rest and len(variables) < _MOST:
                todo.append(rest)
            variables.append(
                Variable(
                    name,
                    required=operator.endswith("?"),
                    default=rest if operator.endswith("-") else "",
                    presence=rest if operator.endswith("+") else "",
                )
            )
    return variables


def _word(text: str, at: int) -> str:
    """What stands before the brace that ends a variable, others' braces included."""
    depth = 1
    for end in range(at, len(text)):
        if text[end] == "}":
            depth -= 1
        elif text.startswith("${", end):
            depth += 1
        if not depth:
            return text[at:end]
    return text[at:]


def _both(one: Variable, other: Variable) -> Variable:
    return Variable(
        one.name,
        one.required or other.required,
        one.default or other.default,
        one.presence or other.presence,
    )
