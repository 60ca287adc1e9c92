"""login and logout: credentials are tried before they are kept."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from stackctl.errors import UsageError
from stackctl.image.registry.client import Repository, reachable
from stackctl.image.registry.credentials import Credentials, Keyring
from stackctl.image.registry.http import Http
from stackctl.image.registry.settings import Endpoint, Settings
from stackctl.model.reference import DEFAULT_DOMAIN


def domain_of(server: str) -> str:
    """A registry as people name it: nothing, a host, or an URL."""
    host = urlsplit(server if "//" in server else f"//{server}").netloc
    if "@" in host or any(letter.isspace() for letter in host):
        raise UsageError(f"{server!r} is not a registry")
    if host in ("", f"index.{DEFAULT_DOMAIN}", f"registry-1.{DEFAULT_DOMAIN}"):
        return DEFAULT_DOMAIN
    return host


def login(environment: Mapping[str, str], server: str, username: str, password: str) -> str:
    """Where they are kept now. Raises NotPermitted when the registry refuses them."""
    if not username or not password:
        raise UsageError("a user's name and a password are needed", hint="-u NAME --password-stdin")
    domain = domain_of(server)
    settings = Settings.of(environment)
    http = Http(settings)
    credentials = Credentials(username=username, password=password)

    def make(endpoint: Endpoint) -> Repository:
        return Repository(http, endpoint, "", credentials)

    try:
        endpoints = [e for e in settings.endpoints(domain) if not e.mirror]
        reachable(make, endpoints, lambda repository: repository.ping())
    finally:
        http.close()
    return Keyring(environment).put(domain, credentials)


def logout(environment: Mapping[str, str], server: str) -> bool:
    """Whether there was something to forget."""
    return Keyring(environment).drop(domain_of(server))
