"""Who is called what, as each asker sees it. No socket, no clock.

A name belongs to a network; an asker sees the names of the networks it is in. Two
projects may meet in a network and both have a "db" there: a name that a container
of the asker's own project has (in any of the asker's networks) means those of
its project only, and others' only when its own project has none. Of several
containers those that are unhealthy are left out, unless all are.
`Directory.answer` gives the answer, or says that the query goes elsewhere.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from stackctl.net.keeper import codec
from stackctl.net.keeper.codec import Question

#: Seconds. Short: replicas come and go, and some programs keep answers.
TTL = 5
_V4, _V6 = ".in-addr.arpa", ".ip6.arpa"
_NO_LINKS: Mapping[str, str] = {}


class Elsewhere(Enum):
    """Not our name: ask the machine's resolvers, or nobody (internal networks only)."""

    FORWARD = "forward"
    NOBODY = "nobody"


class Membership(NamedTuple):
    """One container's place in one network. Addresses without prefix length, or ""."""

    network: str
    address4: str
    address6: str
    #: The first one is what a reverse look-up gives.
    names: tuple[str, ...]


class _Hosts:
    """The addresses of one name in one network, in order of arrival."""

    __slots__ = ("v4", "v6")

    def __init__(self) -> None:
        self.v4: dict[str, bytes] = {}
        self.v6: dict[str, bytes] = {}


