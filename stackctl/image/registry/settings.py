"""Where a registry is and how it may be spoken to: endpoints, mirrors, insecure ones, own CAs.

    /etc/stackctl/registries.json   {"insecure": ["10.0.0.5:5000", "10.1.0.0/16"],
                                     "mirrors": {"docker.io": ["https://mirror.example"]}}
    STACKCTL_REGISTRIES             another such file
    STACKCTL_INSECURE_REGISTRIES    host[:port] or network, comma-separated
    STACKCTL_REGISTRY_MIRRORS       registry=URL, comma-separated
    certs.d/<host[:port]>/          *.crt: CAs; NAME.cert with NAME.key: a client's certificate
                                    (below /etc/stackctl, /etc/containers, /etc/docker)

As in Docker, a registry on this machine (127.0.0.0/8, localhost, ::1) counts as insecure.
"""

from __future__ import annotations

import ipaddress
import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from urllib.parse import urlsplit

from stackctl.errors import UsageError
from stackctl.model.reference import DEFAULT_DOMAIN
from stackctl.values import dataclass

_FILE = "/etc/stackctl/registries.json"
_CERTIFICATES = ("/etc/stackctl/certs.d", "/etc/containers/certs.d", "/etc/docker/certs.d")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A registry's API: scheme and host[:port]; `verify` False accepts any certificate."""

    scheme: str
    host: str
    verify: bool = True
    mirror: bool = False

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Read once a request: `of` is cheap."""

    insecure: tuple[str, ...] = ()
    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    certificates: tuple[str, ...] = _CERTIFICATES
    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Settings:
        """Raises UsageError for a file that is none."""
        insecure: list[str] = []
        mirrors: dict[str, list[str]] = {}
        file = environment.get("STACKCTL_REGISTRIES") or _FILE
        try:
            raw = json.loads(Path(file).read_text())
            insecure += [str(entry) for entry in raw.get("insecure") or ()]
            for domain, urls in (raw.get("mirrors") or {}).items():
                mirrors[str(domain)] = [str(url) for url in urls]
        except FileNotFoundError:
            if file != _FILE:
                raise UsageError(f"there is no file {file} (STACKCTL_REGISTRIES)") from None
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise UsageError(
                f"{file} cannot be used: {error}",
                hint='it is JSON: {"insecure": [], "mirrors": {}}',
            ) from None
        insecure += _listed(environment.get("STACKCTL_INSECURE_REGISTRIES"))
        for entry in _listed(environment.get("STACKCTL_REGISTRY_MIRRORS")):
            domain, _, url = entry.partition("=")
            mirrors.setdefault(domain, []).append(url)
        return cls(
            insecure=tuple(insecure),
            mirrors={domain: tuple(urls) for domain, urls in mirrors.items()},
            environment=environment,
        )

    def endpoints(self, domain: str) -> tuple[Endpoint, ...]:
        """In the order in which they are tried: mirrors, then the registry itself."""
        found: list[Endpoint] = []
        for url in self.mirrors.get(domain, ()):
            parts = urlsplit(url if "//" in url else f"https://{url}")
            found.append(
                Endpoint(parts.scheme, parts.netloc, not self.is_insecure(parts.netloc), True)
            )
        host = api_host(domain)
        if self.is_insecure(host):
            found += [Endpoint("https", host, False), Endpoint("http", host)]
        else:
            found.append(Endpoint("https", host))
        return tuple(found)

    def is_insecure(self, host: str) -> bool:
        """Whether plain HTTP, and a certificate nobody vouches for, will do."""
        name = urlsplit(f"//{host}").hostname or ""
        if name == "localhost" or host in self.insecure or name in self.insecure:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        if address.is_loopback:
            return True
        for entry in self.insecure:
            try:
                if "/" in entry and address in ipaddress.ip_network(entry, strict=False):
                    return True
            except ValueError:
                continue
        return False

    def context(self, endpoint: Endpoint) -> ssl.SSLContext:
        """TLS for an endpoint, with the CAs and the certificate that are configured for it."""
        context = ssl.create_default_context()
        if bundle := self.environment.get("SSL_CERT_FILE"):
            context.load_verify_locations(bundle)
        for place in self.certificates:
            directory = Path(place) / endpoint.host
            try:
                names = sorted(os.listdir(directory))
            except OSError:
                continue
            for name in names:
                path = directory / name
                if name.endswith(".crt"):
                    context.load_verify_locations(path)
                elif name.endswith(".cert"):
                    context.load_cert_chain(path, path.with_suffix(".key"))
        if not endpoint.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def api_host(domain: str) -> str:
    """Where a registry's API is: the default one's has another name than its images."""
    return f"registry-1.{domain}" if domain == DEFAULT_DOMAIN else domain


def credential_key(domain: str) -> str:
    """What a registry's credentials are filed under, as Docker does."""
    return f"https://index.{domain}/v1/" if domain == DEFAULT_DOMAIN else domain


def _listed(text: str | None) -> list[str]:
    return [entry.strip() for entry in (text or "").split(",") if entry.strip()]
