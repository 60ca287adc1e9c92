"""Values of options that are more than text: scales, moments, choices, variables.

Each function raises UsageError with what would be right.
"""

from __future__ import annotations

import time

from stackctl.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)"


def scales(values: Iterable[str]) -> dict[str, int]:
    """`web=3` for each value -> {"web": 3}."""
    result = {}
    for value in values:
        service, equals, count = value.partition("=")
        if not (service and equals and count.isdecimal()):
            raise UsageError(f'--scale "{value}" is not SERVICE=NUMBER', hint="--scale web=3")
        result[service] = int(count)
    return result


def duration(text: str) -> float | None:
    """Seconds of Go's notation (`1m30s`, `300ms`); None when it is no duration."""
    import re

    position, total = 0, 0.0
    part = re.compile(_PART)
    while position < len(text):
        match = part.match(text, position)
        if match is None:
            return None
        total += float(match[1]) * _UNITS[match[2]]
        position = match.end()
    return total if text else None


def moment(flag: str, text: str | None, clock: Callable[[], float] = time.time) -> float | None:
    """Unix seconds of `10m` (ago), a number of seconds, or a date and time (local unless zoned)."""
    if not text:
        return None
    ago = duration(text)
    if ago is not None:
        return clock() - ago
    try:
        return float(text)
    except ValueError:
        pass
    from datetime import datetime

    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise UsageError(
            f'{flag} "{text}" is not a time',
            hint=f"{flag} 10m (ago), 2026-01-31T12:00:00Z, or Unix seconds",
        ) from None


def tail(text: str) -> int | None:
    """Lines from the end; None for "all"."""
    if text == "all":
        return None
    try:
        count = int(text)
    except ValueError:
        raise UsageError(f'--tail "{text}" is neither a number nor "all"') from None
    # As docker: a negative number means all.
    return count if count >= 0 else None


def one_of(flag: str, text: str, choices: Sequence[str]) -> str:
    if text not in choices:
        raise UsageError(f'{flag} "{text}" is not one of {", ".join(choices)}')
    return text


def pull_when(text: str) -> str:
    """The value of --pull; "" is what the services say themselves."""
    if text:
        one_of("--pull", text, ("always", "missing", "if_not_present", "never", "build", "policy"))
    return text


def variables(
    values: Iterable[str], environment: Mapping[str, str], *, keep: bool = False
) -> list[str]:
    """KEY=VAL as it is; a bare KEY takes the caller's value, and is left out when it has none
    (with `keep` it stays as it is)."""
    result = []
    for value in values:
        key, equals, _ = value.partition("=")
        if not key:
            raise UsageError(f'--env "{value}" has no name', hint="-e KEY=VAL")
        if equals:
            result.append(value)
        elif key in environment:
            result.append(f"{key}={environment[key]}")
        elif keep:
            result.append(key)
    return result


def container_port(text: str, protocol: str) -> tuple[int, str]:
    """`80` or `53/udp` with --protocol's value -> (80, "tcp")."""
    number, slash, own = text.partition("/")
    protocol = own if slash else protocol
    if not number.isdecimal() or not 0 < int(number) < 65536:
        raise UsageError(f'"{text}" is not a port', hint="a number from 1 to 65535")
    return int(number), one_of("--protocol", protocol, ("tcp", "udp"))
