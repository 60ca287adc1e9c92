"""What the engine's networks are in the kernel; used on the net thread only.

Changes to the table, to names and to held ports are collected and carried out
by `flush`, one batch for all that waits; interfaces are `Links`' business. Order within
a flush: rules, then names and ports, so that a port is given up only when
nothing leads there any more.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from stackctl.net import bridge, conntrack, firewall, networkd, nft
from stackctl.net.endpoint import Wire
from stackctl.net.failures import clash, translated
from stackctl.net.firewall import Finding
from stackctl.net.keeperlink import KeeperLink
from stackctl.net.links import Bridge, Links, attaching, station_of
from stackctl.net.netlink import NETLINK_NETFILTER, NetlinkError, NetlinkSocket, Request
from stackctl.net.publishing import Wish, relayed
from stackctl.net.rules import EngineTable, Forward
from stackctl.state.paths import Paths

_NO_SUCH_TABLE = (errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)


class Kernel:
    """Sockets, the table, and what is still to do."""

    def __init__(self, paths: Paths, resolv_conf: str) -> None:
        self._paths = paths
        self.links = Links(paths, resolv_conf)
        self.keeper = KeeperLink(paths, resolv_conf)
        self.table = EngineTable(paths.nft_table, paths.tag)
        self._is_installed = False
        self._requests: list[Request] = []
        self._udp_ports: set[int] = set()
        self._releases: list[list[Any]] = []
        self._ways: list[list[Any]] = []
        self._owners: dict[tuple[str, str, int], str] = {}
        self._names: dict[str, dict[str, Any] | None] = {}
        #: What the keeper knows of each container, to tell the next keeper.
        self._known: dict[str, dict[str, Any]] = {}
        self._filter: NetlinkSocket | None = None

    # --- sockets ------------------------------------------------------------------

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
        self.links.close()
        self.keeper.disconnect()
        if self._filter is not None:
            self._filter.close()
            self._filter = None

    # --- together -----------------------------------------------------------------

    def flush(self) -> None:
        """Carries out what the jobs of this round left pending."""
        self._flush_rules()
        names, self._names = self._names, {}
        releases, self._releases = self._releases, []
        ways, self._ways = self._ways, []
        try:
            if releases:
                self.keeper.call("release", ports=releases)
            if ways:
                self.keeper.call("ways", ports=ways)
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
        """The whole tables in one batch, forwarding on, and our way through other firewalls."""
        try:
            nft.commit(self._rules, self.table.whole())
        except NetlinkError as error:
            stations = self.table.stations
            if error.errno not in _NO_SUCH_TABLE or not stations.is_possible:
                raise
            # A kernel without nftables on bridges: all but the walls within one bridge.
            stations.is_possible = False
            nft.commit(self._rules, self.table.whole())
        self._is_installed = True
        self.let_through()

    def _uninstall(self) -> None:
        """The last network has gone: so do the tables and our way through other firewalls."""
        if self._is_installed:
            nft.commit(self._rules, self.table.removal(nft.tables(self._rules)))
            self._is_installed = False
            firewall.close_for(self._rules, self.table.table.name)

    def let_through(self) -> None:
        """Again after others changed their rules; nothing while we have no network."""
        if not self._is_installed:
            return
        self.forward()
        ours = f"sc{self._paths.tag}"
        named = [n for n in self.table.networks if not n.startswith(ours)]
        firewall.open_for(self._rules, (ours, *named), self.table.table.name)

    def forward(self) -> bool:
        """Lets the machine forward, if we have networks; whether it did not."""
        if not self._is_installed:
            return False
        was_off = _ensure_setting("ipv4/ip_forward", "1")
        return (self.table.has6 and _forward_ipv6()) or was_off

    def forward_everywhere(self) -> bool:
        """`forward`, and each of our bridges by itself."""
        changed = [self.forward()]
        for name, walls in self.table.networks.items():
            versions = ("ipv4", "ipv6") if walls.has_ipv6 else ("ipv4",)
            changed += [_ensure_setting(f"{v}/conf/{name}/forwarding", "1") for v in versions]
        return any(changed)

    # --- networks -----------------------------------------------------------------

    def make_network(self, wanted: Bridge) -> None:
        """Bridge and rules."""
        name = wanted.walls.bridge
        self.links.make_bridge(wanted)
        self._requests += self.table.add_network(wanted.walls)
        if self._is_installed and not self.links.is_own(name):
            self.let_through()
        elif self._is_installed and self.table.has6:
            _forward_ipv6()

    def drop_network(self, name: str) -> None:
        self._requests += self.table.remove_network(name)
        self.links.remove([name])

    # --- endpoints ----------------------------------------------------------------

    def attach(self, pid: int, wires: Sequence[Wire]) -> None:
        """Wires a container. ContainerError when its process has ended."""
        stations = [s for s in map(station_of, wires) if s]
        self._requests += self.table.add_stations(stations)
        try:
            self.links.attach(pid, wires)
        except OSError as error:
            self.detach([wire.host_name for wire in wires])
            raise attaching(error, pid) from error

    def mend(self, pid: int, wires: Sequence[Wire], ways: Sequence[tuple[str, str]]) -> list[str]:
        """After `converge`: makes those of a running container's wires that were not there.

        Gives the routes that could not be made.
        """
        absent = [w for w in wires if w.trunk is None and w.host_name not in self.links.found]
        if absent:
            self.attach(pid, absent)
        if absent or self.links.had_strays:
            return self.links.route(pid, ways)
        return []

    def detach(self, names: Iterable[str]) -> None:
        gone = list(names)
        self._requests += self.table.remove_stations(gone)
        self.links.remove(gone)

    # --- ports --------------------------------------------------------------------

    def publish(
        self,
        owner: str,
        wishes: Sequence[Wish],
        forward: Callable[[int, int], Sequence[Forward]],
        name_of: Callable[[str], str],
    ) -> list[int]:
        """Holds the wished ports (protocol, address, first, last, twin) and leads them on.

        `twin` is another address ("" for none) where the same number is held.
        `forward(index, number)` are the wish's ways; `name_of(container id)` names a
        holder of our own. Conflict: a port is taken.
        """
        if self._releases:
            self.flush()  # a port that was given up in this round is free
        reply = self.keeper.call("hold", owner=owner, ports=wishes)
        if not reply["ok"]:
            owner = reply["owner"]
            of_ours = name_of(owner) if owner else ""
            raise clash(wishes[reply["busy"]], reply["errno"], of_ours)
        numbers: list[int] = reply["numbers"]
        forwards = [way for index, number in enumerate(numbers) for way in forward(index, number)]
        self._owners.update({(f.protocol, f.host_ip, f.host_port): owner for f in forwards})
        self.lead(forwards)
        return numbers

    def lead(self, wanted: Iterable[Forward]) -> None:
        """Ports lead there from now on. Those that are not held (any more) are left alone."""
        forwards = [f for f in wanted if (f.protocol, f.host_ip, f.host_port) in self._owners]
        self._requests += self.table.add_forwards(forwards)
        self._ways += relayed(forwards)
        self._note_udp(forwards)

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
        """`raw` as the keeper has it; resolver "keep": the one it has now."""
        pending = self._names.get(container)
        if raw["resolver"] == "keep":
            known = self._known.get(container, {}).get("resolver")
            self._known[container] = {**raw, "resolver": known}
            if pending is not None and pending["resolver"] != "keep":
                raw = {**raw, "resolver": pending["resolver"]}
        else:
            self._known[container] = raw
        self._names[container] = raw

    def drop_names(self, container: str) -> None:
        self._names[container] = None
        self._known.pop(container, None)

    # --- the whole ----------------------------------------------------------------

    def converge(
        self,
        networks: Sequence[Bridge],
        wires: Mapping[str, Wire],
        forwards: Sequence[tuple[Forward, str]],
        containers: Sequence[str],
    ) -> list[list[Any]]:
        """Makes the kernel and the keeper what the records say; gives the ports that were lost.

        `wires`: those that may exist, by our end; `forwards` with the container id
        each. A lost port ([protocol, address, number]) leads nowhere any more: it is
        somebody else's.
        """
        try:
            self.links.converge(networks, wires)
        except OSError as error:
            raise translated(error, "networks") from error
        lost = self._converge_ports(networks, forwards, containers)
        gone = {tuple(key) for key in lost}
        for network in networks:
            self.table.add_network(network.walls)
        kept = [f for f, _ in forwards if (f.protocol, f.host_ip, f.host_port) not in gone]
        self.table.add_forwards(kept)
        self._ways = relayed(kept)
        self.table.add_stations(s for s in map(station_of, wires.values()) if s)
        found = nft.tables(self._rules)
        stale = EngineTable(self.table.table.name).removal(found)
        if not self.table.is_empty:
            if len(stale) > 1 and not self.table.has6:
                nft.commit(self._rules, stale)
            self._install()
        elif stale:
            nft.commit(self._rules, stale)
            firewall.close_for(self._rules, self.table.table.name)
        self._requests = []
        return lost

    def _converge_ports(
        self,
        networks: Sequence[Bridge],
        forwards: Sequence[tuple[Forward, str]],
        containers: Sequence[str],
    ) -> list[list[Any]]:
        if not (networks or forwards or containers or self.keeper.exists):
            return []
        self._owners = {(f.protocol, f.host_ip, f.host_port): owner for f, owner in forwards}
        ports = [[*key, owner] for key, owner in self._owners.items()]
        lost: list[list[Any]] = self.keeper.call("converge", keep=containers, ports=ports)["lost"]
        for protocol, address, number in lost:
            self._owners.pop((protocol, address, number), None)
        kept = self.keeper.call("show")["table"]["containers"]
        self._known = {raw["id"]: raw for raw in kept}
        return lost

    def repair(self) -> None:
        """Puts our table back as it should be: everything in one batch."""
        if self._is_installed:
            self._install()

    def rebuild(self, networks: Sequence[Bridge], wires: Mapping[str, Wire]) -> list[str]:
        """Puts bridges back that somebody took away; gives the names of those that lacked."""
        try:
            return self.links.rebuild(networks, wires)
        except OSError as error:
            raise translated(error, "bridges") from error

    def revive_keeper(self) -> list[list[Any]]:
        """Starts a keeper that died, if there is anything to keep, and tells it all we know.

        Gives the ports that somebody took meanwhile; they lead nowhere any more.
        """
        self.keeper.disconnect()
        if not (self._known or self._owners):
            return []
        ports = [[*key, owner] for key, owner in self._owners.items()]
        reply = self.keeper.call("converge", keep=list(self._known), ports=ports)
        self.keeper.call("names", containers=list(self._known.values()))
        lost: list[list[Any]] = reply["lost"]
        gone = [self._owners.pop((p, a, n), "") and (p, a, n) for p, a, n in lost]
        keys = {key for key in gone if key}
        mine = [f for key, f in self.table.forwards.items() if key in keys]
        self._requests += self.table.remove_forwards(mine)
        self._ways = relayed(self.table.forwards.values())
        return lost

    def remove_everything(self) -> None:
        """Table, openings, links, keeper."""
        try:
            nft.commit(self._rules, self.table.removal(nft.tables(self._rules)))
            self._is_installed = False
            self.table.clear()
            self._known.clear()
            self._owners.clear()
            firewall.close_for(self._rules, self.table.table.name)
            self.links.converge((), {})
        except OSError as error:
            raise translated(error, "removing networks") from error
        finally:
            self.keeper.stop()

    def findings(self) -> list[Finding]:
        return firewall.findings(self._rules) + networkd.findings(self._paths.veth(""))


def _ensure_setting(path: str, value: str) -> bool:
    """Whether it was another one."""
    with contextlib.suppress(OSError):
        with open(f"/proc/sys/net/{path}") as file:
            if file.read().strip() == value:
                return False
        bridge.write_setting(path, value)
        return True
    return False


def _forward_ipv6() -> bool:
    """Lets the machine route IPv6 without losing what it learns from its own router.

    With forwarding on the kernel ignores router advertisements where accept_ra is 1
    (Documentation/networking/ip-sysctl.rst). Whether it was off.
    """
    with contextlib.suppress(OSError):
        with open("/proc/sys/net/ipv6/conf/all/forwarding") as file:
            if file.read().strip() == "1":
                return False
        for _, name in socket.if_nameindex():
            with open(f"/proc/sys/net/ipv6/conf/{name}/accept_ra") as file:
                learns = file.read().strip() == "1"
            if learns:
                bridge.write_setting(f"ipv6/conf/{name}/accept_ra", "2")
        bridge.write_setting("ipv6/conf/all/forwarding", "1")
        return True
    return False