class Directory:
    """All names, and which networks a container is in."""

    def __init__(self) -> None:
        self.members: dict[str, tuple[Membership, ...]] = {}
        #: network id -> (name, internal)
        self.networks: dict[str, tuple[str, bool]] = {}
        self._hosts: dict[tuple[str, str], _Hosts] = {}
        self._reverse: dict[tuple[str, bytes], str] = {}
        self._turn = 0
        self._projects: dict[str, str] = {}
        self._links: dict[str, dict[str, str]] = {}
        self._weak: set[str] = set()
        #: Changes with every change: what was answered before may be wrong.
        self.generation = 0

    def set_network(self, network: str, name: str, internal: bool) -> None:
        self.networks[network] = (name.lower(), internal)
        self.generation += 1

    def set_container(
        self,
        container: str,
        members: tuple[Membership, ...],
        *,
        project: str = "",
        links: Mapping[str, str] = _NO_LINKS,
        weak: bool = False,
    ) -> None:
        """Replaces what is known of a container.

        `links`: names that only it knows -> names of others. `weak`: others with
        its names are preferred.
        """
        self.drop_container(container)
        self._projects[container] = project
        if links:
            self._links[container] = {_heard(a): _heard(n) for a, n in links.items()}
        if weak:
            self._weak.add(container)
        self.members[container] = members
        for member in members:
            v4, v6 = _packed(member)
            for name in member.names:
                hosts = self._hosts.setdefault((member.network, _heard(name)), _Hosts())
                if v4:
                    hosts.v4[container] = v4
                if v6:
                    hosts.v6[container] = v6
            for address in (v4, v6):
                if address and member.names:
                    self._reverse[member.network, address] = _spelled(member.names[0])

    def drop_container(self, container: str) -> None:
        self.generation += 1
        self._projects.pop(container, None)
        self._links.pop(container, None)
        self._weak.discard(container)
        for member in self.members.pop(container, ()):
            for name in member.names:
                key = (member.network, _heard(name))
                hosts = self._hosts.get(key)
                if hosts is None:
                    continue
                hosts.v4.pop(container, None)
                hosts.v6.pop(container, None)
                if not hosts.v4 and not hosts.v6:
                    del self._hosts[key]
            for address in _packed(member):
                self._reverse.pop((member.network, address), None)

    def prune_networks(self) -> None:
        """Forgets networks that no container is in."""
        used = {m.network for members in self.members.values() for m in members}
        for network in self.networks.keys() - used:
            del self.networks[network]

    def answer(self, asker: str, question: Question, limit: int) -> tuple[bytes, bool] | Elsewhere:
        """(answer without id, may it be given again) for a container's question."""
        networks = [m.network for m in self.members.get(asker, ())]
        if question.klass == codec.CLASS_IN:
            found = self._local(asker, networks, question)
            if found is not None:
                records, steady = found
                return codec.answer(question, codec.NOERROR, records, limit), steady
        outside = any(not self.networks.get(n, ("", False))[1] for n in networks)
        return Elsewhere.FORWARD if outside else Elsewhere.NOBODY

    def _local(
        self, asker: str, networks: list[str], question: Question
    ) -> tuple[list[bytes], bool] | None:
        """(records, is their order always the same) for a name of ours."""
        if question.kind == codec.TYPE_PTR:
            name = self._name_of(networks, question.name)
            if name is None:
                return None
            return [codec.record(codec.TYPE_PTR, codec.encode_name(name), TTL)], True
        name = question.name
        if asker in self._links:
            name = self._links[asker].get(name, name)
        hosts = self._hosts_of(networks, name)
        if not hosts:
            return None
        addresses = self._addresses(asker, hosts, question.kind)
        if len(addresses) > 1:
            self._turn += 1
            start = self._turn % len(addresses)
            addresses = addresses[start:] + addresses[:start]
        records = [codec.record(question.kind, a, TTL) for a in addresses]
        return records, len(addresses) < 2

    def _addresses(self, asker: str, hosts: list[_Hosts], kind: int) -> list[bytes]:
        """The addresses of those containers that the name means for the asker."""
        holders = list({c: None for h in hosts for c in (*h.v4, *h.v6)})
        if len(holders) > 1:
            project = self._projects.get(asker, "")
            own = [c for c in holders if self._projects.get(c, "") == project]
            holders = own or holders
            holders = [c for c in holders if c not in self._weak] or holders
        if kind == codec.TYPE_A:
            found = [h.v4.get(c) for h in hosts for c in holders]
        elif kind == codec.TYPE_AAAA:
            found = [h.v6.get(c) for h in hosts for c in holders]
        else:
            return []
        return list(dict.fromkeys(a for a in found if a))

    def _hosts_of(self, networks: list[str], name: str) -> list[_Hosts]:
        found = [self._hosts.get((n, name)) for n in networks]
        hosts = [h for h in found if h is not None]
        if hosts or "." not in name:
            return hosts
        # "web.shop_front": a name within a network that is named.
        for network in networks:
            suffix = "." + self.networks.get(network, ("", False))[0]
            if len(suffix) > 1 and name.endswith(suffix):
                match = self._hosts.get((network, name[: -len(suffix)]))
                if match is not None:
                    return [match]
        return []

    def _name_of(self, networks: list[str], name: str) -> str | None:
        address = _reverse_address(name)
        if address is None:
            return None
        for network in networks:
            found = self._reverse.get((network, address))
            if found is not None:
                suffix = self.networks.get(network, ("", False))[0]
                return f"{found}.{suffix}" if suffix else found
        return None


def _spelled(name: str) -> str:
    """As a message has it: a character a byte, whatever alphabet it is of."""
    return name.removesuffix(".").encode().decode("latin-1")


def _heard(name: str) -> str:
    """As the codec reads it from a question."""
    return _spelled(name).lower()


def _packed(member: Membership) -> tuple[bytes, bytes]:
    v4 = socket.inet_aton(member.address4) if member.address4 else b""
    v6 = socket.inet_pton(socket.AF_INET6, member.address6) if member.address6 else b""
    return v4, v6


def _reverse_address(name: str) -> bytes | None:
    """The address that a reverse look-up asks about; None when it is none."""
    if name.endswith(_V4):
        parts = name[: -len(_V4)].split(".")
        if len(parts) == 4 and all(p.isascii() and p.isdigit() and len(p) < 4 for p in parts):
            numbers = [int(p) for p in reversed(parts)]
            return bytes(numbers) if max(numbers) < 256 else None
    elif name.endswith(_V6):
        digits = name[: -len(_V6)].split(".")
        if len(digits) == 32 and all(len(d) == 1 and d in "0123456789abcdef" for d in digits):
            return bytes.fromhex("".join(reversed(digits)))
    return None
