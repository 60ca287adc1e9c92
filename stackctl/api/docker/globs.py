"""Patterns of names as Go's path.Match reads them: `*` and `?` stop at a slash. Pure."""

from __future__ import annotations

import re

from stackctl.api.docker.call import DockerError
from stackctl.daemon.patterns import Pattern


def matches(pattern: str, name: str) -> bool:
    """Whether all of `name` is what the pattern says. DockerError (400) for what is none."""
    try:
        return Pattern(rf"\A(?s:{_expression(pattern)})\z").found_in(name)
    except (ValueError, IndexError):
        raise DockerError(400, f'invalid pattern "{pattern}": syntax error in pattern') from None


def _expression(pattern: str) -> str:
    found, at = [], 0
    while at < len(pattern):
        char = pattern[at]
        match char:
            case "*":
                found.append("[^/]*")
            case "?":
                found.append("[^/]")
            case "[":
                end = pattern.index("]", at + 2) if "]" in pattern[at + 2 :] else len(pattern)
                inner = pattern[at + 1 : end].replace("[", "\\[")
                found.append(f"[{inner}{pattern[end]}")
                at = end
            case "\\":
                at += 1
                found.append(re.escape(pattern[at]))
            case _:
                found.append(re.escape(char))
        at += 1
    return "".join(found)
