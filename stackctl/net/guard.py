"""Looks after what others may take away: rules, bridges, forwarding, the keeper.

The kernel tells of each by itself; nothing is polled.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any

from stackctl.errors import StackctlError
from stackctl.net.endpoint import Wire
from stackctl.net.kernel import Kernel
from stackctl.net.links import Bridge
from stackctl.net.watch import LinksWatch, RulesWatch
from stackctl.net.worker import Worker

log = logging.getLogger(__name__)


class Guard:
    """Two watches and a witness of the keeper's life, from the first `keep` to `stop`."""

    def __init__(
        self,
        kernel: Kernel,
        worker: Worker,
        veths: str,
        bridges: Callable[[], Mapping[str, Bridge]],
        wires: Callable[[], Mapping[str, Wire]],
        on_lost: Callable[[str, str, int], None],
    ) -> None:
        """`bridges` and `wires` are those that are wanted, by name; `veths` begins the wires'.

        `on_lost(protocol, host address, host port)` is told of a port that somebody
        took while the keeper was dead.
        """
        self._kernel, self._worker = kernel, worker
        self._veths, self._bridges, self._wires = veths, bridges, wires
        self._on_lost = on_lost
        self._rules: RulesWatch | None = None
        self._links: LinksWatch | None = None
        self._witness: Any = None
        self._starting = asyncio.Lock()

    async def keep(self) -> None:
        """From now on. Right to call again: also after the keeper has ended by itself."""
        if self._links is not None and self._witness is not None:
            return
        # Many starts come at once: one of each is enough.
        async with self._starting:
            if self._rules is None:
                port = await self._worker.run(lambda: self._kernel.port)
                name = self._kernel.table.table.name
                self._rules = RulesWatch(name, port, self._repair_rules)
            if self._links is None:
                table = self._kernel.table
                self._links = LinksWatch(
                    self._veths, table.marks, table.networks, self._repair_links
                )
            if self._witness is None:
                self._witness = await self._worker.run(self._kernel.keeper.witness)
                if self._witness is not None:
                    asyncio.get_running_loop().add_reader(self._witness, self._keeper_died)

    def stop(self) -> None:
        for watch in (self._rules, self._links):
            if watch is not None:
                watch.close()
        self._rules = self._links = None
        self._drop_witness()

    def _drop_witness(self) -> None:
        if self._witness is not None:
            asyncio.get_running_loop().remove_reader(self._witness)
            self._witness.close()
            self._witness = None

    async def _repair_rules(self, is_ours: bool) -> None:
        if is_ours:
            log.warning("somebody changed the firewall table of the engine: putting it back")
        call = self._kernel.repair if is_ours else self._kernel.let_through
        await self._worker.run(call)

    async def _repair_links(self, names: Collection[str], is_shut: bool) -> None:
        if is_shut and await self._worker.run(self._kernel.forward_everywhere):
            log.warning("somebody switched forwarding off, which networks need: it is on again")
        wanted = [b for name, b in self._bridges().items() if name in names]
        wires = self._wires()
        if wanted:
            for name in await self._worker.run(lambda: self._kernel.rebuild(wanted, wires)):
                log.warning(
                    "somebody took bridge %s, its address or its mark away: it is back", name
                )

    def _keeper_died(self) -> None:
        self._drop_witness()
        self._revival = asyncio.get_running_loop().create_task(self._revive())

    async def _revive(self) -> None:
        log.warning("the keeper has ended: starting another one")
        try:
            lost = await self._worker.run(self._kernel.revive_keeper)
            await self.keep()
            for protocol, address, number in lost:
                self._on_lost(protocol, address, number)
        except (StackctlError, OSError):
            log.exception("the keeper could not be started again")
