"""Signals as users name them, and which of them end a container."""

from __future__ import annotations

import signal

from stackctl.errors import StackctlError
from stackctl.model.record import ContainerRecord


def is_end(record: ContainerRecord, signum: int) -> bool:
    """Whether who sends this wants the container to stay stopped."""
    return signum in (signal.SIGKILL, signal_number(record.config.stop_signal))


def signal_number(name: str) -> int:
    """ "SIGTERM", "TERM" or "15" to its number.

    Raises StackctlError for what is no signal.
    """
    text = name.strip().upper()
    if text.isdigit() and 0 < int(text) < signal.NSIG:
        return int(text)
    if text.startswith("SIGRTMIN+") and text[9:].isdigit():
        return int(signal.SIGRTMIN) + int(text[9:])
    try:
        return int(signal.Signals["SIG" + text.removeprefix("SIG")])
    except KeyError:
        raise StackctlError(
            f'"{name}" is not a signal', hint="use a name such as SIGTERM, or a number"
        ) from None
