"""The keeper's table and its control socket.

One JSON object a line each way, answered in order:

    {"id":1,"op":"hold","owner":C,"ports":[[protocol,address,first,last,twin],...]}
        -> {"id":1,"ok":true,"numbers":[...]}
        or {"id":1,"ok":false,"busy":index,"errno":N,"owner":C or ""}
    {"op":"release","ports":[[protocol,address,number],...]}
    {"op":"ways","ports":[[protocol,address,number,to address,to port],...]}
        where the keeper hands on to what arrives at ::1 on a held port; by IPv4
        what arrives at any IPv6 address on a port of IPv6
    {"op":"names","containers":[CONTAINER,...]}      replaces what is known of each
    {"op":"drop","containers":[id,...]}
    {"op":"converge","keep":[id,...],"ports":[[protocol,address,number,owner],...]}
        -> {"ok":true,"lost":[[protocol,address,number],...]}
        exactly these ports from now on, and no other containers than these
    {"op":"show"} -> {"table":{}}      {"op":"stop"}

    CONTAINER: {"id":C,"networks":{id:[name,internal]},
                "members":[[network,address4,address6,[names]],...],
                "resolver":null, "keep" (as it is) or [pid,start_time (0: as found),port],
                "servers":[address,...],"project":P,"links":{alias:name},"weak":bool}

The table is saved soon after each change (a living daemon tells it all to the
next keeper anyway): a keeper that was killed comes back as it was.

A container's process is watched: when it ends and no other one is in its network
namespace, the sockets in there are closed: they would keep the namespace, and
its interfaces, alive.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import socket
import struct
from collections.abc import Iterable
from typing import Any

from stackctl.linux import ns
from stackctl.net.keeper.loop import READ, Loop, Timer
from stackctl.net.keeper.names import Directory, Membership
from stackctl.net.keeper.ports import Busy, Port, Ports, Wish
from stackctl.net.keeper.resolver import Resolver
from stackctl.net.keeper.upstream import Forwarder, Resolvers

#: Seconds without a controller after which an empty keeper leaves.
_LINGER = 5.0
#: Seconds between a process's end and the look for another one in its namespace:
#: the process that made the namespace often ends after it started the container's.
_SUCCESSION = 0.25
_SAVE_AFTER = 0.05
#: Descriptors that ports leave to resolvers, questions on their way and connections.
_KEPT_BACK = 8192
#: Seconds after which a resolver is tried again that could have no descriptor.
_AGAIN = 1.0


class Container:
    """What is known of one container: its part of the table, its sockets, its process."""

    def __init__(self, raw: dict[str, Any], resolver: Resolver) -> None:
        self.raw = raw
        self.resolver = resolver
        self.pidfd = -1


class Server:
    """The table, who may change it, and when it is given up."""

    def __init__(self, loop: Loop, table: str, resolv_conf: str = "/etc/resolv.conf") -> None:
        self._loop = loop
        self._path = table
        self._home = ns.open_netns()
        self._directory = Directory()
        self._forwarder = Forwarder(loop, Resolvers(resolv_conf))
        # Ports come in thousands; what is kept back is for who asks for names.
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._ports = Ports(loop, files - min(files // 2, _KEPT_BACK))
        self._containers: dict[str, Container] = {}
        self._controllers: set[_Controller] = set()
        self._leaving: Timer | None = None
        self._saving: Timer | None = None

    # --- control ------------------------------------------------------------------

    def listen(self, path: str) -> None:
        """Serves the control socket at `path` (owner only)."""
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        temporary = f"{path}.{os.getpid()}"
        link.bind(temporary)
        os.chmod(temporary, 0o600)
        link.listen(16)
        link.setblocking(False)
        os.rename(temporary, path)
        self._loop.watch(link.fileno(), READ, lambda _: self._accept(link))
        self._maybe_leave()

    def _accept(self, link: socket.socket) -> None:
        try:
            client, _ = link.accept()
        except OSError:
            return
        credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        if struct.unpack("=iII", credentials)[1] not in (0, os.geteuid()):
            client.close()
            return
        self._controllers.add(_Controller(self, client, self._loop))

    def controller_gone(self, controller: _Controller) -> None:
        self._controllers.discard(controller)
        self._maybe_leave()

    def _maybe_leave(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        if not self._controllers and not self._containers and not self._ports.owners():
            self._leaving = self._loop.after(_LINGER, self._leave)

    def _leave(self) -> None:
        if not self._controllers:
            self._loop.stop()

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request; its answer without the id."""
        match request.get("op"):
            case "hold":
                return self._hold(request)
            case "release":
                self._ports.release(Port(*p) for p in request["ports"])
            case "ways":
                self._lead(request["ports"])
            case "names":
                for raw in request["containers"]:
                    self._set(raw)
            case "drop":
                for container in request["containers"]:
                    self._drop(container)
            case "converge":
                return self._converge(request)
            case "show":
                return {"ok": True, "table": self.table(), "open": self._open_resolvers()}
            case "stop":
                self._loop.stop()
            case other:
                return {"ok": False, "text": f"unknown request {other!r}"}
        self.changed()
        return {"ok": True}

    def _hold(self, request: dict[str, Any]) -> dict[str, Any]:
        wishes = [Wish(*p) for p in request["ports"]]
        try:
            numbers = self._ports.hold(wishes, request["owner"])
        except Busy as busy:
            return {"ok": False, "busy": busy.index, "errno": busy.errno, "owner": busy.owner}
        self.changed()
        return {"ok": True, "numbers": numbers}

    # --- the table ----------------------------------------------------------------

    def table(self) -> dict[str, Any]:
        return {
            "version": 1,
            "containers": [c.raw for c in self._containers.values()],
            "ports": [[*port, owner] for port, owner in self._ports.owners().items()],
            "ways": [[*port, *way] for port, way in self._ports.ways().items()],
        }

    def _open_resolvers(self) -> list[str]:
        return [name for name, c in self._containers.items() if c.resolver.is_open]

    def changed(self) -> None:
        """The table is to be saved: once for many changes that come together."""
        if self._saving is None:
            self._saving = self._loop.after(_SAVE_AFTER, self._save)

    def _save(self) -> None:
        """Writes the table: whole or not at all."""
        self._saving = None
        temporary = f"{self._path}.new"
        try:
            with open(temporary, "w") as file:
                json.dump(self.table(), file, separators=(",", ":"))
            os.rename(temporary, self._path)
        except OSError:
            # A full or vanished directory must not stop the answers; the daemon
            # brings its records when it starts a new keeper.
            return

    def load(self) -> None:
        """Takes up the table of a keeper that was killed."""
        try:
            with open(self._path) as file:
                table = json.load(file)
        except (OSError, ValueError):
            return
        if table.get("version") == 1:
            self._hold_exactly(table["ports"])
            self._lead(table.get("ways", ()))
            for raw in table["containers"]:
                self._set(raw)

    def _converge(self, request: dict[str, Any]) -> dict[str, Any]:
        """Exactly these ports, and no other containers than those to keep."""
        for gone in self._containers.keys() - set(request["keep"]):
            self._drop(gone)
        return {"ok": True, "lost": self._hold_exactly(request["ports"])}

    def _lead(self, ports: Iterable[list[Any]]) -> None:
        for protocol, address, number, to_address, to_port in ports:
            self._ports.lead(Port(protocol, address, number), (to_address, to_port))

    def _hold_exactly(self, ports: list[list[Any]]) -> list[list[Any]]:
        """Gives up all other ports; the ones that could not be had."""
        wanted = {Port(*p[:3]): p[3] for p in ports}
        held = self._ports.owners()
        self._ports.release(held.keys() - wanted.keys())
        lost: list[list[Any]] = []
        for port, owner in wanted.items():
            wish = Wish(port.protocol, port.address, port.number, port.number)
            if held.get(port) == owner:
                continue
            if port in held:
                self._ports.release([port])
            try:
                self._ports.hold([wish], owner)
            except Busy:
                lost.append(list(port))
        self.changed()
        return lost

    def _set(self, raw: dict[str, Any]) -> None:
        """Replaces what is known of a container. Its sockets stay when they still fit."""
        name = raw["id"]
        for network, (title, internal) in raw["networks"].items():
            self._directory.set_network(network, title, internal)
        members = tuple(Membership(n, v4, v6, tuple(names)) for n, v4, v6, names in raw["members"])
        self._directory.set_container(
            name,
            members,
            project=raw.get("project", ""),
            links=raw.get("links") or {},
            weak=bool(raw.get("weak")),
        )
        container = self._containers.get(name)
        if raw.get("resolver") == "keep":
            raw = {**raw, "resolver": container.raw.get("resolver") if container else None}
        if container is None:
            resolver = Resolver(self._loop, self._directory, self._forwarder, name)
            container = self._containers[name] = Container(raw, resolver)
        container.raw = raw
        container.resolver.servers = tuple(raw.get("servers") or ())
        self._place(container)

    def _place(self, container: Container) -> None:
        """Opens (or keeps, or closes) a container's sockets as its part of the table says."""
        self._unwatch(container)
        wanted = container.raw.get("resolver")
        if not wanted:
            container.resolver.close()
            return
        pid, start_time, port = wanted
        pidfd = -1
        try:
            pidfd = os.pidfd_open(pid)
            found = start_time_of(pid)
            if start_time and start_time != found:
                raise ProcessLookupError(errno.ESRCH, "another process has this pid")
            container.raw = {**container.raw, "resolver": [pid, found, port]}
            resolver = container.resolver
            if not (resolver.is_open and resolver.port == port and resolver.netns == _netns(pid)):
                resolver.open(pid, port, self._home)
        except OSError as error:
            if pidfd >= 0:
                os.close(pidfd)
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._loop.after(_AGAIN, lambda: self._place_again(container))
            else:
                self._succession(container)
            return
        container.pidfd = pidfd
        self._loop.watch(pidfd, READ, lambda _: self._ended(container))

    def _place_again(self, container: Container) -> None:
        if self._containers.get(container.raw["id"]) is container and container.pidfd < 0:
            self._place(container)

    def _unwatch(self, container: Container) -> None:
        if container.pidfd >= 0:
            self._loop.forget(container.pidfd)
            os.close(container.pidfd)
            container.pidfd = -1

    def _ended(self, container: Container) -> None:
        self._unwatch(container)
        self._loop.after(_SUCCESSION, lambda: self._succession(container))

    def _succession(self, container: Container) -> None:
        """The process that stood for a container has ended: who is left in its namespace?"""
        if container.pidfd >= 0 or not container.resolver.is_open:
            return
        wanted = container.raw.get("resolver")
        heir = process_in(container.resolver.netns)
        if heir is None or not wanted:
            container.resolver.close()
            return
        container.raw = {**container.raw, "resolver": [heir, start_time_of(heir), wanted[2]]}
        self.changed()
        self._place(container)

    def _drop(self, name: str) -> None:
        container = self._containers.pop(name, None)
        self._directory.drop_container(name)
        self._directory.prune_networks()
        if container is not None:
            self._unwatch(container)
            container.raw = {**container.raw, "resolver": None}
            container.resolver.close()


