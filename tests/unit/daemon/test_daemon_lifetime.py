"""When a daemon leaves by itself. The clock is the test's."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stackctl.daemon.lifetime import IdleTimer


class Clock:
    """Holds at most one timer, as the subject should."""

    def __init__(self) -> None:
        self.due: Callable[[], None] | None = None
        self.armed = 0

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Clock:
        assert self.due is None and seconds == 60
        self.due = callback
        self.armed += 1
        return self

    def cancel(self) -> None:
        self.due = None

    def ring(self) -> None:
        due, self.due = self.due, None
        assert due is not None
        due()


class Case:
    def __init__(self) -> None:
        self.clock = Clock()
        self.idle = True
        self.left = 0
        self.timer = IdleTimer(60, lambda: self.idle, self.leave, self.clock.call_later)
        self.timer.begin()

    def leave(self) -> None:
        self.left += 1


@pytest.fixture
def case() -> Case:
    return Case()


def test_nobody_called_and_nothing_runs(case: Case) -> None:
    case.clock.ring()
    assert case.left == 1 and case.clock.due is None


def test_a_call_begins_the_time_anew(case: Case) -> None:
    case.timer.busy_changed(1)
    assert case.clock.due is None, "while somebody is answered no time runs"
    case.timer.busy_changed(2)
    case.timer.busy_changed(1)
    assert case.clock.due is None
    case.timer.busy_changed(0)
    assert case.clock.armed == 2
    case.clock.ring()
    assert case.left == 1


def test_what_runs_keeps_it(case: Case) -> None:
    case.idle = False
    case.clock.ring()
    assert case.left == 0 and case.clock.due is not None
    case.idle = True
    case.clock.ring()
    assert case.left == 1


def test_once_it_leaves_for_another_reason_no_time_runs(case: Case) -> None:
    case.timer.cancel()
    case.timer.cancel()
    assert case.clock.due is None
