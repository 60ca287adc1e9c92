"""Manifests and indexes as data: checked before anything in them is used."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from stackctl.errors import ImageError, NotFound
from stackctl.image.content import (
    DOCKER_TAR_GZIP,
    INDEXES,
    MANIFESTS,
    Descriptor,
    descriptor,
    document,
)
from stackctl.values import dataclass

_MACHINES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i686": ("386", ""),
    "ppc64le": ("ppc64le", ""),
    "s390x": ("s390x", ""),
    "riscv64": ("riscv64", ""),
}
#: What layers are; an artifact (a chart, a signature) is no image.
_LAYERS = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    os: str = "linux"
    architecture: str = "amd64"
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """linux/arm64/v8, or amd64 alone. Raises ImageError."""
        parts = text.lower().split("/")
        if len(parts) == 1:
            parts = ["linux", *parts]
        if len(parts) > 3 or not all(parts):
            raise ImageError(f"{text!r} is not a platform", hint="for example linux/arm64")
        names = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386"}
        variant = parts[2] if len(parts) == 3 else ""
        return cls(os=parts[0], architecture=names.get(parts[1], parts[1]), variant=variant)

    @classmethod
    def here(cls) -> Platform:
        architecture, variant = _MACHINES.get(os.uname().machine, (os.uname().machine, ""))
        return cls(architecture=architecture, variant=variant)

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Platform:
        """What an image is for, as its config says."""
        return cls(
            os=str(config.get("os") or "linux"),
            architecture=str(config.get("architecture") or ""),
            variant=str(config.get("variant") or ""),
        )

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One image: its config and its layers' blobs, bottom first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]


def parse(raw: bytes, media_type: str = "") -> Manifest | tuple[tuple[Descriptor, Platform], ...]:
    """A manifest, or an index as (descriptor, platform) pairs. Raises ImageError.

    A document that could be read as both is refused (CVE-2021-41190).
    """
    found = document(raw, "the manifest")
    if found.get("schemaVersion") == 1 or "fsLayers" in found:
        raise ImageError(
            "the image has the manifest format of before 2017 (schema 1)",
            hint="push it anew with a tool of today",
        )
    said = str(found.get("mediaType") or "")
    is_index = "manifests" in found
    if is_index and ("layers" in found or "config" in found):
        raise ImageError("the manifest is ambiguous: it has both layers and manifests")
    expected = INDEXES if is_index else MANIFESTS
    for kind in (said, media_type):
        if kind in (*INDEXES, *MANIFESTS) and kind not in expected:
            raise ImageError(f"the manifest says that it is {kind}, and is not")
    return _index(found) if is_index else _manifest(found)


def choose(entries: tuple[tuple[Descriptor, Platform], ...], wanted: Platform) -> Descriptor:
    """The manifest for a platform. Raises NotFound with those that there are."""
    fitting = [
        (d, p) for d, p in entries if p.os == wanted.os and p.architecture == wanted.architecture
    ]
    for found, platform in fitting:
        if platform.variant == wanted.variant:
            return found
    if fitting and (not wanted.variant or wanted == Platform.here() or len(fitting) == 1):
        return fitting[0][0]
    known = sorted({str(platform) for _, platform in entries if platform.os != "unknown"})
    raise NotFound(
        f"there is no image for {wanted}", hint=f"there is one for {', '.join(known) or 'nobody'}"
    )


def _manifest(document: Mapping[str, Any]) -> Manifest:
    layers = document.get("layers")
    if not isinstance(layers, list) or "config" not in document:
        raise ImageError("the manifest has no layers, or no config")
    if len(layers) > 1000:
        raise ImageError(f"the manifest has {len(layers)} layers")
    found = tuple(descriptor(entry) for entry in layers)
    for layer in found:
        if layer.media_type and not layer.media_type.startswith(_LAYERS):
            raise ImageError(
                f"this is not a container image: a layer is {layer.media_type!r}",
                hint="artifacts of other tools cannot be run",
            )
    return Manifest(config=descriptor(document["config"]), layers=found)


def _index(document: Mapping[str, Any]) -> tuple[tuple[Descriptor, Platform], ...]:
    entries = document.get("manifests")
    if not isinstance(entries, list) or len(entries) > 1000:
        raise ImageError("the index has no list of manifests")
    found = []
    for entry in entries:
        raw = entry.get("platform") if isinstance(entry, dict) else None
        raw = raw if isinstance(raw, dict) else {}
        platform = Platform(
            os=str(raw.get("os") or "linux"),
            architecture=str(raw.get("architecture") or "amd64"),
            variant=str(raw.get("variant") or ""),
        )
        found.append((descriptor(entry), platform))
    return tuple(found)


def layer_type(found: Descriptor) -> str:
    return found.media_type or DOCKER_TAR_GZIP
