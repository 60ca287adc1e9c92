"""Values of options."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackctl.cli.values import duration, moment, scales, tail, variables
from stackctl.errors import UsageError


@pytest.mark.parametrize(
    ("text", "value"),
    [("10m", 600), ("1h30m", 5400), ("300ms", 0.3), ("1.5s", 1.5), ("", None), ("10", None)],
)
def test_duration(text: str, value: float | None) -> None:
    assert duration(text) == value


def test_moments() -> None:
    assert moment("--since", "10m", lambda: 1000.0) == 400.0
    assert moment("--since", "1700000000.5") == 1700000000.5
    expected = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()
    assert moment("--since", "2026-01-31T12:00:00Z") == expected
    assert moment("--since", "2026-01-31T13:00:00+01:00") == expected
    assert moment("--since", "") is None


@given(st.text())
def test_any_text_is_a_moment_or_a_usage_error(text: str) -> None:
    try:
        moment("--since", text, lambda: 0.0)
    except UsageError:
        pass


def test_tail() -> None:
    assert tail("all") is None
    assert tail("-1") is None
    assert tail("0") == 0


def test_scales() -> None:
    assert scales(["web=3", "db=0"]) == {"web": 3, "db": 0}
    for wrong in ("web", "=3", "web=", "web=-1", "web=x"):
        with pytest.raises(UsageError):
            scales([wrong])


def test_variables_take_bare_names_from_the_caller() -> None:
    assert variables(["A=1", "B", "C", "D="], {"B": "2"}) == ["A=1", "B=2", "D="]
    with pytest.raises(UsageError):
        variables(["=x"], {})
