"""Images that are based on stackctl/host: which part of a root each of their layers is for.

A layer is always one ordinary tree. The host image's root consists of several parts
(its skeleton at /, the machine's /usr at /usr ...), each an overlay of its own; each of
them takes from a layer the directory at its own target, and what the root's overlay
shows of that place is covered. So nothing of a layer has to be divided, and the machine's
own directories stay the lowest layers. See docs/adr/0020-layers-on-the-host-image.md.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from typing import Any

from stackctl.image.drivers import Part

#: In an image's config: what lies below its first layer.
KEY = "stackctl.base"
HOST = "stackctl/host"


def is_on_host(document: Mapping[str, Any]) -> bool:
    """`document` is an image's config blob."""
    return document.get(KEY) == HOST


def stacked(layers: Sequence[str], base: Sequence[Part]) -> tuple[Part, ...]:
    """The parts of a root: unpacked layers (top first) on those of the base."""
    return tuple(Part(part.target, (*_inner(layers, part.target), *part.layers)) for part in base)


def _inner(layers: Sequence[str], target: str) -> list[str]:
    names = [name for name in target.split("/") if name]
    return [f"{layer}/{'/'.join(names)}".rstrip("/") for layer in layers if _has(layer, names)]


def _has(layer: str, names: Sequence[str]) -> bool:
    """Real directories only: a link in a layer that came from elsewhere could lead anywhere."""
    path = layer
    for name in names:
        path = f"{path}/{name}"
        try:
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                return False
        except OSError:
            return False
    return True
