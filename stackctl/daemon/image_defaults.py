"""An image's defaults under what a user said, for services and single containers alike.

The image gives defaults, the user wins. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from stackctl.model.container import HealthCheck
from stackctl.model.image import ImageConfig

#: Labels with which engines find their containers: an image must not set them.
RESERVED = ("com.docker.compose.", "stackctl.")
#: How often is probed when nobody says.
_USUAL = HealthCheck(test=())


def argv(
    entrypoint: Sequence[str] | None, command: Sequence[str] | None, defaults: ImageConfig
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Entrypoint and command. An entrypoint drops the image's command; an empty one clears
    only the image's entrypoint, as Docker's engine does."""
    own = tuple(command or ())
    if entrypoint:
        return tuple(entrypoint), own
    return (defaults.entrypoint if entrypoint is None else ()), own or defaults.command


def environment(defaults: Iterable[str], own: Mapping[str, str | None]) -> tuple[str, ...]:
    """NAME=value in order, the user's over the image's; None takes the image's away.

    An image's entry without "=" is dropped: it must not read the host's environment.
    """
    given = dict(entry.split("=", 1) for entry in defaults if "=" in entry)
    merged: dict[str, str | None] = {**given, **own}
    return tuple(f"{k}={value}" for k, value in merged.items() if k and value is not None)


def labels(
    defaults: Mapping[str, str], own: Mapping[str, str], engine: Mapping[str, str]
) -> dict[str, str]:
    """The image's, the user's over them, the engine's over both."""
    kept = {key: value for key, value in defaults.items() if not key.startswith(RESERVED)}
    return {**kept, **own, **engine}


def exposed(defaults: Iterable[str], own: Iterable[str]) -> tuple[str, ...]:
    """PORT/PROTOCOL, each once."""
    named = (*defaults, *own)
    return tuple(dict.fromkeys(port if "/" in port else f"{port}/tcp" for port in named))


def health(
    test: Sequence[str] | None,
    default: HealthCheck | None,
    *,
    interval: float | None = None,
    timeout: float | None = None,
    retries: int | None = None,
    start_period: float | None = None,
    start_interval: float | None = None,
) -> HealthCheck | None:
    """The user's check over the image's. `test` is in Docker's form (["CMD", ...],
    ["CMD-SHELL", text], ["NONE"]); None takes the image's. None when there is no check."""
    if test is not None:
        if not test or list(test) == ["NONE"]:
            return None
        words = probe(test)
    elif default is not None and default.test:
        words = default.test
    else:
        return None
    base = default or _USUAL
    # 0 stands for the default, as in Docker.
    return HealthCheck(
        test=words,
        interval=interval or base.interval,
        timeout=timeout or base.timeout,
        retries=retries or base.retries,
        start_period=base.start_period if start_period is None else start_period,
        start_interval=start_interval or base.start_interval,
    )


def probe(test: Sequence[str]) -> tuple[str, ...]:
    """Docker's form of a test as an argv."""
    if test[0] == "CMD-SHELL":
        return ("/bin/sh", "-c", *test[1:])
    return tuple(test[1:])
