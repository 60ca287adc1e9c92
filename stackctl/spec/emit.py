"""Plain data -> YAML text, by hand: PyYAML's emitter takes ten times as long on a large stack."""

from __future__ import annotations

import re
from typing import Any

from stackctl.spec.yaml import resolve

# What other readers do not take for text, though ours does: words, sixtieths, dates.
_LEGACY = frozenset(("y", "n", "yes", "no", "on", "off", "="))
_LEGACY_NUMBER = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?\Z|\d{4}-\d\d?-\d\d?")
# Marks of YAML stand at a text's beginning, or before a space.
_UNQUOTED = re.compile(
    r"(?!---|\.\.\.|<<)(?:[A-Za-z0-9_/.+~$(^;<=\\]|[-?:](?=[^ ]))"
    r"(?:[A-Za-z0-9_/.,@%+=~^$(){}\[\]|*?!&;<>'\"`\\ -]|:(?=[^ ])|(?<=[^ ])#)*\Z"
)


def emit(document: Any) -> str:
    """Dicts, lists and scalars as YAML text that `compose` reads back to the same values."""
    lines: list[str] = []
    _Emitter(lines).block(document, "")
    return "\n".join(lines) + "\n"


class _Emitter:
    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        #: How a text is written that takes one line: services say the same again and again.
        self._known: dict[str, str] = {}

    def block(self, value: Any, indent: str) -> None:
        """The block form of a collection that is not empty, or a scalar on a line of its own."""
        known = self._known
        if isinstance(value, dict) and value:
            for key, item in value.items():
                name = known.get(key) or self._line(str(key))
                if isinstance(item, str) and (shown := known.get(item)):
                    self._lines.append(f"{indent}{name}: {shown}")
                else:
                    self._item(f"{indent}{name}:", item, indent)
        elif isinstance(value, list | tuple) and value:
            for item in value:
                if isinstance(item, str) and (shown := known.get(item)):
                    self._lines.append(f"{indent}- {shown}")
                elif isinstance(item, dict) and item:
                    start = len(self._lines)
                    self.block(item, f"{indent}  ")
                    self._lines[start] = f"{indent}- {self._lines[start].lstrip()}"
                else:
                    self._item(f"{indent}-", item, indent)
        else:
            self._lines.append(f"{indent}{self._flat(value, indent)}")

    def _item(self, head: str, item: Any, indent: str) -> None:
        if isinstance(item, dict | list | tuple) and item:
            self._lines.append(head)
            self.block(item, f"{indent}  ")
        else:
            self._lines.append(f"{head} {self._flat(item, indent)}")

    def _flat(self, value: Any, indent: str) -> str:
        if isinstance(value, str):
            return _literal(value, indent) if "\n" in value else self._line(value)
        return _other(value)

    def _line(self, text: str) -> str:
        shown = self._known.get(text)
        if shown is None:
            shown = _on_one_line(text)
            # As a value, a text of several lines is written as such.
            if "\n" not in text:
                self._known[text] = shown
        return shown


def _other(value: Any) -> str:
    """What is no text, nor a collection with something in it."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case float() if value != value:
            return ".nan"
        case float() if value in (float("inf"), float("-inf")):
            return ".inf" if value > 0 else "-.inf"
        case int() | float():
            return repr(value)
        case dict():
            return "{}"
        case list() | tuple():
            return "[]"
        case _:
            return _on_one_line(str(value))


def _on_one_line(text: str) -> str:
    if (
        _UNQUOTED.match(text)
        and text[-1] not in " :"
        and text.lower() not in _LEGACY
        and not _LEGACY_NUMBER.match(text)
        and isinstance(resolve(text), str)
    ):
        return text
    return '"' + "".join(map(_quoted_character, text)) + '"'


def _literal(text: str, indent: str) -> str:
    """Several lines, as a literal block where that keeps them as they are."""
    if not _fits_block(text):
        return _on_one_line(text)
    chomp = "" if text.endswith("\n") else "-"
    body = "".join(f"\n{indent}  {line}" if line else "\n" for line in text.splitlines())
    return f"|{chomp}{body}"


def _fits_block(text: str) -> bool:
    """Several printable lines, none of which a literal block would change."""
    lines = text.removesuffix("\n").split("\n")
    return (
        len(lines) > 1
        and bool(lines[0])
        and bool(lines[-1])
        and not lines[0][0].isspace()
        and all(line.isprintable() for line in lines)
    )


def _quoted_character(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return named.get(character) or f"\\U{ord(character):08x}"
