"""Notices when somebody else changes the firewall under us."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from stackctl.net import nft
from stackctl.net.netlink import NETLINK_NETFILTER, NetlinkSocket, attributes

log = logging.getLogger(__name__)

#: A reload comes as many transactions: wait for its end, but isolation not for long.
_SETTLE = 0.1
_FOREIGN = frozenset(
    {nft.NEWTABLE, nft.DELTABLE, nft.NEWCHAIN, nft.DELCHAIN, nft.NEWRULE, nft.DELRULE}
)


class RulesWatch:
    """Calls `repair(is_ours)` on the loop after others' changes.

    is_ours: our own table was touched; else it was a chain of somebody else's.
    """

    def __init__(self, table: str, repair: Callable[[bool], Awaitable[None]]) -> None:
        self._table = table.encode()
        self._repair = repair
        self._link = NetlinkSocket(NETLINK_NETFILTER, (nft.GROUP_NFTABLES,))
        self._link.reserve(receive=1 << 20)
        self._own_port = 0
        self._loop = asyncio.get_running_loop()
        self._is_ours = False
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, own_port: int) -> None:
        """`own_port`: the netlink port of our own changes."""
        self._own_port = own_port
        self._loop.add_reader(self._link.fileno(), self._ready)

    def close(self) -> None:
        self._loop.remove_reader(self._link.fileno())
        self._link.close()
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _ready(self) -> None:
        touched: bool | None = None
        try:
            for message in self._link.received():
                if message.port == self._own_port:
                    continue
                name = attributes(message.body, 4).get(1, b"").rstrip(b"\0")
                if message.kind != nft.NEWGEN and name == self._table:
                    touched = True
                elif message.kind in _FOREIGN and not name.startswith(b"stackctl-"):
                    touched = touched or False
        except OSError:
            touched = True  # messages were lost: anything may have happened
        if touched is not None:
            self._schedule(touched)

    def _schedule(self, is_ours: bool) -> None:
        self._is_ours |= is_ours
        if self._timer is None:
            self._timer = self._loop.call_later(_SETTLE, self._start)

    def _start(self) -> None:
        self._timer = None
        is_ours, self._is_ours = self._is_ours, False
        self._task = self._loop.create_task(self._run(is_ours))

    async def _run(self, is_ours: bool) -> None:
        try:
            await self._repair(is_ours)
        except Exception:
            log.exception("the firewall rules could not be repaired")
