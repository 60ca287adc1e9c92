"""Words of a Dockerfile: quotes, escapes and variables, as BuildKit's shell lexer reads them.

    $V  ${V}                     the value; "" when it is not set
    ${V:-w} ${V-w}               a default       (with the colon: also when V is empty)
    ${V:+w} ${V+w}               w when it is set
    ${V:?w} ${V?w}               an error when it is not
    ${V#p} ${V##p} ${V%p} ${V%%p} without a prefix or suffix, shortest or longest
    ${V/p/w} ${V//p/w}           replaced, once or everywhere

In patterns * and ? stand for anything and for one character; there are no
brackets. Single quotes keep everything, double quotes keep spaces. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*#?\-$!]")
_SPACE = " \t\n\v\f\r\x85\xa0"
_DEEPEST = 50
#: `ENV A=$A$A` forty times over must not fill the memory.
_LONGEST = 1024 * 1024
_LONGEST_MATCHED = 8192


class WordError(ValueError):
    """Words that cannot be read, or a variable that has to be set."""


def expand(text: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    """`text` as one word: quotes removed, variables replaced. Raises WordError."""
    return _Lexer(text, variables, escape).whole()[0]


def expand_words(text: str, variables: Mapping[str, str], escape: str = "\\") -> tuple[str, ...]:
    """`text` as words; what a variable holds is split as well unless it stands in quotes."""
    return _Lexer(text, variables, escape).whole()[1]


def expand_heredoc(text: str, variables: Mapping[str, str]) -> str:
    """A here-document's body: quotes are ordinary characters. Raises WordError."""
    return _Lexer(text, variables, "\\", quotes=False).whole()[0]


def unset_names(text: str, variables: Mapping[str, str], escape: str = "\\") -> tuple[str, ...]:
    """Variables that `text` uses, that are not set, and that it has no other word for."""
    lexer = _Lexer(text, variables, escape)
    lexer.whole()
    return tuple(dict.fromkeys(lexer.unset))


def raw_words(text: str) -> tuple[str, ...]:
    """Words as they are written, quotes and variables kept."""
    return _Lexer(text, {}, "\\", raw=True, keep_unset=True).whole()[1]


def plain_words(text: str) -> tuple[str, ...]:
    """Words with their quotes removed and variables kept."""
    return _Lexer(text, {}, "\\", keep_unset=True).whole()[1]


class _Words:
    """Collects words: a space outside quotes ends one."""

    def __init__(self) -> None:
        self._done: list[str] = []
        self._word: list[str] = []
        self._open = False

    def add(self, text: str, *, quoted: bool) -> None:
        if quoted:
            self._word.append(text)
            self._open = True
            return
        for piece in re.split(f"([{_SPACE}]+)", text):
            if piece and piece[0] in _SPACE:
                self._end()
            elif piece:
                self._word.append(piece)
                self._open = True

    def _end(self) -> None:
        if self._open:
            self._done.append("".join(self._word))
            self._word.clear()
            self._open = False

    def all(self) -> tuple[str, ...]:
        self._end()
        return tuple(self._done)


