"""A Dockerfile's bytes as logical lines: directives, comments, continuations, here-documents.

    # syntax=...  # escape=`  # check=...    directives: only at the top
    RUN a \\                                  continued; comments and empty lines are skipped
    # why
        b
    RUN <<EOF                                the body follows, up to a line that is EOF
    ...
    EOF

Follows BuildKit's parser (frontend/dockerfile/parser). Pure; mistakes are collected,
so that one does not hide the next.
"""

from __future__ import annotations

import json
import re
from dataclasses import field

from stackctl.errors import DockerfileError, Place
from stackctl.image.build.expansion import WordError, plain_words, raw_words
from stackctl.values import dataclass

_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*")
_DIRECTIVES = ("syntax", "escape", "check")
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_HEREDOC = re.compile(r"([0-9]*)<<(-?)([^<]*)")
_TAKE_HEREDOCS = ("add", "copy", "run")
#: A Dockerfile beyond this is no Dockerfile.
_LARGEST = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Heredoc:
    """`<<NAME`: `expand` unless the name was quoted, `chomp` (<<-) drops leading tabs."""

    name: str
    content: str
    expand: bool = True
    chomp: bool = False
    descriptor: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """One instruction: its word in upper case, the rest, first and last line (from 1).

    `written` is the word as it was, `comment` the last line of one that stands right above.
    """

    word: str
    rest: str
    first: int
    last: int
    heredocs: tuple[Heredoc, ...] = ()
    written: str = ""
    comment: str = ""

    @property
    def text(self) -> str:
        return f"{self.word} {self.rest}".rstrip()


@dataclass(frozen=True, slots=True)
class Checks:
    """`# check=skip=RULE,RULE;error=true;experimental=RULE`; rules in lower case, or "all"."""

    skip: frozenset[str] = frozenset()
    experimental: frozenset[str] = frozenset()
    strict: bool = False

    @classmethod
    def parse(cls, text: str) -> Checks:
        """Raises ValueError with what is wrong."""
        found: dict[str, str] = {}
        for part in filter(None, map(str.strip, text.split(";"))):
            name, equals, value = part.partition("=")
            if not equals or name.strip().lower() not in ("skip", "error", "experimental"):
                raise ValueError(f"{part[:60]!r} is no option of check")
            found[name.strip().lower()] = value.strip()
        strict = found.get("error", "false").lower()
        if strict not in _BOOLEANS:
            raise ValueError(f"check: error is true or false, not {strict[:20]!r}")
        skip, more = (
            frozenset(rule.strip().lower() for rule in found.get(name, "").split(","))
            for name in ("skip", "experimental")
        )
        return cls(skip, more, _BOOLEANS[strict])


@dataclass(slots=True)
class Source:
    """What was read: `errors` in file order; `gaps` are instructions with an empty line."""

    file: str
    escape: str = "\\"
    directives: dict[str, str] = field(default_factory=dict)
    checks: Checks = field(default_factory=Checks)
    lines: list[Line] = field(default_factory=list)
    errors: list[DockerfileError] = field(default_factory=list)
    gaps: list[int] = field(default_factory=list)

    def fail(self, line: int, brief: str, hint: str = "") -> None:
        self.errors.append(DockerfileError(brief, hint=hint, place=Place(self.file, line)))


def read(content: bytes, file: str) -> Source:
    """Never raises: what is wrong is in `errors`."""
    source = Source(file)
    if len(content) > _LARGEST:
        source.fail(0, f"the file is larger than {_LARGEST} bytes", "is this a Dockerfile?")
        return source
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        source.fail(line, "the file is not UTF-8 text", "save it as UTF-8")
        return source
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        source.fail(line, "the file has a NUL byte in it", "is this a text file?")
        return source
    _Reader(source, text).read()
    return source


