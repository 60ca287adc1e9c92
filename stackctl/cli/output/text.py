"""Small pure functions from values to words: durations, cut lines, short ids."""

from __future__ import annotations

import unicodedata


def seconds(value: float) -> str:
    """A duration as people read it: 0.03 s, 0.4 s, 12.3 s, 2 m 05 s, 1 h 02 m."""
    if value < 0.095:
        return f"{max(value, 0):.2f} s"
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} m {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} m"


def display_width(text: str) -> int:
    """Columns that a terminal gives the text (no escape sequences in it)."""
    if text.isascii():
        return len(text)
    return sum(_columns(c) for c in text)


def cut(text: str, width: int, ellipsis: str = "…") -> str:
    """At most `width` columns of the text, marked with an ellipsis when something is lost."""
    if width <= 0:
        return ""
    if display_width(text) <= width:
        return text
    room = width - len(ellipsis)
    if room < 0:
        return text[:width]
    kept = []
    for char in text:
        room -= _columns(char)
        if room < 0:
            break
        kept.append(char)
    return "".join(kept) + ellipsis


def pad(text: str, width: int) -> str:
    """The text with blanks up to `width` columns."""
    return text + " " * (width - display_width(text))


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def short_id(identifier: str) -> str:
    """Docker's twelve digits."""
    return identifier.removeprefix("sha256:")[:12]


def replica_name(container: str, service: str, project: str = "") -> str:
    """`db-1` for the container `shop-db-1` of service db; other names keep their own.

    A one-off (`shop-db-run-1a2b3c4d`) loses only the project's prefix.
    """
    for joint in "-_":
        _, found, number = f"{joint}{container}".rpartition(f"{joint}{service}{joint}")
        if service and found and number.isdecimal():
            return f"{service}{joint}{number}"
    if project:
        container = container.removeprefix(f"{project}-").removeprefix(f"{project}_")
    return container or service


def one_line(text: str) -> str:
    """The text without control characters, for places where a line must stay one line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " for c in text)


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
