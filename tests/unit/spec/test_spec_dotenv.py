"""Environment files, on a table of compose's rules."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stackctl.errors import StackFileError, StackFileErrors
from stackctl.spec.dotenv import parse, parse_raw

OUTSIDE = {"HOME": "/root", "EMPTY": ""}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("A=1", {"A": "1"}),
        ("A=1\nB=2\n", {"A": "1", "B": "2"}),
        ("\ufeffA=1", {"A": "1"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("  A = 1  ", {"A": "1"}),
        ("export A=1", {"A": "1"}),
        ("export\tA=1", {"A": "1"}),
        ("exported=1", {"exported": "1"}),
        ("A: b", {"A": "b"}),
        ("A:b", {"A": "b"}),
        ("A=", {"A": ""}),
        ("A=\nB=1", {"A": "", "B": "1"}),
        ("# c\n\nA=1 # c\n", {"A": "1"}),
        ("A=1#no", {"A": "1#no"}),
        ("A=#no", {"A": "#no"}),
        ("A=a b", {"A": "a b"}),
        ("A=a=b:c", {"A": "a=b:c"}),
        ("A.b-c[0]=1", {"A.b-c[0]": "1"}),
        ("A='x $HOME \\n # y'", {"A": "x $HOME \\n # y"}),
        ("A='it\\'s'", {"A": "it's"}),
        ('A="x\\ny\\t\\"q\\" \\\\ end"', {"A": 'x\ny\t"q" \\ end'}),
        ('A="$HOME"', {"A": "/root"}),
        ('A="\\$HOME $$HOME"', {"A": "$HOME $HOME"}),
        ('A="a # b" # c', {"A": "a # b"}),
        ('A="one\ntwo"\nB=1', {"A": "one\ntwo", "B": "1"}),
        ("A='one\ntwo'", {"A": "one\ntwo"}),
        ('A="\\07x"', {"A": "\x07x"}),
        ('A="c:\\dir"', {"A": "c:\\dir"}),
        ("A=$HOME/x", {"A": "/root/x"}),
        ("A=${NO:-d}", {"A": "d"}),
        ("A=${NO-d}${HOME:+y}", {"A": "dy"}),
        ("A=1\nB=${A}2\nC=$B", {"A": "1", "B": "12", "C": "12"}),
        ("HOME=/x\nA=$HOME", {"HOME": "/x", "A": "/root"}),
        ("HOME", {"HOME": "/root"}),
        ("HOME\nNO\nA=1", {"HOME": "/root", "A": "1"}),
        ("EMPTY", {"EMPTY": ""}),
        ("A=1\nA=2", {"A": "2"}),
        ("É=1", {"É": "1"}),
    ],
)
def test_parsing(text: str, expected: dict[str, str]) -> None:
    assert parse(text, ".env", OUTSIDE.get) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A B=1", '.env:1:1: the name "A B" holds a space'),
        ("A=1\nB%=2", '.env:2:2: unexpected "%" in a variable name'),
        ("=1", ".env:1:1: a variable has no name"),
        ("A='x", ".env:1:3: a quoted value is never closed"),
        ('A=1\n\nB="x\ny', ".env:3:3: a quoted value is never closed"),
        ('A="x"y', ".env:1:6: text follows the closing quote"),
        ("A=${B", '.env:1:1: "${B" is not a variable'),
        ("A=1\nB=${NO:?needed}", '.env:2:1: the required variable "NO" is missing a value: needed'),
    ],
)
def test_mistakes_have_their_line(text: str, message: str) -> None:
    with pytest.raises(StackFileError) as caught:
        parse(text, ".env", OUTSIDE.get)
    assert str(caught.value) == message


def test_all_mistakes_are_told_at_once() -> None:
    text = "A B=1\nOK=1\nB%=2\nC D\nE=${F\n=3\nG='x\nH I=3"
    with pytest.raises(StackFileErrors) as caught:
        parse(text, ".env", OUTSIDE.get)
    assert [e.place.line for e in caught.value.errors if e.place] == [1, 3, 4, 5, 6, 7]


def test_unset_variables_are_told() -> None:
    unset: list[tuple[str, tuple[str, int, int]]] = []
    text = "A=$NO\n\n  B='1\n2'\n C=$B$NO\n"
    parse(text, ".env", OUTSIDE.get, lambda name, mark: unset.append((name, mark)))
    assert unset == [("NO", (".env", 1, 1)), ("NO", (".env", 5, 2))]


def test_raw_files_are_taken_literally() -> None:
    text = "# c\n\nA='q' $HOME # no\n B=x \r\nHOME\nNO\nC=\n"
    assert parse_raw(text, "f", OUTSIDE.get) == {
        "A": "'q' $HOME # no",
        "B": "x ",
        "HOME": "/root",
        "C": "",
    }
    with pytest.raises(StackFileError, match=r"f:1:1: .* is not a variable name"):
        parse_raw("A B=1", "f", OUTSIDE.get)


@pytest.mark.parametrize("read", [parse, parse_raw])
def test_a_nul_byte_is_refused_with_its_line(read: Callable[..., dict[str, str]]) -> None:
    with pytest.raises(StackFileError, match="f:2:1: the file holds a NUL byte"):
        read("A=1\nB=a\0b\n", "f", lambda name: None)


def test_a_nul_character_is_refused_where_an_escape_makes_one() -> None:
    with pytest.raises(StackFileError, match="f:2:1: a variable cannot have a NUL"):
        parse('A=1\nB="a\\0b"\n', "f", lambda name: None)
    assert parse("B='a\\0b'\n", "f", lambda name: None) == {"B": "a\\0b"}