class _Lexer:
    def __init__(
        self,
        text: str,
        variables: Mapping[str, str],
        escape: str,
        *,
        raw: bool = False,
        keep_unset: bool = False,
        quotes: bool = True,
    ) -> None:
        self._text = text
        self._at = 0
        self._variables = variables
        self._escape = escape
        self._raw = raw
        self._keep_unset = keep_unset
        self._quotes = quotes
        self._depth = 0
        self.unset: list[str] = []

    def whole(self) -> tuple[str, tuple[str, ...]]:
        return self._until("")

    def _until(self, stop: str, *, keep_escapes: bool = False) -> tuple[str, tuple[str, ...]]:
        """Up to `stop`, which is taken, or to the end when it is ""."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise WordError("variables are nested too deeply")
        text, words, length = self._text, _Words(), 0
        result: list[str] = []
        keep_escapes = keep_escapes or self._raw
        while self._at < len(text):
            char = text[self._at]
            if char == stop:
                self._at += 1
                self._depth -= 1
                return "".join(result), words.all()
            quoted = True
            if char == "'" and self._quotes:
                piece = self._single()
            elif char == '"' and self._quotes:
                piece = self._double(keep_escapes)
            elif char == "$":
                piece, quoted = self._dollar(), False
            elif char == self._escape:
                following = text[self._at + 1 : self._at + 2]
                self._at += 2
                piece = (char if keep_escapes else "") + following
            else:
                self._at += 1
                piece, quoted = char, False
            result.append(piece)
            words.add(piece, quoted=quoted)
            length += len(piece)
            if length > _LONGEST:
                raise WordError("the expanded text is too long")
        if stop:
            raise WordError(f"{stop!r} is missing")
        self._depth -= 1
        return "".join(result), words.all()

    def _single(self) -> str:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            raise WordError("a single quote is not closed")
        inner = self._text[self._at + 1 : end]
        self._at = end + 1
        return f"'{inner}'" if self._raw else inner

    def _double(self, keep_escapes: bool) -> str:
        text = self._text
        parts: list[str] = []
        self._at += 1
        while self._at < len(text):
            char = text[self._at]
            if char == '"':
                self._at += 1
                inner = "".join(parts)
                return f'"{inner}"' if self._raw else inner
            if char == "$":
                parts.append(self._dollar())
                continue
            following = text[self._at + 1 : self._at + 2]
            self._at += 1
            if char == self._escape and following and following in f'"${self._escape}':
                parts.append((char if keep_escapes else "") + following)
                self._at += 1
            else:
                parts.append(char)
        raise WordError("a double quote is not closed")

    def _dollar(self) -> str:
        text, begin = self._text, self._at
        self._at += 1
        if text[self._at : self._at + 1] != "{":
            found = _NAME.match(text, self._at)
            if found is None:
                return "$"
            self._at = found.end()
            value = self._variables.get(found[0])
            if value is None:
                self.unset.append(found[0])
                return text[begin : self._at] if self._keep_unset else ""
            return value
        self._at += 1
        found = _NAME.match(text, self._at)
        if found is None:
            raise WordError("${ is not followed by a name")
        self._at = found.end()
        value = self._braced(found[0], self._variables.get(found[0]))
        if value is None:
            return text[begin : self._at] if self._keep_unset else ""
        return value

    def _braced(self, name: str, value: str | None) -> str | None:
        """What stands after the name in ${name...}; None when it is not set."""
        if self._at >= len(self._text):
            raise WordError("'}' is missing")
        operator = self._text[self._at]
        self._at += 1
        if value is None and operator in "}#%/":
            self.unset.append(name)
        if operator == "}":
            return value
        if operator in "#%":
            if self._text[self._at : self._at + 1] == operator:
                self._at += 1
                operator *= 2
            pattern = self._until("}", keep_escapes=True)[0]
            return None if value is None else _trimmed(value, operator, pattern)
        if operator == "/":
            everywhere = self._text[self._at : self._at + 1] == "/"
            self._at += everywhere
            pattern = self._until("/", keep_escapes=True)[0]
            replacement = self._until("}", keep_escapes=True)[0]
            if value is None:
                return None
            return _replaced(value, pattern, replacement, everywhere=everywhere)
        colon = operator == ":"
        if colon:
            operator = self._text[self._at : self._at + 1]
            self._at += 1
        if not operator or operator not in "-+?":
            raise WordError(f"unsupported modifier ({':' * colon}{operator}) in substitution")
        word = self._until("}")[0]
        is_set = value is not None and not (colon and value == "")
        if operator == "+":
            return word if is_set else ""
        if is_set:
            return value
        if operator == "-":
            return word
        if self._keep_unset:
            return None
        raise WordError(f"{name}: {word or 'it has to be set'}")


def _trimmed(value: str, operator: str, pattern: str) -> str:
    tokens, suffix = _tokens(pattern), operator[0] == "%"
    ends = _ends(tokens[::-1], value[::-1]) if suffix else _ends(tokens, value)
    if not ends:
        return value
    length = ends[-1] if len(operator) == 2 else ends[0]
    return value[: len(value) - length] if suffix else value[length:]


def _replaced(value: str, pattern: str, replacement: str, *, everywhere: bool) -> str:
    tokens, parts, at = _tokens(pattern), [], 0
    while at <= len(value):
        ends = _ends(tokens, value[at:])
        length = ends[-1] if ends else 0
        if ends:
            parts.append(replacement)
            if not everywhere:
                return "".join(parts) + value[at + length :]
        if not length:
            parts.append(value[at : at + 1])
        at += length or 1
        if ends and length and at == len(value):
            break
    return "".join(parts)


def _tokens(pattern: str) -> list[tuple[str, bool]]:
    """Characters, and whether each is special (* or ?)."""
    tokens, at = [], 0
    while at < len(pattern):
        char = pattern[at]
        if char in "*?":
            tokens.append((char, True))
        else:
            if char == "\\" and at + 1 < len(pattern):
                at += 1
                char = pattern[at]
            tokens.append((char, False))
        at += 1
    return tokens


def _ends(tokens: list[tuple[str, bool]], value: str) -> list[int]:
    """Lengths of the beginnings of `value` that the pattern matches, ascending.

    All ways are followed at once: no pattern takes more than length times length.
    """
    if len(value) > _LONGEST_MATCHED:
        raise WordError(f"a value beyond {_LONGEST_MATCHED} characters cannot be matched")
    star = ("*", True)

    def closure(states: set[int]) -> set[int]:
        for state in sorted(states):
            while state < len(tokens) and tokens[state] == star:
                state += 1
                states.add(state)
        return states

    states, found = closure({0}), []
    for length in range(len(value) + 1):
        if len(tokens) in states:
            found.append(length)
        if length == len(value) or not states:
            break
        char, following = value[length], set()
        for state in states:
            if state == len(tokens):
                continue
            token, special = tokens[state]
            if special and token == "*":
                following.add(state)
            elif special or token == char:
                following.add(state + 1)
        states = closure(following)
    return found
