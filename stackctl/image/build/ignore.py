"""Patterns of .dockerignore and `COPY --exclude`, and globs of COPY, as moby reads them.

    *.log       in this directory only        **/*.log   in any
    docs        it and all that is below      !docs/a    but not this (the last match counts)

Pure. Paths are relative, with slashes and without "./".
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence

from stackctl.values import dataclass


class PatternError(ValueError):
    """A pattern that cannot be read."""


@dataclass(frozen=True, slots=True)
class _Pattern:
    regex: re.Pattern[str]
    again: bool
    #: Components before the first that is not literal: what may lie below an excluded directory.
    text: str


class Ignore:
    """An ordered list of patterns."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        """Raises PatternError."""
        self._patterns: list[_Pattern] = []
        for raw in patterns:
            text = raw.strip()
            again = text.startswith("!")
            text = text[again:].strip()
            if not text:
                if again:
                    raise PatternError('"!" is followed by nothing')
                continue
            text = posixpath.normpath(text).lstrip("/")
            if text not in ("", "."):
                self._patterns.append(_Pattern(_regex(text), again, text))
        #: Something below what is ignored may count again.
        self.comes_back = any(p.again for p in self._patterns)

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def hides(self, path: str) -> bool:
        """Whether `path`, or a directory above it, is ignored."""
        parts = path.split("/")
        above = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
        hidden = False
        for pattern in self._patterns:
            if pattern.again is hidden and any(pattern.regex.fullmatch(p) for p in above):
                hidden = not pattern.again
        return hidden

    def hides_all_below(self, path: str) -> bool:
        """Whether nothing below an ignored directory can come back: it need not be read."""
        return not self.comes_back


def read(content: bytes) -> tuple[str, ...]:
    """The patterns of a .dockerignore file; "#" begins a comment at a line's beginning."""
    text = content.decode("utf-8-sig", "surrogateescape")
    lines = (line.strip() for line in text.splitlines() if not line.startswith("#"))
    return tuple(line for line in lines if line)


def _regex(pattern: str) -> re.Pattern[str]:
    parts, at = [], 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            if pattern[at : at + 1] != "*":
                parts.append("[^/]*")
                continue
            while pattern[at : at + 1] == "*":
                at += 1
            at += pattern[at : at + 1] == "/"
            parts.append("(?:.*/)?" if at < len(pattern) else ".*")
        elif char == "?":
            parts.append("[^/]")
        elif char == "[":
            at = _class(pattern, at, parts)
        else:
            if char == "\\":
                if at == len(pattern):
                    raise PatternError(f"{pattern!r} ends in a backslash")
                char = pattern[at]
                at += 1
            parts.append(re.escape(char))
    return re.compile("".join(parts), re.DOTALL)


def _class(pattern: str, at: int, parts: list[str]) -> int:
    """[a-z], [^a-z]; gives where it ends."""
    negated = pattern[at : at + 1] == "^"
    at += negated
    ranges: list[str] = []
    while pattern[at : at + 1] != "]" or not ranges:
        low, at = _class_char(pattern, at)
        high = low
        if pattern[at : at + 1] == "-":
            high, at = _class_char(pattern, at + 1)
        if low > high:
            raise PatternError(f"{pattern!r}: the range {low}-{high} is empty")
        ranges.append(f"{re.escape(low)}-{re.escape(high)}")
    parts.append(f"(?!/)[{'^' * negated}{''.join(ranges)}]")
    return at + 1


def _class_char(pattern: str, at: int) -> tuple[str, int]:
    char = pattern[at : at + 1]
    if char == "\\":
        at += 1
        char = pattern[at : at + 1]
    elif char in ("]", "-"):
        char = ""
    if not char:
        raise PatternError(f"{pattern!r}: a bracket is not closed")
    return char, at + 1


def glob(pattern: str) -> re.Pattern[str] | None:
    """One component of a COPY source as Go's filepath.Match; None when it is literal.

    Raises PatternError.
    """
    if not set(pattern) & set("*?[\\"):
        return None
    return _regex(re.sub(r"\*+", "*", pattern))


def unescaped(component: str) -> str:
    """A component without special characters but with backslashes."""
    return re.sub(r"\\(.)", r"\1", component)


def join(parts: Sequence[str]) -> str:
    return "/".join(part for part in parts if part)
