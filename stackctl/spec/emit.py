"""Plain data -> YAML text, by hand: PyYAML's emitter takes ten times as long on a large stack."""

from __future__ import annotations

import re
from typing import Any

from stackctl.spec.yaml import resolve

# Words that older readers take for booleans, though ours does not.
_LEGACY = frozenset(("y", "n", "yes", "no", "on", "off"))
_UNQUOTED = re.compile(r"[A-Za-z_/](?:[A-Za-z0-9_/.,@%+=~^$(){}\[\]|*?!&;<>'\"` -]|:(?=\S))*\Z")


def emit(document: Any) -> str:
    """Dicts, lists and scalars as YAML text that `compose` reads back to the same values."""
    lines: list[str] = []
    _emit(document, "", lines)
    return "\n".join(lines) + "\n"


def _emit(value: Any, indent: str, lines: list[str]) -> None:
    """The block form of a collection that is not empty, or a scalar on a line of its own."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            _emit_item(f"{indent}{_text(str(key), indent, block=False)}:", item, indent, lines)
    elif isinstance(value, list | tuple) and value:
        for item in value:
            if isinstance(item, dict) and item:
                start = len(lines)
                _emit(item, f"{indent}  ", lines)
                lines[start] = f"{indent}- {lines[start].lstrip()}"
            else:
                _emit_item(f"{indent}-", item, indent, lines)
    else:
        lines.append(f"{indent}{_flat(value, indent)}")


def _emit_item(head: str, item: Any, indent: str, lines: list[str]) -> None:
    if isinstance(item, dict | list | tuple) and item:
        lines.append(head)
        _emit(item, f"{indent}  ", lines)
    else:
        lines.append(f"{head} {_flat(item, indent)}")


def _flat(value: Any, indent: str) -> str:
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
            return _text(str(value), indent, block=True)


def _text(text: str, indent: str, *, block: bool) -> str:
    if _UNQUOTED.match(text) and text[-1] != " " and text.lower() not in _LEGACY:
        return text if isinstance(resolve(text), str) else f'"{text}"'
    if block and _fits_block(text):
        chomp = "" if text.endswith("\n") else "-"
        body = "".join(f"\n{indent}  {line}" if line else "\n" for line in text.splitlines())
        return f"|{chomp}{body}"
    return '"' + "".join(map(_quoted_character, text)) + '"'


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
