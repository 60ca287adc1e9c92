"""A command's text as words, as compose splits it.

That is not quite as a shell does, nor as shlex: a backslash is gone within double quotes as well,
and makes a line's end of an n, a tab of a t; what is in backquotes or `$(...)` is part of one word
and stays as it is; the command ends before an operator: no shell would carry that out.
"""

from __future__ import annotations

_OPERATORS = frozenset(";&|<>")
_ESCAPES = {"n": "\n", "t": "\t"}


def split(text: str) -> tuple[list[str], str]:
    """The words, and what stands from the first operator on. ValueError: a quote is open."""
    words: list[str] = []
    word, begun, escaped = "", False, False
    # What ends a quotation; "" outside.
    end = ""
    rest = ""
    for at, character in enumerate(text):
        if escaped:
            escaped = False
            word += "\\" + character if end in ("`", ")") else _ESCAPES.get(character, character)
            begun = True
        elif character == "\\" and end != "'":
            escaped = True
        elif end:
            begun = True
            if character != end:
                word += character
                continue
            if end in ("`", ")"):
                word += character
            end = ""
        elif character in " \t\r\n":
            if begun:
                words.append(word)
            word, begun = "", False
        elif character in ("'", '"'):
            end = character
        elif character in _OPERATORS:
            rest = text[at:]
            if character == ">" and word.isdecimal():
                # The number of what is redirected.
                word, begun, rest = "", False, text[at - len(word) :]
            break
        else:
            if character == "`":
                end = "`"
            elif character == "(" and word.endswith("$"):
                end = ")"
            word += character
            begun = True
    if begun:
        words.append(word)
    if escaped:
        raise ValueError("no escaped character")
    if end:
        raise ValueError("no closing " + (end if end in ("`", ")") else "quotation"))
    return words, rest
