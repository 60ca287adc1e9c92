"""Image references: what a user writes, taken apart and made whole.

    nginx                        docker.io/library/nginx:latest
    ghcr.io/acme/api:1.2         ghcr.io/acme/api:1.2
    web@sha256:<64 hex>          docker.io/library/web@sha256:...
    stackctl/host                the built-in image, of no registry

Follows the grammar of the distribution project's reference package. Refuses
anything else with an ImageError that says which part is wrong.
"""

from __future__ import annotations

import re

from stackctl.errors import ImageError
from stackctl.values import dataclass

HOST = "stackctl/host"

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PART}(?:/{_PART})*")
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
# Most images are of the default registry, and few are named by a digest: made when it is asked for.
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_DIGEST = r"sha256:[a-f0-9]{64}"
_TAG = re.compile(r"[\w][\w.-]{0,127}", re.ASCII)

DEFAULT_DOMAIN = "docker.io"
_OLD_DEFAULT_DOMAIN = f"index.{DEFAULT_DOMAIN}"
_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class Reference:
    """`domain` and `path` are always there; a tag or a digest or both; "" is none."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def is_host(self) -> bool:
        """The built-in image; only its plain name and :latest mean it."""
        own = self.domain == DEFAULT_DOMAIN and self.path == HOST
        return own and self.tag in ("", "latest") and not self.digest

    @property
    def name(self) -> str:
        return f"{self.domain}/{self.path}"

    @property
    def familiar(self) -> str:
        """As people write it: without the default domain and the library."""
        name = self.name
        if self.domain == DEFAULT_DOMAIN:
            name = self.path.removeprefix("library/")
        return name + self._suffix()

    def __str__(self) -> str:
        return self.name + self._suffix()

    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return tag + (f"@{self.digest}" if self.digest else "")


def parse(text: str) -> Reference:
    """Normalised: default domain, library, and "latest" when neither tag nor digest is there.

    Raises ImageError.
    """
    rest, at, digest = text.partition("@")
    if at and not re.fullmatch(_DIGEST, digest):
        raise _wrong(text, "its digest is not sha256: and 64 lower-case hexadecimal digits")
    tag = ""
    # A colon after the last slash starts a tag; before it, it belongs to a port.
    head, colon, last = rest.rpartition(":")
    if colon and "/" not in last:
        rest, tag = head, last
        if not _TAG.fullmatch(tag):
            raise _wrong(text, f"{tag!r} is not a tag")
    domain, path = _split_domain(rest)
    if domain != DEFAULT_DOMAIN and not re.fullmatch(_DOMAIN, domain):
        raise _wrong(text, f"{domain!r} is not a registry's name")
    if not _PATH.fullmatch(path):
        reason = "names are lower case" if path != path.lower() else f"{path!r} is not a name"
        raise _wrong(text, reason)
    if len(path) > _LONGEST_NAME:
        raise _wrong(text, f"its name is longer than {_LONGEST_NAME} characters")
    if domain == _OLD_DEFAULT_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = f"library/{path}"
    if not tag and not digest:
        tag = "latest"
    return Reference(domain, path, tag, digest)


def in_registry(text: str) -> Reference:
    """`parse`, for who is about to ask a registry: of the built-in image none is ever asked.

    Whoever owns that name at the default registry could give another one. Raises ImageError.
    """
    parsed = parse(text)
    if parsed.is_host:
        raise ImageError(f"{HOST} is the built-in image: no registry has it")
    return parsed


def _split_domain(name: str) -> tuple[str, str]:
    """The first part is a registry when it looks like a host: a dot, a port, or localhost."""
    first, slash, path = name.partition("/")
    if slash and (set(".:") & set(first) or first == "localhost" or first != first.lower()):
        return first, path
    return DEFAULT_DOMAIN, name


def _wrong(text: str, reason: str) -> ImageError:
    return ImageError(
        f"{text!r} is not an image reference: {reason}",
        hint="for example nginx, ghcr.io/acme/api:1.2, or stackctl/host for the built-in image",
    )
