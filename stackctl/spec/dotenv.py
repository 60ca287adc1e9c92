"""Environment files as compose reads them: `.env` and a service's `env_file`.

    [export ]KEY=VALUE    KEY: VALUE    KEY (inherits)    # comment

Single quotes keep text as it is, double quotes interpolate and know escapes,
both may span lines; without quotes the value ends at the line's end or at
` #`, and is interpolated. Later definitions see earlier ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from stackctl.errors import Place, StackFileError, StackFileErrors
from stackctl.spec.interpolate import Lookup, TemplateError, substitute
from stackctl.spec.nodes import Mark

#: Is told the name of a variable that is not set, and where that is.
Unset = Callable[[str, Mark], None]

# \r belongs to the line end; the others are Go's idea of a space that is not one.
_SPACE = " \t\v\f\r\x85\xa0"
# A variable that holds others, which hold others: doubling must end.
_MAX_LENGTH = 4 * 1024 * 1024
#: Nobody reads more mistakes than these.
_MOST = 20
_ESCAPE = r"\\(?:[abfnrtv$\"\\]|0[0-7]{0,3})"
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def parse(text: str, file: str, lookup: Lookup, unset: Unset | None = None) -> dict[str, str]:
    """Variables of an environment file, in order. `lookup` is asked before the file itself.

    Raises StackFileError with the line, StackFileErrors for several mistakes.
    """
    _without_null(text, file)
    return _Reader(text.removeprefix("\ufeff").replace("\r\n", "\n"), file, lookup, unset).read()


def parse_raw(text: str, file: str, lookup: Lookup) -> dict[str, str]:
    """`format: raw`: KEY=VALUE lines taken literally, as `docker run --env-file` does."""
    _without_null(text, file)
    found: dict[str, str] = {}
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        stripped = line.removesuffix("\r").lstrip()
        if not stripped or stripped.startswith("#"):
            continue
        key, equals, value = stripped.partition("=")
        if not key or any(c.isspace() for c in key):
            raise StackFileError(
                f'"{key[:40]}" is not a variable name', place=Place(file, number, 1)
            )
        if equals:
            found[key] = value
        elif (inherited := lookup(key)) is not None:
            found[key] = inherited
    return found


def _without_null(text: str, file: str) -> None:
    """No process could have such a variable."""
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise StackFileError("the file holds a NUL byte", place=Place(file, line, 1))


class _Reader:
    def __init__(self, text: str, file: str, lookup: Lookup, unset: Unset | None) -> None:
        self._text = text
        self._file = file
        self._lookup = lookup
        self._unset = unset
        self._found: dict[str, str] = {}
        self._at = 0
        self._spent = 0
        #: An offset, and its line: what comes later need not be counted from the beginning.
        self._counted = (0, 1)

    def read(self) -> dict[str, str]:
        mistakes: list[StackFileError] = []
        while self._skip_to_statement():
            start = self._at
            try:
                self._statement()
            except StackFileError as error:
                mistakes.append(error)
                if self._spent > _MAX_LENGTH or len(mistakes) >= _MOST:
                    break
                # The next line is another statement, whatever this one was.
                if self._at == start or self._text[self._at - 1] != "\n":
                    self._at = self._line_end()
        if len(mistakes) > 1:
            raise StackFileErrors(tuple(mistakes))
        if mistakes:
            raise mistakes[0]
        return self._found

    def _skip_to_statement(self) -> bool:
        text = self._text
        while self._at < len(text):
            if text[self._at].isspace():
                self._at += 1
            elif text[self._at] == "#":
                self._at = self._line_end()
            else:
                return True
        return False

    def _line_end(self) -> int:
        end = self._text.find("\n", self._at)
        return len(self._text) if end < 0 else end

    def _statement(self) -> None:
        text = self._text
        if text.startswith("export", self._at) and text[self._at + 6 : self._at + 7] in " \t":
            self._at += 6
            while self._at < len(text) and text[self._at] in _SPACE:
                self._at += 1
        start = self._at
        key, separator = self._key()
        if separator == "\n":
            inherited = self._lookup(key)
            if inherited is not None:
                self._found[key] = inherited
            return
        while self._at < len(text) and text[self._at] in _SPACE:
            self._at += 1
        value = self._value(start)
        self._spent += len(value)
        if self._spent > _MAX_LENGTH:
            raise self._fail("the variables are too long altogether", start)
        self._found[key] = value

    def _key(self) -> tuple[str, str]:
        text, start = self._text, self._at
        while self._at < len(text):
            char = text[self._at]
            self._at += 1
            if char in "=:\n":
                break
            if char not in _SPACE and char not in "_.-[]" and not char.isalnum():
                raise self._fail(
                    f'unexpected "{char}" in a variable name', self._at - 1, "KEY=VALUE is expected"
                )
        else:
            char = "\n"
        end = self._at - 1 if char != "\n" or text[self._at - 1 : self._at] == "\n" else self._at
        key = text[start:end].rstrip()
        if not key:
            raise self._fail("a variable has no name", start)
        if any(c in _SPACE for c in key):
            raise self._fail(f'the name "{key[:40]}" holds a space', start, "KEY=VALUE is expected")
        return key, char

    def _value(self, statement: int) -> str:
        quote = self._text[self._at : self._at + 1]
        if quote not in ("'", '"'):
            end = self._line_end()
            value = self._text[self._at : end].split(" #")[0].rstrip()
            self._at = end
            return self._expand(value, statement)
        value = self._quoted(quote)
        if quote == "'":
            return value
        plain = re.sub(_ESCAPE, _escape, value)
        if "\0" in plain:
            raise self._fail("a variable cannot have a NUL character", statement)
        return self._expand(plain, statement)

    def _quoted(self, quote: str) -> str:
        """Up to the closing quote; a backslash keeps the quote, and stays before all else."""
        text, start = self._text, self._at
        end = re.compile(rf"[^{quote}\\]*(?:\\.[^{quote}\\]*)*{quote}", re.DOTALL).match(
            text, start + 1
        )
        if end is None:
            self._at = len(text)  # all that follows may be part of it
            raise self._fail("a quoted value is never closed", start, f"add the missing {quote}")
        self._at = end.end()
        rest = text[self._at : self._line_end()].strip()
        if rest and not rest.startswith("#"):
            raise self._fail("text follows the closing quote", self._at)
        return text[start + 1 : end.end() - 1].replace("\\" + quote, quote)

    def _expand(self, value: str, statement: int) -> str:
        def unset(name: str) -> None:
            if self._unset is not None:
                self._unset(name, self._mark(statement))

        try:
            return substitute(value, self._variable, unset)
        except TemplateError as error:
            raise self._fail(error.brief, statement, error.hint) from None

    def _variable(self, name: str) -> str | None:
        known = self._lookup(name)
        return self._found.get(name) if known is None else known

    def _mark(self, offset: int) -> Mark:
        before, line = self._counted if self._counted[0] <= offset else (0, 1)
        line += self._text.count("\n", before, offset)
        self._counted = (offset, line)
        return self._file, line, offset - self._text.rfind("\n", 0, offset)

    def _fail(self, brief: str, offset: int, hint: str = "") -> StackFileError:
        return StackFileError(brief, place=Place(*self._mark(offset)), hint=hint)


def _escape(found: re.Match[str]) -> str:
    code = found[0][1:]
    if code == "$":
        # Interpolation reads $$ as a literal $.
        return "$$"
    if code[0] == "0":
        return chr(int(code, 8) & 0xFF)
    return _ESCAPES.get(code, code)
