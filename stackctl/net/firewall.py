"""Other people's firewalls: what drops forwarded packets here, and our way through.

dockerd and ufw leave the iptables FORWARD chain with policy drop, firewalld
rejects what it does not know; with bridge-nf-call-iptables even packets between
two containers of one bridge go through there. Accepting in our own table cannot
undo another table's drop, so we insert two rules (everything that enters or
leaves one of our bridges) before the first rule of exactly those chains, marked
with our tag, and take them out again. What we let pass there our own table still
judges. Chains that an administrator wrote are reported, never touched.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from stackctl.net import nft
from stackctl.net import nftexpr as x
from stackctl.net.netlink import NETLINK_NETFILTER, NetlinkError, NetlinkSocket, Request
from stackctl.net.nft import FoundChain, FoundRule, Table
from stackctl.values import dataclass

_OURS = "stackctl-"
_FAMILIES = (nft.FAMILY_IP, nft.FAMILY_IP6, nft.FAMILY_INET)
_IPTABLES = (nft.FAMILY_IP, nft.FAMILY_IP6)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about this machine's firewall that a user may need to know.

    `is_problem`: containers' packets may be lost because of it. `hint` says what to do.
    `part`: of the machine, when it is not the firewall.
    """

    text: str
    is_problem: bool = False
    hint: str = ""
    part: str = "firewall"


@dataclass(frozen=True, slots=True)
class _Opening:
    """A chain of somebody else's that has to let our bridges pass."""

    table: Table
    chain: str
    #: Who made it, for the finding.
    owner: str


def _openings(link: NetlinkSocket) -> list[_Opening]:
    chains = nft.chains(link)
    docker_users = {c.family for c in chains if (c.table, c.name) == ("filter", "DOCKER-USER")}
    found = []
    for chain in chains:
        if not _forwards(chain):
            continue
        table = Table(chain.family, chain.table)
        if chain.family in _IPTABLES and chain.table == "filter" and chain.policy == 0:
            # dockerd puts its jump to DOCKER-USER first again at each of its starts.
            of_docker = chain.family in docker_users
            name = "DOCKER-USER" if of_docker else chain.name
            owner = "dockerd" if of_docker else "iptables"
            found.append(_Opening(table, name, owner))
        elif chain.table == "firewalld" and chain.name == "filter_FORWARD":
            found.append(_Opening(table, chain.name, "firewalld"))
    return found


def _forwards(chain: FoundChain) -> bool:
    return (
        chain.hook == nft.HOOK_FORWARD
        and chain.family in _FAMILIES
        and chain.kind == "filter"
        and not chain.table.startswith(_OURS)
    )


def _rules(opening: _Opening, names: Sequence[str], mark: str) -> list[Request]:
    """`-i prefix+ -j ACCEPT` and `-o prefix+ -j ACCEPT` in the shape that iptables reads.

    The first of `names` is a prefix, the others are whole names.
    """
    prefix, *whole = names
    return [
        opening.table.rule(
            opening.chain,
            [x.meta(key), x.equal(start), x.counter(), x.accept()],
            comment=mark,
            insert=True,
        )
        for start in (prefix.encode(), *(nft.ifname(name) for name in whole))
        for key in (x.META_IIFNAME, x.META_OIFNAME)
    ]


def _marked(link: NetlinkSocket, table: Table, mark: str) -> list[FoundRule]:
    return [rule for rule in nft.rules(link, table) if rule.comment == mark]


def open_for(link: NetlinkSocket, names: Sequence[str], mark: str) -> list[str]:
    """Lets our interfaces pass; gives the owners let through.

    `names`: what the engine's names start with, then bridges that are called
    otherwise. Right to call again: what is open already stays as it is. Errors are
    swallowed chain by chain: a foreign chain may vanish while we look at it.
    """
    owners = []
    for opening in _openings(link):
        present = [r for r in _marked(link, opening.table, mark) if r.chain == opening.chain]
        if len(present) != 2 * len(names):
            stale = [opening.table.delete_rule(r.chain, r.handle) for r in present]
            try:
                nft.commit(link, stale + _rules(opening, names, mark))
            except NetlinkError:
                continue
        owners.append(opening.owner)
    return owners


def close_for(link: NetlinkSocket, mark: str) -> None:
    """Takes our rules out of every chain of others."""
    tables = {(c.family, c.table) for c in nft.chains(link) if c.family in _FAMILIES}
    for family, name in tables:
        if name.startswith(_OURS):
            continue
        table = Table(family, name)
        for rule in _marked(link, table, mark):
            # Somebody may have flushed it since we looked.
            with contextlib.suppress(NetlinkError):
                nft.commit(link, [table.delete_rule(rule.chain, rule.handle)])


def findings(link: NetlinkSocket) -> list[Finding]:
    """What the firewall of this network namespace means for containers (for `doctor`)."""
    found = [
        Finding(
            f"{opening.owner}'s chain {opening.chain} drops forwarded packets:"
            " stackctl adds an accept for its own bridges there"
        )
        for opening in _openings(link)
    ]
    handled = {(o.table.family, o.table.name) for o in _openings(link)}
    for chain in nft.chains(link):
        if not _forwards(chain) or chain.policy != 0 or (chain.family, chain.table) in handled:
            continue
        found.append(
            Finding(
                f"the nftables chain {chain.table} {chain.name} drops forwarded packets",
                is_problem=True,
                hint='allow stackctl\'s bridges in it: iifname "sc*" accept, oifname "sc*" accept',
            )
        )
    return found + _legacy_findings()


def machine_findings() -> list[Finding]:
    """`findings` of the calling thread's network namespace, for who has no engine running.

    Nothing for who is not allowed to look.
    """
    try:
        with NetlinkSocket(NETLINK_NETFILTER) as link:
            return findings(link) + _settings()
    except OSError as error:
        return [Finding(f"the firewall cannot be looked at: {error}")]


def _settings() -> list[Finding]:
    """What of the machine's settings sends a container's packets other ways."""
    found = []
    try:
        with open("/proc/sys/net/bridge/bridge-nf-call-iptables") as file:
            if file.read().strip() == "1":
                found.append(
                    Finding(
                        "bridge-nf-call-iptables is on: packets within one network go"
                        " through the machine's firewall, too"
                    )
                )
    except OSError:
        pass  # no such module: nothing of the kind
    return found


def _legacy_findings() -> list[Finding]:
    """iptables-legacy is outside nftables: only its presence can be seen from here."""
    try:
        with open("/proc/thread-self/net/ip_tables_names") as file:
            tables = file.read().split()
    except OSError:
        return []
    if "filter" not in tables:
        return []
    hint = "if containers reach nothing: iptables-legacy -I FORWARD -i sc+ -j ACCEPT; same with -o"
    if not os.path.exists("/usr/sbin/iptables-legacy"):
        hint = "if containers reach nothing, allow interfaces sc+ in its FORWARD chain"
    return [
        Finding("iptables-legacy has filter rules, which stackctl cannot see", True, hint),
    ]
