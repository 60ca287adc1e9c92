"""The harness itself: waiting and comparing."""

from __future__ import annotations

import pytest

from support.waiting import WaitedInVain, wait_until


def test_wait_gives_back_what_the_condition_gave() -> None:
    looks = iter(["", "", "there"])
    assert wait_until(lambda: next(looks), 5) == "there"


def test_wait_looks_once_even_without_time() -> None:
    assert wait_until(lambda: 7, 0) == 7


def test_waiting_in_vain_says_for_what() -> None:
    with pytest.raises(WaitedInVain, match="still not: moon is made of cheese"):
        wait_until(lambda: False, 0, what=lambda: "moon is made of cheese")
