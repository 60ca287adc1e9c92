"""Sizes and durations as Docker reads and prints them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackctl.spec import units


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("1024", 1024),
        (1024, 1024),
        ("64m", 67108864),
        ("64M", 67108864),
        ("64mb", 67108864),
        ("64MiB", 67108864),
        ("64 m", 67108864),
        ("1g", 1 << 30),
        ("1.5g", 3 << 29),
        (".5k", 512),
        ("512b", 512),
        ("2t", 2 << 40),
        ("1p", 1 << 50),
        ("-1", -1),
        (1.0, 1),
    ],
)
def test_sizes(text: Any, value: int) -> None:
    assert units.size(text) == value


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (1000, "1000"), (1024, "1k"), (10 << 20, "10m"), (3 << 29, "1536m")],
)
def test_the_text_of_a_size(count: int, text: str) -> None:
    assert units.size_text(count) == text
    assert units.size(text) == count


@pytest.mark.parametrize(
    "text", ["", "m", "64q", "64 mm", "1,5g", "1e3", "--1", "64m ", "1i", "1ib", "9" * 30, "99999p"]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"size"):
        units.size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("30s", 30),
        ("1m30s", 90),
        ("300ms", 0.3),
        ("1.5h", 5400),
        ("1h1m1s", 3661),
        ("250us", 0.00025),
        ("250µs", 0.00025),
        ("10ns", 1e-8),
        ("1d", 86400),
        ("2w", 1209600),
        (".5s", 0.5),
        ("-1s", -1),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert units.duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "30", "s", "1x", "1s2", "1m-30s", "1 s", "9" * 200 + "s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|unit"):
        units.duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (30, "30s"),
        (90, "1m30s"),
        (60, "1m0s"),
        (3600, "1h0m0s"),
        (0.3, "300ms"),
        (1.5, "1.5s"),
        (0.00025, "250µs"),
        (0.0000015, "1.5µs"),
        (1e-9, "1ns"),
        (5400.25, "1h30m0.25s"),
        (-1, "-1s"),
    ],
)
def test_durations_are_printed_as_go_prints_them(seconds: float, text: str) -> None:
    assert units.duration_text(seconds) == text


@given(st.integers(min_value=0, max_value=10**15))
def test_a_printed_duration_reads_back(nanoseconds: int) -> None:
    seconds = nanoseconds / 1e9
    assert units.duration(units.duration_text(seconds)) == pytest.approx(seconds, abs=1e-9)


@given(st.text(max_size=30))
def test_any_text_is_a_value_or_a_value_error(text: str) -> None:
    for read in (units.size, units.duration):
        try:
            read(text)
        except ValueError:
            pass
