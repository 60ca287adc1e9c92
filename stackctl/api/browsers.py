"""Keeping the pages of web sites away from the engine.

A browser on this machine reaches the socket only through something that listens on TCP in
front of it (socat, ssh -L, a proxy): then any site may send requests there. Two marks tell:

    Origin, Sec-Fetch-*    only browsers send them, and scripts cannot leave them out
    Host                   a site whose name was made to point here (DNS rebinding) asks "its
                           own" server, without an Origin for a GET: but by the site's name

Over our own TCP nothing of this is needed: no browser takes our certificate for the site's.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import unquote

from stackctl.api.http import Exchange

#: Headers that only browsers send, and scripts in them cannot leave out (Fetch standard).
_MARKS = ("origin", "sec-fetch-site", "sec-fetch-mode")
#: What `docker -H ssh://...` calls the other end; nobody can own that name (RFC 2606).
_OF_CLIENTS = ("docker.example.com",)


def refusal(exchange: Exchange) -> str:
    """Why this request is not answered; "" when no web page has to do with it."""
    headers = exchange.headers
    certified = exchange.peer is not None and exchange.peer.certified
    if certified and headers.get("origin") == f"https://{headers.get('host')}":
        # Programs that open web sockets name us as the origin; we serve no page that could.
        return ""
    if any(headers.get(name) for name in _MARKS):
        return "web pages may not talk to the engine"
    if certified:
        return ""
    host = headers.get("host", "")
    if local(host):
        return ""
    return (
        f'the engine is not called "{host}": a web page may be asking; '
        "connect by localhost, an address or a name without dots"
    )


def local(host: str) -> bool:
    """Whether a Host header can be of a program: nothing that a web site can be called.

    Clients of a unix socket send its path, a word ("docker", "localhost"), or nothing.
    """
    if "/" in unquote(host):
        return True
    name, colon, port = host.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()):
        name = host
    name = name.removesuffix(".").lower()
    if "." not in name or name.endswith(".localhost") or name in _OF_CLIENTS:
        return True
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