class _Reader:
    def __init__(self, source: Source, text: str) -> None:
        self._source = source
        self._lines = text.split("\n")
        if self._lines[-1] == "":
            self._lines.pop()
        self._at = 0
        self._continued = re.compile("")
        self._comment = ""

    def read(self) -> None:
        self._directives()
        escape = re.escape(self._source.escape)
        self._continued = re.compile(rf"(?:(?<!{escape})|^){escape}[ \t]*$")
        while self._at < len(self._lines):
            if (line := self._logical_line()) is not None:
                self._source.lines.append(line)

    def _directives(self) -> None:
        source = self._source
        for number, raw in enumerate(self._lines, 1):
            found = _DIRECTIVE.fullmatch(raw.rstrip("\r"))
            if found is None:
                return
            name, value = found[1].lower(), found[2]
            if name not in _DIRECTIVES:
                continue
            if name in source.directives:
                source.fail(number, f"only one {name} directive can be used")
            elif name == "escape" and value not in ("\\", "`"):
                source.fail(number, f"the escape character must be \\ or `, not {value[:20]!r}")
            else:
                source.directives[name] = value
                if name == "escape":
                    source.escape = value
                elif name == "check":
                    try:
                        source.checks = Checks.parse(value)
                    except ValueError as error:
                        source.fail(number, str(error), "for example check=skip=all")

    def _logical_line(self) -> Line | None:
        first = self._at + 1
        text = self._next().lstrip()
        if not text or text.startswith("#"):
            self._comment = text[1:].strip()
            return None
        comment, self._comment = self._comment, ""
        text, goes_on = self._cut(text)
        empty = False
        while goes_on and self._at < len(self._lines):
            raw = self._next()
            if raw.lstrip().startswith("#"):
                continue
            if not raw.strip():
                empty = True
                continue
            piece, goes_on = self._cut(raw)
            text += piece
        if empty:
            self._source.gaps.append(first)
        word, _, rest = _split(text.strip())
        if not word:
            return None
        heredocs = self._heredocs(word, rest, first)
        return Line(word.upper(), rest, first, self._at, heredocs, word, comment)

    def _next(self) -> str:
        self._at += 1
        return self._lines[self._at - 1].rstrip("\r")

    def _cut(self, text: str) -> tuple[str, bool]:
        """Without its continuation character; whether it had one."""
        found = self._continued.search(text)
        return (text[: found.start()], True) if found else (text, False)

    def _heredocs(self, word: str, rest: str, first: int) -> tuple[Heredoc, ...]:
        if word.lower() == "onbuild":
            word, _, rest = _split(rest)
        if word.lower() not in _TAKE_HEREDOCS or "<<" not in rest or is_json(rest):
            return ()
        return tuple(self._body(begin, first) for begin in heredoc_words(rest))

    def _body(self, begin: Heredoc, first: int) -> Heredoc:
        content: list[str] = []
        while self._at < len(self._lines):
            raw = self._lines[self._at]
            self._at += 1
            plain = raw.rstrip("\r")
            if (plain.lstrip("\t") if begin.chomp else plain) == begin.name:
                text = "".join(content)
                return Heredoc(begin.name, text, begin.expand, begin.chomp, begin.descriptor)
            content.append(raw + "\n")
        self._source.fail(
            first,
            f"the here-document {begin.name!r} is not ended",
            f"add a line that is just {begin.name}",
        )
        return begin


def _split(text: str) -> tuple[str, str, str]:
    """First word, space, rest."""
    found = re.match(r"(\S*)(\s*)", text)
    assert found is not None
    return found[1], found[2], text[found.end() :]


def heredoc_words(rest: str) -> list[Heredoc]:
    """The here-documents that a line begins, without their content."""
    try:
        words = raw_words(rest)
    except WordError:
        return []
    return [h for h in map(heredoc_word, words) if h is not None]


def heredoc_word(word: str) -> Heredoc | None:
    """`<<EOF`, `3<<-"EOF"`; None for another word."""
    found = _HEREDOC.fullmatch(word)
    if found is None or not found[3]:
        return None
    try:
        plain, raw = plain_words(found[3]), raw_words(found[3])
    except WordError:
        return None
    if len(plain) != 1:
        return None
    return Heredoc(plain[0], "", plain == raw, bool(found[2]), int((found[1] or "0")[:9]))


def json_words(text: str) -> list[object] | None:
    """A JSON array's elements; None for what is no JSON array (then it is the shell form)."""
    if not text.lstrip().startswith("["):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None


def is_json(text: str) -> bool:
    words = json_words(text)
    return words is not None and all(isinstance(word, str) for word in words)
