"""Waiting for a condition, never for a duration."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: The first pause between two looks, in seconds; it doubles up to the longest.
FIRST_PAUSE = 0.002
LONGEST_PAUSE = 0.1


class WaitedInVain(AssertionError):
    """The condition did not come true within its limit."""


def wait_until(
    condition: Callable[[], T],
    limit: float = 10.0,
    *,
    what: str | Callable[[], str] = "the condition",
) -> T:
    """Looks at `condition` until it gives something true, and gives that back.

    `limit` is in seconds. Raises WaitedInVain with `what` (a text, or a function
    asked only then, so that it can tell how things stand). The condition is
    looked at once more at the end: a machine that stood still is no failure.
    """
    deadline = time.monotonic() + limit
    pause = FIRST_PAUSE
    while True:
        late = time.monotonic() >= deadline
        value = condition()
        if value:
            return value
        if late:
            raise WaitedInVain(
                f"after {limit:g} s still not: {what if isinstance(what, str) else what()}"
            )
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)
