"""Expressions of clients' find what `re` finds, and never hold the engine up."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackctl.daemon.patterns import Pattern, TooLong

_ATOMS = st.sampled_from(["a", "b", "c", "[ab]", "[^a]", ".", r"\w", r"\b", "^", "$", "\\-"])


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    repeats = st.sampled_from(["*", "+", "?", "*?", "{2}", "{1,3}", "{0,}"])
    return st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("(%s|%s)".__mod__),
        st.tuples(inner, repeats).map("(?:%s)%s".__mod__),
    )


@given(st.recursive(_ATOMS, _larger, max_leaves=6), st.text("abc-", max_size=8))
def test_finds_what_re_finds(pattern: str, text: str) -> None:
    assert Pattern(pattern).found_in(text) is (re.search(pattern, text) is not None)


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"^/?web(-\d+)?$", "/web-12", True),
        (r"(?i:WEB)_[[:digit:]]{2}\z", "web_07", True),
        (r"(?P<name>a|b)]", "b]", True),
        (r"[]x-]y", "]y", True),
        (r"(?s:a.b)", "a\nb", True),
        ("a.b", "a\nb", False),
        (r"(?m)^b$", "a\nb", True),
        ("^b$", "a\nb", False),
        ("", "", True),
        ("x{,2}", "x{,2}", True),
    ],
)
def test_gos_syntax(pattern: str, text: str, found: bool) -> None:
    assert Pattern(pattern).found_in(text) is found


@pytest.mark.parametrize(
    "text",
    [
        *("(", ")", "[a", "a{2,1}", "a{1001}", "*", "a**", "\\", "[[:foo:]]", "(?<x", r"\p{L}"),
        *("(" * 100, "(a{1000}){1000}", "(?=a)"),
    ],
)
def test_what_is_no_expression_is_told(text: str) -> None:
    with pytest.raises(ValueError):
        Pattern(text)


def test_no_pattern_takes_for_ever() -> None:
    """Python's re would never come back from the first."""
    text = "/" + "a" * 60 + "_"
    for pattern in ("^/?(a+)+$", "^/(a|a)*$", "(a|aa)+$", "a*" * 50 + "$x"):
        assert not Pattern(pattern).found_in(text)
    with pytest.raises(TooLong):
        pattern_of_many = Pattern("(a?){500}x")
        for _ in range(1000):
            pattern_of_many.found_in(text)


@given(st.text(max_size=30), st.text(max_size=10))
def test_any_text_is_an_expression_or_none(pattern: str, text: str) -> None:
    try:
        found = Pattern(pattern)
    except ValueError:
        return
    assert found.found_in(text) in (True, False)
