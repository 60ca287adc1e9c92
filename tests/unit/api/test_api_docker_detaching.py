"""The keys that let go of a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackctl.api.docker.call import DockerError
from stackctl.api.docker.detaching import DEFAULT, Watch, sequence


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", DEFAULT),
        ("ctrl-p,ctrl-q", b"\x10\x11"),
        ("ctrl-a,x", b"\x01x"),
        ("ctrl-@", b"\0"),
        ("ctrl-\\,ctrl-]", b"\x1c\x1d"),
        ("q", b"q"),
    ],
)
def test_keys_by_name(text: str, keys: bytes) -> None:
    assert sequence(text) == keys


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-1", "esc", "ctrl-p,,x", "é"])
def test_what_is_no_key_is_a_mistake(text: str) -> None:
    with pytest.raises(DockerError, match="detach keys") as mistake:
        sequence(text)
    assert mistake.value.status == 400


@given(before=st.binary(max_size=20), keys=st.binary(min_size=1, max_size=3), cut=st.integers(0, 9))
def test_everything_before_the_keys_is_passed_on_and_nothing_after(
    before: bytes, keys: bytes, cut: int
) -> None:
    typed = before + keys + b"after"
    watch = Watch(keys)
    passed, detached = watch.feed(typed[:cut])
    if not detached:
        more, detached = watch.feed(typed[cut:])
        passed += more
    assert detached
    assert typed.startswith(passed)
    assert typed[len(passed) :].startswith(keys) and keys not in passed


def test_a_beginning_that_comes_to_nothing_is_passed_on() -> None:
    watch = Watch(b"\x10\x11")
    assert watch.feed(b"a\x10") == (b"a", False)
    assert watch.feed(b"b\x10\x10") == (b"\x10b\x10", False)
    assert watch.feed(b"\x11c") == (b"", True)
    assert Watch(b"").feed(b"\x10\x11") == (b"\x10\x11", False)
