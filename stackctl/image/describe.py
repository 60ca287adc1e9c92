"""Images as Docker shows them: rows of a list, and the long form of `inspect`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from stackctl.image.registry.manifest import Platform
from stackctl.image.store import Store
from stackctl.model.image import Image
from stackctl.model.reference import HOST, parse


def rows(store: Store, *, all: bool = True) -> list[dict[str, Any]]:
    """A row for each name, one for an image without a name; the youngest first.

    Sizes in bytes, `created` in Unix seconds. Without `all` nothing that only others stand on.
    """
    found = []
    entries = store.index.names()
    for image in store.images():
        names = sorted(name for name, entry in entries.items() if entry.image == image.id)
        base = {"id": image.id, "created": image.created_at, "size": image.size}
        references = {name: parse(name) for name in names}
        tagged = {reference.name for reference in references.values() if not reference.digest}
        told = set()
        for name, reference in references.items():
            digest = entries[name].digest or reference.digest
            # A name with a digest is a row where its repository has no tag, and then one row.
            if reference.digest and (reference.name in tagged or (reference.name, digest) in told):
                continue
            told.add((reference.name, digest))
            found.append(
                {
                    **base,
                    "repository": replace(reference, tag="", digest="").familiar,
                    "tag": "<none>" if reference.digest else reference.tag,
                    "digest": digest,
                    "labels": image.config.labels,
                }
            )
        if not names and (all or not _has_child(store, image.id)):
            nothing = {"repository": "<none>", "tag": "<none>", "digest": ""}
            found.append({**base, **nothing, "labels": image.config.labels})
    return found


def inspect(store: Store, image_id: str) -> dict[str, Any]:
    """Docker's ImageInspect. Raises NotFound."""
    record = store.record(image_id)
    config = store.config(image_id)
    image = store.image(image_id)
    tags, digests = [], []
    for name, entry in sorted(store.index.names().items()):
        if entry.image != image_id:
            continue
        reference = parse(name)
        if reference.tag and not reference.digest:
            tags.append(reference.familiar)
        by = entry.digest or reference.digest
        if by:
            plain = reference.familiar.partition("@")[0]
            repository = plain.removesuffix(f":{reference.tag}") if reference.tag else plain
            digests.append(f"{repository}@{by}")
    return {
        "Id": image_id,
        "RepoTags": tags,
        "RepoDigests": sorted(set(digests)),
        "Parent": record.parent,
        "Comment": _comment(config),
        "Created": str(config.get("created") or "0001-01-01T00:00:00Z"),
        "DockerVersion": str(config.get("docker_version") or ""),
        "Author": str(config.get("author") or ""),
        "Config": config.get("config") or {},
        "Architecture": str(config.get("architecture") or ""),
        "Variant": str(config.get("variant") or ""),
        "Os": str(config.get("os") or "linux"),
        "Size": image.size,
        "GraphDriver": {"Name": "overlay", "Data": {}},
        "RootFS": {"Type": "layers", "Layers": [layer.diff_id for layer in record.layers]},
        "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"},
    }


def built_in(image: Image) -> dict[str, Any]:
    """The same of stackctl/host, which is the machine itself: it has no layers."""
    platform = Platform.here()
    return {
        "Id": image.id,
        "RepoTags": [f"{HOST}:latest"],
        "RepoDigests": [],
        "Parent": "",
        "Comment": "the machine's own files",
        "Created": datetime.fromtimestamp(image.created_at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "DockerVersion": "",
        "Author": "",
        "Config": {
            "Env": list(image.config.env),
            "WorkingDir": image.config.working_dir,
            "Labels": None,
        },
        "Architecture": platform.architecture,
        "Variant": platform.variant,
        "Os": platform.os,
        "Size": image.size,
        "GraphDriver": {"Name": "overlay", "Data": {}},
        "RootFS": {"Type": "layers", "Layers": []},
        "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"},
    }


def _has_child(store: Store, image_id: str) -> bool:
    return any(record.parent == image_id for record in store.index.records().values())


def _comment(config: Mapping[str, Any]) -> str:
    """Its own, or that of the youngest step."""
    steps = config.get("history")
    last = steps[-1] if isinstance(steps, list) and steps else {}
    of_step = last.get("comment") if isinstance(last, dict) else ""
    return str(config.get("comment") or of_step or "")
