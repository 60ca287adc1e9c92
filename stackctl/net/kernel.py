"""What the engine's networks are in the kernel; used on the net thread only.

Changes to the table, to names and to held ports are collected and carried out
by `flush`, one batch for all that waits; links go in `flush_late`. Order within
a flush: rules, then names and ports, so that a port is given up only when
nothing leads there any more.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from stackctl.errors import Conflict, ContainerError, MachineError, NotPermitted, StackctlError
from stackctl.linux import ns
from stackctl.net import bridge, conntrack, endpoint, firewall, holder, nft, rtnl
from stackctl.net.endpoint import Wire
from stackctl.net.firewall import Finding
from stackctl.net.keeperlink import KeeperLink
from stackctl.net.netlink import (
    NETLINK_NETFILTER,
    NETLINK_ROUTE,
    NetlinkError,
    NetlinkSocket,
    Request,
)
from stackctl.net.pool import Network, mac_of
from stackctl.net.rules import EngineTable, Forward, NetworkWalls
from stackctl.net.upstreams import host_nameservers
from stackctl.state.paths import Paths


def translated(error: OSError, what: str) -> StackctlError:
    """The room's border: what the kernel said, as a sentence."""
    if error.errno in (errno.EPERM, errno.EACCES):
        return NotPermitted(
            f"{what}: the kernel refuses ({error})",
            hint="stackctl's daemon needs root with CAP_NET_ADMIN and CAP_SYS_ADMIN",
        )
    if error.errno in (errno.EOPNOTSUPP, errno.EPROTONOSUPPORT):
        return MachineError(
            f"{what}: this kernel lacks a feature ({error})",
            hint="`stackctl doctor` says what the kernel is missing",
        )
    return MachineError(f"{what}: {error}")


