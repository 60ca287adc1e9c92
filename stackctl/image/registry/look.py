"""A look at what a registry has under a name, without taking any of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from stackctl.image.content import MAX_DOCUMENT, document
from stackctl.image.registry.client import Repository, reachable
from stackctl.image.registry.credentials import Keyring
from stackctl.image.registry.http import Http
from stackctl.image.registry.manifest import Manifest, Platform, parse
from stackctl.image.registry.settings import Endpoint, Settings
from stackctl.model.reference import Reference
from stackctl.values import dataclass

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The manifest or index that a name leads to, and what it is for."""

    media_type: str
    digest: str
    size: int
    platforms: tuple[Platform, ...]


def look(environment: Mapping[str, str], reference: Reference) -> Look:
    """Blocking. Raises NotFound, NotPermitted, ImageError, Unreachable."""
    wanted = reference.digest or reference.tag
    with _asked(environment, reference, lambda each: each.manifest(wanted)) as (repository, found):
        raw, media_type, digest = found
        parsed = parse(raw, media_type)
        if isinstance(parsed, Manifest):
            pieces, _ = repository.blob(parsed.config.digest)
            config = bytearray()
            for piece in pieces:
                config += piece
                if len(config) > MAX_DOCUMENT:
                    break
            platforms: tuple[Platform, ...] = (Platform.of(document(bytes(config))),)
        else:
            platforms = tuple(platform for _, platform in parsed)
        return Look(media_type=media_type, digest=digest, size=len(raw), platforms=platforms)


def tags(environment: Mapping[str, str], reference: Reference) -> list[str]:
    """All that the registry lists of a name. Blocking; raises as `look`."""
    with _asked(environment, reference, Repository.tags) as (_, found):
        return found


@contextmanager
def _asked(
    environment: Mapping[str, str], reference: Reference, ask: Callable[[Repository], T]
) -> Iterator[tuple[Repository, T]]:
    """The first of the reference's registry and its mirrors that answers, and what it says."""
    settings = Settings.of(environment)
    keyring = Keyring(environment)
    http = Http(settings)
    found: list[T] = []

    def make(endpoint: Endpoint) -> Repository:
        credentials = None if endpoint.mirror else keyring.get(reference.domain)
        return Repository(http, endpoint, reference.path, credentials)

    try:
        endpoints = settings.endpoints(reference.domain)
        repository = reachable(make, endpoints, lambda each: found.append(ask(each)))
        yield repository, found[-1]
    finally:
        http.close()
