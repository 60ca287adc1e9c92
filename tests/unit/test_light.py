"""What stands for the standard library in the way of every command does as that does."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackctl import json_text
from stackctl.cli.later import once
from stackctl.tuples import NamedTuple

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_json_is_written_and_read_as_by_the_standard_library(value: Any) -> None:
    text = json.dumps(value)
    assert json_text.dumps(value) == text
    assert json_text.loads(f" \n{text}\t") == json_text.loads(text.encode()) == value


@given(st.text(alphabet='{}[]",:0123.eE-truefalsn \n\\u', max_size=12))
def test_what_is_no_json_is_refused_as_by_the_standard_library(text: str) -> None:
    try:
        expected = json.loads(text)
    except ValueError:
        with pytest.raises(ValueError):
            json_text.loads(text)
    else:
        assert json_text.loads(text) == expected


def test_json_refuses_what_has_no_form() -> None:
    circle: list[Any] = []
    circle.append(circle)
    for value, error in ((circle, ValueError), ({1: {2}}, TypeError), (b"", TypeError)):
        with pytest.raises(error):
            json_text.dumps(value)
    with pytest.raises(ValueError):
        json_text.loads(b'"\xff"')


class _Place(NamedTuple):
    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def test_a_named_tuple_is_one() -> None:
    place = _Place("a", 3)
    assert place == ("a", 3) == _Place(line=3, file="a") and hash(place) == hash(("a", 3))
    assert (place.file, place.line, str(place)) == ("a", 3, "a:3")
    assert repr(place) == "_Place(file='a', line=3)"
    assert _Place("b") == place._replace(file="b", line=0) and _Place._fields == ("file", "line")
    assert pickle.loads(pickle.dumps(place)) == place
    match place:
        case _Place(file, line):
            assert (file, line) == ("a", 3)
    with pytest.raises(AttributeError):
        place.line = 4  # type: ignore[misc]
    wrong: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((), {}),
        (("a", 1, 2), {}),
        (("a",), {"file": "b"}),
        (("a",), {"row": 1}),
    ]
    for values, named in wrong:
        with pytest.raises(TypeError):
            _Place(*values, **named)


def test_once_computes_once() -> None:
    class Owner:
        calls = 0

        @once
        def value(self) -> int:
            """Said of it."""
            self.calls += 1
            return self.calls

    owner = Owner()
    assert (owner.value, owner.value, Owner().value) == (1, 1, 1)
    assert Owner.value.__doc__ == "Said of it."