class _Controller:
    """One connection on the control socket."""

    def __init__(self, server: Server, link: socket.socket, loop: Loop) -> None:
        self._server, self._link, self._loop = server, link, loop
        self._buffer = bytearray()
        loop.watch(link.fileno(), READ, self._ready)

    def _ready(self, _: int) -> None:
        try:
            data = self._link.recv(1 << 18)
        except OSError:
            data = b""
        if not data:
            self._close()
            return
        self._buffer += data
        *lines, rest = bytes(self._buffer).split(b"\n")
        self._buffer = bytearray(rest)
        replies = [self._answer(line) for line in lines if line]
        if replies:
            try:
                # The controller waits for its answer: this does not block for long.
                self._link.sendall(b"".join(replies))
            except OSError:
                self._close()

    def _answer(self, line: bytes) -> bytes:
        number: Any = None
        try:
            request = json.loads(line)
            number = request.get("id")
            reply = self._server.handle(request)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reply = {"ok": False, "text": f"bad request: {error!r}"}
        return json.dumps({"id": number, **reply}, separators=(",", ":")).encode() + b"\n"

    def _close(self) -> None:
        self._loop.forget(self._link.fileno())
        self._link.close()
        self._server.controller_gone(self)


def _netns(pid: int) -> int:
    return ns.netns_inode(pid)


def start_time_of(pid: int) -> int:
    """Field 22 of /proc/PID/stat (proc(5)): with the pid it names one process for ever."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])


def process_in(netns: int) -> int | None:
    """The lowest pid in a network namespace; None when nobody is in it."""
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        try:
            if ns.netns_inode(pid) == netns:
                return pid
        except OSError:
            continue  # it ended meanwhile
    return None
