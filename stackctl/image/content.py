"""What content is called: digests, descriptors, layers, media types (OCI image spec, schema 2).

A digest is checked for its form before anything is done with it, above all
before it becomes a part of a path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from stackctl.errors import ImageError
from stackctl.values import dataclass

_DIGEST = re.compile(r"sha256:[a-f0-9]{64}")

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_TAR = "application/vnd.oci.image.layer.v1.tar"
OCI_TAR_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_TAR_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_TAR = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_TAR_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"

INDEXES = (OCI_INDEX, DOCKER_LIST)
MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)

#: Manifests, indexes and configs are small; more is an attack (bytes).
MAX_DOCUMENT = 8 << 20


def document(raw: bytes, what: str = "the image's config") -> dict[str, Any]:
    """A config or a manifest as JSON. Raises ImageError."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ImageError(f"{what} is not a JSON object")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """A blob: what it is, its digest, its size in bytes."""

    digest: str
    size: int
    media_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer's blob: `digest` of it as stored (perhaps compressed), `diff_id` of its tar."""

    digest: str
    diff_id: str
    size: int
    media_type: str = OCI_TAR

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(digest=self.digest, size=self.size, media_type=self.media_type)


def digest(text: object) -> str:
    """`text` if it is a sha256 digest. Raises ImageError."""
    if not isinstance(text, str) or not _DIGEST.fullmatch(text):
        raise ImageError(f"{str(text)[:100]!r} is not a sha256 digest")
    return text


def hexadecimal(text: str) -> str:
    """The 64 digits of a digest. Raises ImageError."""
    return digest(text)[len("sha256:") :]


def descriptor(raw: object) -> Descriptor:
    """A descriptor as manifests have it. Raises ImageError."""
    if not isinstance(raw, dict):
        raise ImageError("the manifest has a descriptor that is no object")
    size = raw.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ImageError("the manifest has a descriptor without a size")
    return Descriptor(
        digest=digest(raw.get("digest")),
        size=size,
        media_type=str(raw.get("mediaType") or ""),
        annotations={str(k): str(v) for k, v in (raw.get("annotations") or {}).items()},
    )
