"""Notices when somebody else changes the firewall or the interfaces under us."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from stackctl.net import linkfilter, nft, rtnl
from stackctl.net.bridge import IFLA_IFNAME
from stackctl.net.marks import Marks
from stackctl.net.netlink import (
    NETLINK_NETFILTER,
    NETLINK_ROUTE,
    Message,
    NetlinkSocket,
    attributes,
)

log = logging.getLogger(__name__)

#: A reload comes as many transactions: wait for its end, but isolation not for long.
_SETTLE = 0.1
_FOREIGN = frozenset(
    {nft.NEWTABLE, nft.DELTABLE, nft.NEWCHAIN, nft.DELCHAIN, nft.NEWRULE, nft.DELRULE}
)
#: RTNLGRP_LINK, _IPV4_IFADDR, _IPV6_IFADDR, _IPV4_NETCONF, _IPV6_NETCONF.
_LINK_GROUPS = (1, 5, 9, 24, 25)
_IFA_LABEL = 3
_NETCONFA_IFINDEX = 1
_EVERY_INTERFACE = -1


class _Watched:
    """A socket with news, which it owns: `ready` reads them, `act` follows once a moment."""

    def __init__(
        self,
        link: NetlinkSocket,
        ready: Callable[[], None],
        act: Callable[[], Awaitable[None]],
        what: str,
    ) -> None:
        """Both are called on the loop; `what` is said in the log when `act` fails."""
        self._link, self._act, self._what = link, act, what
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._loop.add_reader(link.fileno(), ready)

    def soon(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(_SETTLE, self._start)

    def close(self) -> None:
        self._loop.remove_reader(self._link.fileno())
        self._link.close()
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _start(self) -> None:
        self._timer = None
        self._task = self._loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            await self._act()
        except Exception:
            log.exception("%s could not be repaired", self._what)


class RulesWatch:
    """Calls `repair(is_ours)` on the loop after others' changes.

    is_ours: our own table was touched; else it was a chain of somebody else's.
    """

    def __init__(
        self, table: str, own_port: int, repair: Callable[[bool], Awaitable[None]]
    ) -> None:
        """`own_port`: the netlink port of our own changes."""
        self._table = table.encode()
        self._own_port = own_port
        self._repair = repair
        self._is_ours = False
        self._link = NetlinkSocket(NETLINK_NETFILTER, (nft.GROUP_NFTABLES,))
        self._link.reserve(receive=1 << 20)
        self._watched = _Watched(self._link, self._ready, self._tell, "the firewall rules")

    def close(self) -> None:
        self._watched.close()

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
            self._is_ours |= touched
            self._watched.soon()

    async def _tell(self) -> None:
        is_ours, self._is_ours = self._is_ours, False
        await self._repair(is_ours)


class LinksWatch:
    """Calls `repair(names, is_shut)` on the loop after a bridge of ours lost something.

    names: bridges that are gone, down, unmarked or lack an address (they may be whole again by
    then); is_shut: somebody switched forwarding off.
    """

    def __init__(
        self,
        veths: str,
        marks: Marks,
        ours: Collection[str],
        repair: Callable[[Collection[str], bool], Awaitable[None]],
    ) -> None:
        """`veths` is what our ends of containers' wires begin with; `ours` are our bridges now,
        which have `marks`.
        """
        self._ours = ours
        self._repair = repair
        self._names: set[str] = set()
        self._is_shut = False
        self._link: Final = NetlinkSocket(NETLINK_ROUTE, _LINK_GROUPS)
        self._link.filter(linkfilter.program(veths, marks))
        self._watched = _Watched(self._link, self._ready, self._tell, "the bridges")

    def close(self) -> None:
        self._watched.close()

    def _ready(self) -> None:
        try:
            for message in self._link.received():
                if message.kind == rtnl.RTM_NEWNETCONF:
                    self._is_shut |= self._is_about_us(message)
                elif (name := _name_of(message)) in self._ours:
                    self._names.add(name)
        except OSError:
            self._names.update(tuple(self._ours))  # messages were lost: anything may have happened
            self._is_shut = True
        if self._names or self._is_shut:
            self._watched.soon()

    def _is_about_us(self, message: Message) -> bool:
        """Whether settings are those of all interfaces, or of one of ours."""
        raw = attributes(message.body, 4).get(_NETCONFA_IFINDEX, b"\0" * 4)
        index: int = struct.unpack("=i", raw)[0]
        return index == _EVERY_INTERFACE or _name_at(index) in self._ours

    async def _tell(self) -> None:
        names, self._names = self._names, set()
        is_shut, self._is_shut = self._is_shut, False
        await self._repair(names, is_shut)


def _name_of(message: Message) -> str:
    """Of the interface that a message of the filter is about; "" when it has gone since."""
    is_address = message.kind == rtnl.RTM_DELADDR
    raw = attributes(message.body, 8 if is_address else 16)
    name = raw.get(_IFA_LABEL if is_address else IFLA_IFNAME, b"")
    # struct ifaddrmsg and struct ifinfomsg have the index at the same place.
    index: int = struct.unpack_from("=i", message.body, 4)[0]
    return name.rstrip(b"\0").decode(errors="replace") or _name_at(index)


def _name_at(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except (OSError, OverflowError):
        return ""
