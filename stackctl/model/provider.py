"""A service that a program outside provides, in place of containers (compose's providers)."""

from __future__ import annotations

from stackctl.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderRequest:
    """`type` names the program; `options` are its flags, in order, a name maybe several times."""

    project: str
    service: str
    type: str
    options: tuple[tuple[str, str], ...] = ()
    #: The service as `config --format json` shows it, for a program that asks.
    definition: str = ""
