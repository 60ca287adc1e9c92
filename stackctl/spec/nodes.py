"""The tree a stack file becomes before it is a model: values that know where they stand.

Trees are never changed in place: anchors make them share branches. Every step
(interpolation, merging, canonical form) returns new nodes that keep the marks
of what they were made from, so that a mistake found at the end still points
into the user's file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stackctl.errors import Place

#: File, line, column; lines and columns count from 1.
Mark = tuple[str, int, int]
Value = str | int | float | bool | None
#: Keys and indices from the root of a tree.
Path = tuple[str | int, ...]

RESET = "!reset"
OVERRIDE = "!override"


class Scalar:
    """One value. `plain`: written without quotes, so that its type was resolved."""

    __slots__ = ("mark", "plain", "tag", "value")

    def __init__(self, value: Value, mark: Mark, plain: bool = False, *, tag: str = "") -> None:
        self.value = value
        self.mark = mark
        self.tag = tag
        self.plain = plain


class Sequence:
    """`live` and `tagged`: whether a text below may hold a `$`, whether a tag may stand here or
    below. True where nobody knows: steps that have nothing to do there pass such branches by."""

    __slots__ = ("items", "live", "mark", "tag", "tagged")

    def __init__(
        self,
        items: list[Node],
        mark: Mark,
        tag: str = "",
        live: bool = True,
        tagged: bool = True,
    ) -> None:
        self.items = items
        self.mark = mark
        self.tag = tag
        self.live = live
        self.tagged = tagged

    def with_items(self, items: list[Node]) -> Sequence:
        """With other items, that bring no tags of their own."""
        return Sequence(items, self.mark, tag=self.tag, tagged=self.tagged)


class Mapping:
    """`entries`: its values by key. `key_marks`: where the keys stand; it may know more keys than
    there are, since steps that leave some out share it. `live` and `tagged` as a Sequence has
    them."""

    __slots__ = ("entries", "key_marks", "live", "mark", "tag", "tagged")

    def __init__(
        self,
        entries: dict[str, Node],
        key_marks: dict[str, Mark],
        mark: Mark,
        tag: str = "",
        live: bool = True,
        tagged: bool = True,
    ) -> None:
        self.entries = entries
        self.key_marks = key_marks
        self.mark = mark
        self.tag = tag
        self.live = live
        self.tagged = tagged

    def get(self, key: str) -> Node | None:
        return self.entries.get(key)

    def with_entries(self, entries: dict[str, Node]) -> Mapping:
        """With other values of its keys, or of some of them, that bring no tags of their own."""
        return Mapping(entries, self.key_marks, self.mark, tag=self.tag, tagged=self.tagged)

    def updated(self, changed: dict[str, Node]) -> Mapping:
        """With other values of these keys of its; itself when there are none."""
        return self.with_entries({**self.entries, **changed}) if changed else self


Node = Scalar | Sequence | Mapping


def place(mark: Mark) -> Place:
    return Place(*mark)


def is_null(node: Node | None) -> bool:
    """Absent, or written as nothing (`key:`, `~`, `null`)."""
    return node is None or (isinstance(node, Scalar) and node.value is None)


def kind(node: Node) -> str:
    """What the user would call it."""
    match node:
        case Mapping():
            return "a mapping"
        case Sequence():
            return "a list"
        case Scalar(value=bool()):
            return "true or false"
        case Scalar(value=int() | float()):
            return "a number"
        case Scalar(value=None):
            return "nothing"
        case Scalar():
            return "text"


def plain(node: Node) -> Any:
    """The tree as dicts, lists and scalars."""
    if isinstance(node, Scalar):
        return node.value
    # Most of what lies in them are scalars, which need no call of their own.
    if isinstance(node, Sequence):
        return [v.value if isinstance(v, Scalar) else plain(v) for v in node.items]
    return {k: v.value if isinstance(v, Scalar) else plain(v) for k, v in node.entries.items()}


def size(node: Node) -> int:
    """How many values it is made of; what is shared counts as often as it is used."""
    if isinstance(node, Scalar):
        return 1
    inner = node.items if isinstance(node, Sequence) else node.entries.values()
    return 1 + sum(1 if isinstance(value, Scalar) else size(value) for value in inner)


def as_text(value: Value) -> str:
    """A scalar as compose writes it where text is wanted (environment, labels).

    Whole floats lose their point and large ones get an exponent, as Go's %v
    prints them: 1.0 becomes "1" and 1000000.0 becomes "1e+06".
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return _go_float(value) if isinstance(value, float) else str(value)


def _go_float(value: float) -> str:
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    if value == 0:
        return "-0" if str(value).startswith("-") else "0"
    # The shortest figures that mean this number, and the power of ten of the first one.
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    figures = (whole + fraction).lstrip("0")
    power = int(exponent or 0) + len(figures) - len(fraction) - 1
    digits = figures.rstrip("0")
    if -4 <= power < 6:
        return format(value, f".{max(len(digits) - 1 - power, 0)}f")
    sign = "-" if value < 0 else ""
    rest = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{rest}e{'-' if power < 0 else '+'}{abs(power):02d}"


def mark_at(root: Node, path: Path, *, key: bool = False) -> Mark:
    """The mark of the deepest node that `path` reaches; with `key`, of the last key itself."""
    node = root
    mark = root.mark
    for step in path:
        if isinstance(node, Mapping) and isinstance(step, str) and step in node.entries:
            mark = node.key_marks[step]
            node = node.entries[step]
            # Nothing after the key: its place is all there is to point at.
            if not (key or is_null(node)):
                mark = node.mark
        elif isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
            mark = node.mark
        else:
            break
    return mark


def walk(node: Node) -> Iterator[Node]:
    """Every node, parents first; shared branches are visited once each."""
    seen: set[int] = set()
    todo = [node]
    while todo:
        current = todo.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        match current:
            case Sequence():
                todo.extend(current.items)
            case Mapping():
                todo.extend(current.entries.values())
            case Scalar():
                pass
