"""The machine's own resolvers, as the daemon needs to know them."""

from __future__ import annotations

import ipaddress

from stackctl.net.keeper.upstream import nameservers


def host_nameservers(resolv_conf: str) -> list[str]:
    """The IPv4 addresses in a resolv.conf; none when it cannot be read."""
    try:
        with open(resolv_conf, encoding="utf-8", errors="replace") as file:
            found = nameservers(file.read())
    except OSError:
        return []
    return [address for address in found if _is_ipv4(address)]


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
