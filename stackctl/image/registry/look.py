"""A look at what a registry has under a name, without taking any of it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from stackctl.errors import ImageError
from stackctl.image.content import MAX_DOCUMENT
from stackctl.image.registry.client import Repository, reachable
from stackctl.image.registry.credentials import Keyring
from stackctl.image.registry.http import Http
from stackctl.image.registry.manifest import Manifest, Platform, parse
from stackctl.image.registry.settings import Endpoint, Settings
from stackctl.model.reference import Reference
from stackctl.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The manifest or index that a name leads to, and what it is for."""

    media_type: str
    digest: str
    size: int
    platforms: tuple[Platform, ...]


def look(environment: Mapping[str, str], reference: Reference) -> Look:
    """Blocking. Raises NotFound, NotPermitted, ImageError, Unreachable."""
    settings = Settings.of(environment)
    keyring = Keyring(environment)
    http = Http(settings)
    found: list[tuple[bytes, str, str]] = []

    def make(endpoint: Endpoint) -> Repository:
        credentials = None if endpoint.mirror else keyring.get(reference.domain)
        return Repository(http, endpoint, reference.path, credentials)

    def ask(repository: Repository) -> None:
        found.append(repository.manifest(reference.digest or reference.tag))

    try:
        repository = reachable(make, settings.endpoints(reference.domain), ask)
        raw, media_type, digest = found[-1]
        parsed = parse(raw, media_type)
        if isinstance(parsed, Manifest):
            pieces, _ = repository.blob(parsed.config.digest)
            config = bytearray()
            for piece in pieces:
                config += piece
                if len(config) > MAX_DOCUMENT:
                    break
            platforms: tuple[Platform, ...] = (_platform(bytes(config)),)
        else:
            platforms = tuple(platform for _, platform in parsed)
        return Look(media_type=media_type, digest=digest, size=len(raw), platforms=platforms)
    finally:
        http.close()


def _platform(config: bytes) -> Platform:
    """As the image's config says."""
    try:
        document = json.loads(config)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise ImageError("the image's config is not a JSON object")
    return Platform(
        os=str(document.get("os") or "linux"),
        architecture=str(document.get("architecture") or ""),
        variant=str(document.get("variant") or ""),
    )
