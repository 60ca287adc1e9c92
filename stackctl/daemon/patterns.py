"""Regular expressions of clients', searched in time that only grows with pattern and text.

Python's `re` tries one way after another: `(a+)+$` on forty letters never ends, and the engine
with it. Here all ways are followed at once (Thompson's construction), as Go's regexp does that
Docker has. `re` is asked about single characters only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from stackctl.errors import UsageError

#: Steps of a whole search: what a request may cost the others.
BUDGET = 500_000
_MOST_REPEATS, _MOST_NODES = 1000, 2000
_POSIX = {
    "alpha": "a-zA-Z",
    "digit": "0-9",
    "alnum": "a-zA-Z0-9",
    "lower": "a-z",
    "upper": "A-Z",
    "space": r"\s",
    "word": r"\w",
    "xdigit": "0-9a-fA-F",
    "punct": r"!-/:-@\[-`{-~",
}

#: Whether a character is meant; of (text, place), whether the place is.
_Test = Callable[[str], object]
_At = Callable[[str, int], bool]
#: A piece of a pattern: a word, and what belongs to it.
_Tree = tuple[str, Any]
#: ("char", test), ("at", place's test), ("split", nodes), ("end", None); the next node's number.
_Node = tuple[str, Any, int]


class TooLong(UsageError):
    """It would take longer than one request may."""


class Pattern:
    """One expression. ValueError for what is none."""

    def __init__(self, text: str) -> None:
        self._nodes: list[_Node] = [("end", None, 0)]
        tree = _Parser(text).whole()
        self._start = self._build(tree, 0)
        self._left = BUDGET

    def found_in(self, text: str) -> bool:
        """Somewhere in the text. TooLong, counted over all texts."""
        active: set[int] = set()
        for place in range(len(text) + 1):
            active.add(self._start)
            ready = self._closure(active, text, place)
            if 0 in ready:
                return True
            if place == len(text):
                break
            char = text[place]
            active = set()
            for number in ready:
                _, test, following = self._nodes[number]
                if test(char):
                    active.add(following)
        return False

    def _closure(self, numbers: set[int], text: str, place: int) -> set[int]:
        """All nodes that want a character (or the end) and can be reached without one."""
        pending, seen, ready = list(numbers), set(numbers), set()
        while pending:
            number = pending.pop()
            self._left -= 1
            kind, what, following = self._nodes[number]
            ways: tuple[int, ...] = ()
            if kind == "split":
                ways = what
            elif kind == "at":
                ways = (following,) if what(text, place) else ()
            else:
                ready.add(number)
            for way in ways:
                if way not in seen:
                    seen.add(way)
                    pending.append(way)
        if self._left < 0:
            raise TooLong("the pattern of this filter takes too long: use a simpler one")
        return ready

    # -- the graph, from its end to its beginning

    def _add(self, kind: str, what: object, following: int = 0) -> int:
        if len(self._nodes) >= _MOST_NODES:
            raise ValueError("the expression is too large")
        self._nodes.append((kind, what, following))
        return len(self._nodes) - 1

    def _build(self, tree: _Tree, following: int) -> int:
        """The number of its first node."""
        kind, what = tree
        match what:
            case list() if kind == "all":
                for part in reversed(what):
                    following = self._build(part, following)
                return following
            case list():
                return self._add("split", tuple(self._build(part, following) for part in what))
            case (inner, int() as least, most):
                return self._repeat(inner, least, most, following)
            case _:
                return self._add(kind, what, following)

    def _repeat(self, inner: _Tree, least: int, most: int | None, following: int) -> int:
        end = following
        if most is None:
            loop = self._add("split", ())
            self._nodes[loop] = ("split", (self._build(inner, loop), following), 0)
            following = loop
        else:
            for _ in range(most - least):
                following = self._add("split", (self._build(inner, following), end))
        for _ in range(least):
            following = self._build(inner, following)
        return following


class _Parser:
    """Go's syntax: what is usual, groups with a name, flags. Recursion is as deep as groups."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._flags = ""

    def whole(self) -> _Tree:
        tree = self._choice()
        if self._at < len(self._text):
            raise ValueError("unexpected )")
        return tree

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        char = self._peek()
        if not char:
            raise ValueError("the expression ends too early")
        self._at += 1
        return char

    def _choice(self) -> _Tree:
        self._depth += 1
        if self._depth > 50:
            raise ValueError("groups in groups in groups")
        ways = [("all", list(self._sequence()))]
        while self._peek() == "|":
            self._at += 1
            ways.append(("all", list(self._sequence())))
        self._depth -= 1
        return ("any", ways) if len(ways) > 1 else ways[0]

    def _sequence(self) -> Iterator[_Tree]:
        while self._peek() not in ("", "|", ")"):
            piece = self._piece()
            if (bounds := self._bounds()) is not None:
                piece = ("repeat", (piece, *bounds))
                if self._bounds() is not None:
                    raise ValueError("a repetition of a repetition")
            yield piece

    def _bounds(self) -> tuple[int, int | None] | None:
        known: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        if found := re.compile(r"\{(\d{1,4})(?:(,)(\d{0,4}))?\}").match(self._text, self._at):
            self._at = found.end()
            least = int(found[1])
            most = least if not found[2] else int(found[3]) if found[3] else None
            if max(least, most or 0) > _MOST_REPEATS or (most is not None and most < least):
                raise ValueError("bad repetition")
            bounds = (least, most)
        elif self._peek() in known and self._peek():
            bounds = known[self._take()]
        else:
            return None
        if self._peek() == "?":
            self._at += 1  # lazy: the same, where only "found" counts
        return bounds

    def _piece(self) -> _Tree:
        char = self._take()
        match char:
            case "(":
                return self._group()
            case "[":
                return ("char", self._one(self._class()))
            case "^":
                return ("at", _line_begin if "m" in self._flags else _text_begin)
            case "$":
                return ("at", _line_end if "m" in self._flags else _text_end)
            case "\\":
                return self._escape()
            case "*" | "+" | "?":
                raise ValueError("nothing to repeat")
            case ".":
                return ("char", self._one("."))
            case _:
                return ("char", self._one(re.escape(char)))

    def _group(self) -> _Tree:
        kept = self._flags
        if found := re.compile(r"\?P?<\w+>|\?:").match(self._text, self._at):
            self._at = found.end()
        elif found := re.compile(r"\?([imsU]*)(?:-([imsU]+))?([:)])").match(self._text, self._at):
            self._at = found.end()
            gone = found[2] or ""
            self._flags = "".join(f for f in kept + found[1] if f not in gone)
            if found[3] == ")":
                return ("all", [])
        elif self._peek() == "?":
            raise ValueError("an unknown group")
        tree = self._choice()
        self._flags = kept
        if self._take() != ")":
            raise ValueError("missing )")
        return tree

    def _class(self) -> str:
        found = ["["]
        if self._peek() == "^":
            found.append(self._take())
        first = True
        while (char := self._take()) != "]" or first:
            first = False
            if named := re.compile(r"\[:(\w+):\]").match(self._text, self._at - 1):
                self._at = named.end()
                found.append(_POSIX[named[1]] if named[1] in _POSIX else self._unknown())
            elif char == "\\":
                found.append(char + self._take())
            else:
                found.append(char if char not in "[]&|~" else f"\\{char}")
        return "".join(found) + "]"

    def _escape(self) -> _Tree:
        char = self._take()
        places: dict[str, _At] = {"A": _text_begin, "z": _text_end, "b": _border, "B": _no_border}
        if char in places:
            return ("at", places[char])
        if char.isalnum() and char not in "dDsSwWnrtfv":
            self._unknown()
        return ("char", self._one(f"\\{char}"))

    def _unknown(self) -> str:
        raise ValueError("an unknown escape or class")

    def _one(self, text: str) -> _Test:
        flags = re.IGNORECASE if "i" in self._flags else 0
        flags |= re.DOTALL if "s" in self._flags else 0
        try:
            return re.compile(text, flags).match
        except (re.error, OverflowError) as error:
            raise ValueError(str(error)) from None


def _text_begin(text: str, place: int) -> bool:
    return place == 0


def _text_end(text: str, place: int) -> bool:
    return place == len(text)


def _line_begin(text: str, place: int) -> bool:
    return place == 0 or text[place - 1] == "\n"


def _line_end(text: str, place: int) -> bool:
    return place == len(text) or text[place] == "\n"


def _border(text: str, place: int) -> bool:
    def is_word(at: int) -> bool:
        return 0 <= at < len(text) and (text[at].isalnum() or text[at] == "_")

    return is_word(place - 1) != is_word(place)


def _no_border(text: str, place: int) -> bool:
    return not _border(text, place)
