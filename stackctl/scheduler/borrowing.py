"""Whether containers still have the mounts of those whose volumes they share (`volumes_from`).

A container has them from when it was made: it does not see what its lender mounts since.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from stackctl.model import lending
from stackctl.model.container import ContainerConfig, Mount
from stackctl.model.record import ContainerRecord


class Borrowing:
    """What the containers of a project will mount after an `up`: told lenders first."""

    def __init__(self, wanted: Iterable[ContainerConfig], *, renew_anonymous: bool) -> None:
        self._lenders = {name for config in wanted for name, _ in lending.lenders(config)}
        self._renew = renew_anonymous
        #: By the container's name; missing where nobody knows.
        self._lent: dict[str, lending.Mounts] = {}

    def stays(self, record: ContainerRecord) -> None:
        """This container is left as it is."""
        config = record.config
        if config.name in self._lenders:
            self._lent[config.name] = lending.lent(config, lending.by_target(config.mounts))

    def is_made(self, config: ContainerConfig, former: ContainerRecord | None) -> None:
        """A container is made, maybe in place of `former`, whose anonymous volumes it gets."""
        if config.name not in self._lenders:
            return
        own = config.mounts
        if former is not None and not self._renew:
            own = lending.inherited(config, former.config)
        with suppress(KeyError):
            mounts = self._borrowed(config) | lending.by_target(own)
            self._lent[config.name] = lending.lent(config, mounts)

    def cause(self, record: ContainerRecord, config: ContainerConfig) -> str:
        """Why a container cannot stay, which is wanted as `config`; "" when it can.

        Nothing is said of lenders outside the project: they are as their users left them.
        """
        if not config.volumes_from:
            return ""
        try:
            wanted = self._borrowed(config)
        except KeyError:
            return ""
        own = lending.hidden(config)
        has = lending.by_target(record.config.mounts)
        if wanted == {target: mount for target, mount in has.items() if target not in own}:
            return ""
        names = ", ".join(name for name, _ in lending.lenders(config))
        return f"the mounts of {names} have changed (volumes_from)"

    def _borrowed(self, config: ContainerConfig) -> dict[str, Mount]:
        """Raises KeyError for a lender of which nothing is known."""
        return lending.borrowed(config, self._lent.__getitem__)
