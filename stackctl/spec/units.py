"""Sizes and durations as Docker reads and prints them.

64m is 67108864 (binary units, whatever the suffix), 1m30s and 300ms are
durations; a bare number is no duration. Durations are seconds (float).
"""

from __future__ import annotations

import re

_SIZE = r"(-?[0-9]+(?:\.[0-9]+)?|-?\.[0-9]+) ?([kmgtp]?i?b?)\Z"
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h|d|w)")
_SECONDS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,  # U+00B5
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
}
#: Docker's rule for a container's memory, bytes: with less no process starts.
LEAST_MEMORY = 6 << 20
_MAX_SECONDS = 2**63 / 1e9
_MAX_SIZE = 2**63 - 1


def size(value: int | float | str) -> int:
    """Bytes of 1024, "64m", "1.5 GiB", "512kb". Raises ValueError."""
    if isinstance(value, bool):
        raise ValueError("not a size")
    if isinstance(value, int | float):
        if value != value or abs(value) > _MAX_SIZE:
            raise ValueError("the size is too large")
        return int(value)
    found = re.match(_SIZE, value, re.IGNORECASE) if len(value) < 64 else None
    suffix = found[2].lower() if found else ""
    if found is None or suffix in ("i", "ib"):
        raise ValueError(f'"{value[:40]}" is not a size such as 64m, 512k or 1.5g')
    number = float(found[1]) if "." in found[1] else int(found[1])
    total = int(number * 1024 ** _POWERS[suffix.rstrip("b").rstrip("i")])
    if abs(total) > _MAX_SIZE:
        raise ValueError("the size is too large")
    return total


def size_text(count: int) -> str:
    """Bytes as people write them, where a unit says the same: 10m, 512k, 1000."""
    suffix = ""
    for unit in "kmgtp":
        if not count or count % 1024:
            break
        count, suffix = count // 1024, unit
    return f"{count}{suffix}"


def duration(value: str) -> float:
    """Seconds of "1m30s", "300ms", "1.5h", "0". Raises ValueError."""
    text = value.strip()
    if text in ("0", "+0", "-0"):
        return 0.0
    if len(text) > 100:
        raise ValueError("not a duration such as 30s, 1m30s or 300ms")
    sign = -1.0 if text.startswith("-") else 1.0
    rest = text.removeprefix("-") if sign < 0 else text.removeprefix("+")
    total, at = 0.0, 0
    while found := _PART.match(rest, at):
        total += float(found[1]) * _SECONDS[found[2]]
        at = found.end()
    if not rest or at != len(rest):
        hint = f", e.g. {text}s" if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) else ""
        wrong = "needs a unit" if hint else "is not a duration such as 30s, 1m30s or 300ms"
        raise ValueError(f'"{text}" {wrong}{hint}')
    if total > _MAX_SECONDS:
        raise ValueError("the duration is too long")
    return sign * round(total, 9)


def duration_text(seconds: float) -> str:
    """A duration as Go prints it: "1m30s", "300ms", "1h0m0s", "0s"."""
    nanoseconds = round(abs(seconds) * 1e9)
    if nanoseconds == 0:
        return "0s"
    sign = "-" if seconds < 0 else ""
    if nanoseconds < 1_000_000_000:
        for unit, divisor in (("ms", 1_000_000), ("µs", 1_000), ("ns", 1)):
            if nanoseconds >= divisor:
                return f"{sign}{_decimal(nanoseconds, divisor)}{unit}"
    minutes, rest = divmod(nanoseconds, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, 1_000_000_000)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{sign}{hours}h{text}" if hours else f"{sign}{text}"


def _decimal(number: int, divisor: int) -> str:
    whole, rest = divmod(number, divisor)
    if not rest:
        return str(whole)
    digits = str(rest).rjust(len(str(divisor)) - 1, "0").rstrip("0")
    return f"{whole}.{digits}"