class Kernel:
    """Sockets, the table, and what is still to do."""

    def __init__(self, paths: Paths, resolv_conf: str) -> None:
        self._paths = paths
        self._resolv_conf = resolv_conf
        self.keeper = KeeperLink(paths, resolv_conf)
        self.table = EngineTable(paths.nft_table)
        self._is_installed = False
        self._requests: list[Request] = []
        self._udp_ports: set[int] = set()
        self._releases: list[list[Any]] = []
        self._owners: dict[tuple[str, str, int], str] = {}
        self._names: dict[str, dict[str, Any] | None] = {}
        #: What the keeper knows of each container, to tell the next keeper.
        self._known: dict[str, dict[str, Any]] = {}
        self._doomed: list[str] = []
        self._home = -1
        self._route: NetlinkSocket | None = None
        self._filter: NetlinkSocket | None = None

    # --- sockets ------------------------------------------------------------------

    @property
    def _links(self) -> NetlinkSocket:
        if self._route is None:
            self._route = NetlinkSocket(NETLINK_ROUTE)
            self._home = ns.open_netns()
        return self._route

    @property
    def _rules(self) -> NetlinkSocket:
        if self._filter is None:
            self._filter = NetlinkSocket(NETLINK_NETFILTER)
            # Half a megabyte of answers: what a dump of some thousand elements takes.
            self._filter.reserve(receive=1 << 19)
        return self._filter

    @property
    def port(self) -> int:
        """The netlink port of our own changes, by which notifications tell them."""
        return self._rules.port

    @property
    def is_installed(self) -> bool:
        return self._is_installed

    def close(self) -> None:
        self.flush_late()
        self.keeper.disconnect()
        for link in (self._route, self._filter):
            if link is not None:
                link.close()
        self._route = self._filter = None
        if self._home >= 0:
            os.close(self._home)
            self._home = -1

    # --- together -----------------------------------------------------------------

    def flush(self) -> None:
        """Carries out what the jobs of this round left pending."""
        self._flush_rules()
        names, self._names = self._names, {}
        releases, self._releases = self._releases, []
        try:
            if releases:
                self.keeper.call("release", ports=releases)
            gone = [name for name, raw in names.items() if raw is None]
            if gone:
                self.keeper.call("drop", containers=gone)
            there = [raw for raw in names.values() if raw is not None]
            if there:
                self.keeper.call("names", containers=there)
        except OSError as error:
            raise translated(error, "names and ports") from error

    def _flush_rules(self) -> None:
        requests, self._requests = self._requests, []
        udp, self._udp_ports = self._udp_ports, set()
        try:
            if self.table.is_empty:
                self._uninstall()
            elif not self._is_installed:
                self._install()
            elif requests:
                self._commit_or_replace(requests)
            if udp:
                conntrack.forget_udp(self._rules, udp)
        except OSError as error:
            raise translated(error, "firewall rules") from error

    def _commit_or_replace(self, requests: list[Request]) -> None:
        try:
            nft.commit(self._rules, requests)
        except NetlinkError:
            # The table is not what we think (somebody changed it): put it right as
            # a whole. If that fails, too, the error is real.
            self._install()

    def _install(self) -> None:
        """The whole table in one batch, forwarding on, and our way through other firewalls."""
        nft.commit(self._rules, self.table.whole())
        self._is_installed = True
        self.let_through()

    def _uninstall(self) -> None:
        """The last network has gone: so do the table and our way through other firewalls."""
        if self._is_installed:
            nft.commit(self._rules, self.table.removal())
            self._is_installed = False
            firewall.close_for(self._rules, self.table.table.name)

    def let_through(self) -> None:
        """Again after others changed their rules; nothing while we have no network."""
        if not self._is_installed:
            return
        _ensure_setting("ipv4/ip_forward", "1")
        firewall.open_for(self._rules, f"sc{self._paths.tag}", self.table.table.name)

    def flush_late(self) -> None:
        """Removes links that are not wanted any more, with one wait for all."""
        doomed, self._doomed = self._doomed, []
        if doomed:
            try:
                bridge.remove_links(self._links, doomed, self._group)
            except OSError as error:
                raise translated(error, "removing interfaces") from error

    @property
    def _group(self) -> int:
        return 0x5C000000 | int(self._paths.tag, 16)

    # --- networks -----------------------------------------------------------------

    def networks_in_use(self) -> list[Network]:
        """What a new subnet must not overlap: routes, addresses, the resolvers' addresses."""
        found = rtnl.networks_in_use(self._links)
        return found + [Network(a) for a in host_nameservers(self._resolv_conf)]

    def make_network(self, walls: NetworkWalls, gateway: str, mtu: int) -> None:
        """Bridge and rules. `gateway` has a prefix length."""
        try:
            mac = mac_of(gateway)
            bridge.make_bridge(self._links, walls.bridge, gateway, mac, mtu=mtu)
        except OSError as error:
            self._doomed.append(walls.bridge)
            raise translated(error, f"bridge {walls.bridge}") from error
        self._requests += self.table.add_network(walls)

    def drop_network(self, name: str) -> None:
        self._requests += self.table.remove_network(name)
        self._doomed.append(name)

    # --- endpoints ----------------------------------------------------------------

    def attach(self, pid: int, wires: Sequence[Wire]) -> None:
        """Wires a container. ContainerError when its process has ended."""
        links = self._links
        if any(wire.host_name in self._doomed for wire in wires):
            self.flush_late()  # of the container's former life
        try:
            endpoint.attach(links, pid, wires, self._home)
        except OSError as error:
            self._doomed += [wire.host_name for wire in wires]
            if not os.path.exists(f"/proc/{pid}/ns/net"):
                brief = "the container ended before its network was attached"
                raise ContainerError(brief) from error
            raise translated(error, "attaching to the network") from error

    def detach(self, names: Iterable[str]) -> None:
        self._doomed += names

    # --- ports --------------------------------------------------------------------

    def publish(
        self,
        owner: str,
        wishes: Sequence[tuple[str, str, int, int]],
        forward: Callable[[int, int], Forward],
        name_of: Callable[[str], str],
    ) -> list[int]:
        """Holds the wished ports (protocol, address, first, last) and leads them on.

        `forward(index, number)` is the wish's way; `name_of(container id)` names a
        holder of our own. Conflict: a port is taken.
        """
        if self._releases:
            self.flush()  # a port that was given up in this round is free
        reply = self.keeper.call("hold", owner=owner, ports=wishes)
        if not reply["ok"]:
            raise _clash(wishes[reply["busy"]], reply["errno"], name_of(reply["owner"]))
        numbers: list[int] = reply["numbers"]
        forwards = [forward(index, number) for index, number in enumerate(numbers)]
        self._requests += self.table.add_forwards(forwards)
        self._note_udp(forwards)
        self._owners.update({(f.protocol, f.host_ip, f.host_port): owner for f in forwards})
        return numbers

    def unpublish(self, forwards: Sequence[Forward]) -> None:
        self._requests += self.table.remove_forwards(forwards)
        self._note_udp(forwards)
        for forward in forwards:
            key = (forward.protocol, forward.host_ip, forward.host_port)
            self._owners.pop(key, None)
            self._releases.append(list(key))

    def _note_udp(self, forwards: Iterable[Forward]) -> None:
        self._udp_ports.update(f.host_port for f in forwards if f.protocol == "udp")

    # --- names --------------------------------------------------------------------

    def set_names(self, container: str, raw: dict[str, Any]) -> None:
        self._names[container] = self._known[container] = raw

    def drop_names(self, container: str) -> None:
        self._names[container] = None
        self._known.pop(container, None)

    # --- the whole ----------------------------------------------------------------

    def converge(
        self,
        networks: Sequence[tuple[NetworkWalls, str, int]],
        veths: dict[str, str],
        forwards: Sequence[tuple[Forward, str]],
        containers: Sequence[str],
    ) -> list[list[Any]]:
        """Makes the kernel and the keeper what the records say; gives the ports that were lost.

        `networks`: (walls, gateway, mtu); `veths`: our end -> its bridge; `forwards`
        with the container id each.
        """
        try:
            self._converge_links(networks, veths)
        except OSError as error:
            raise translated(error, "networks") from error
        for walls, _, _ in networks:
            self.table.add_network(walls)
        self.table.add_forwards(f for f, _ in forwards)
        name = (nft.FAMILY_IP, self.table.table.name)
        if not self.table.is_empty:
            self._install()
        elif name in nft.tables(self._rules):
            nft.commit(self._rules, self.table.removal())
            firewall.close_for(self._rules, self.table.table.name)
        self._requests = []
        if not (networks or forwards or self.keeper.exists):
            return []
        self._owners = {(f.protocol, f.host_ip, f.host_port): owner for f, owner in forwards}
        ports = [[*key, owner] for key, owner in self._owners.items()]
        lost: list[list[Any]] = self.keeper.call("converge", keep=containers, ports=ports)["lost"]
        kept = self.keeper.call("show")["table"]["containers"]
        self._known = {raw["id"]: raw for raw in kept}
        return lost

    def _converge_links(
        self, networks: Sequence[tuple[NetworkWalls, str, int]], veths: dict[str, str]
    ) -> None:
        ours = {walls.bridge for walls, _, _ in networks}
        tag = self._paths.tag
        present = [name for _, name in socket.if_nameindex()]
        if not networks and not any(n.startswith((f"sc{tag}", f"v{tag}")) for n in present):
            return  # spares an idle engine the codecs
        links = rtnl.links(self._links)
        for link in links:
            stray_bridge = link.kind == "bridge" and link.name.startswith(f"sc{tag}")
            stray_veth = link.kind == "veth" and link.name.startswith(f"v{tag}")
            if (stray_bridge and link.name not in ours) or (stray_veth and link.name not in veths):
                self._doomed.append(link.name)
        for walls, gateway, mtu in networks:
            mac = mac_of(gateway)
            bridge.make_bridge(self._links, walls.bridge, gateway, mac, mtu=mtu)
        for link in links:
            if link.kind == "veth" and link.name in veths and not link.master:
                endpoint.plug(self._links, link.name, veths[link.name])
        self.flush_late()

    def repair(self) -> None:
        """Puts our table back as it should be: everything in one batch."""
        if self._is_installed:
            self._install()

    def revive_keeper(self) -> None:
        """Starts a keeper that died, if there is anything to keep, and tells it all we know."""
        self.keeper.disconnect()
        if not (self._known or self._owners):
            return
        ports = [[*key, owner] for key, owner in self._owners.items()]
        self.keeper.call("converge", keep=list(self._known), ports=ports)
        self.keeper.call("names", containers=list(self._known.values()))

    def remove_everything(self) -> None:
        """Table, openings, links, keeper."""
        try:
            name = (nft.FAMILY_IP, self.table.table.name)
            if name in nft.tables(self._rules):
                nft.commit(self._rules, self.table.removal())
            self._is_installed = False
            self.table.clear()
            self._known.clear()
            self._owners.clear()
            firewall.close_for(self._rules, self.table.table.name)
            self._converge_links((), {})
        except OSError as error:
            raise translated(error, "removing networks") from error
        finally:
            self.keeper.stop()

    def findings(self) -> list[Finding]:
        return firewall.findings(self._rules)


def _ensure_setting(path: str, value: str) -> None:
    with contextlib.suppress(OSError):
        with open(f"/proc/sys/net/{path}") as file:
            if file.read().strip() == value:
                return
        bridge.write_setting(path, value)


def _clash(wish: tuple[str, str, int, int], number: int, of_ours: str) -> StackctlError:
    """Why a port could not be had."""
    protocol, address, first, last = wish
    if number == errno.EADDRNOTAVAIL:
        return StackctlError(
            f"{address} is not an address of this machine",
            hint="publish on one of its addresses, or leave the address out",
        )
    if number != errno.EADDRINUSE:
        return translated(OSError(number, os.strerror(number)), f"host port {first}/{protocol}")
    if first != last:
        return Conflict(
            f"no host port in {first}-{last}/{protocol} is free",
            hint="publish a larger range, or leave the host port out",
        )
    who = of_ours or holder.holder_of(protocol, first)
    return Conflict(
        f"host port {first}/{protocol} is held by {who or 'somebody'}",
        hint="stop it, publish another host port, or leave the host port out for a free one",
    )
