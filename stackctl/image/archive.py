"""Images in one file: save, load, import.

What is saved is both at once, as Docker does it today: an OCI image layout
(oci-layout, index.json, blobs/) and a docker-archive (manifest.json) over the same
blobs. Loaded are these, either alone, archives of older Dockers (<id>/layer.tar),
compressed or not, and OCI layouts that are directories.
"""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stackctl.errors import ImageError, NotFound
from stackctl.image.config import diff_ids
from stackctl.image.content import (
    DOCKER_TAR_GZIP,
    MAX_DOCUMENT,
    OCI_INDEX,
    OCI_MANIFEST,
    OCI_TAR,
    OCI_TAR_GZIP,
    Descriptor,
    Layer,
    document,
)
from stackctl.image.pack import BLOCK, Header, header_bytes
from stackctl.image.registry.manifest import Manifest, Platform, choose, parse
from stackctl.image.store import Store, canonical
from stackctl.image.unpack.failure import BadLayer
from stackctl.image.unpack.stream import Source
from stackctl.image.unpack.tar import entries, padding
from stackctl.model.image import Image
from stackctl.model.reference import parse as parse_reference

Write = Callable[[bytes], object]

_PIECE = 1 << 20
_REF_NAME = "org.opencontainers.image.ref.name"
_FULL_NAME = "io.containerd.image.name"
_MAX_MEMBERS = 10_000


# -- save


def save(
    store: Store,
    wanted: Sequence[str],
    write: Write,
    more: Callable[[Write], object] = lambda write: None,
) -> None:
    """Images by name or id as one tar; `more` writes members of its own in front of them.

    Raises NotFound, OSError.
    """
    chosen: dict[str, list[str]] = {}
    for text in wanted:
        found = store.find(text)
        if found is None:
            raise NotFound(f"no such image: {text}")
        image_id, name = found
        names = chosen.setdefault(image_id, [])
        if name and "@" not in name and name not in names:
            names.append(name)
    more(write)
    with store.lease():
        save_named(store, chosen, write)


def save_named(store: Store, chosen: Mapping[str, list[str]], write: Write) -> None:
    """Images by id, each under these names, whatever they are called here. Hold a lease."""
    legacy: list[dict[str, Any]] = []
    index: list[dict[str, Any]] = []
    blobs: dict[str, int] = {}
    for image_id, names in chosen.items():
        record = store.record(image_id)
        store.protect([image_id, record.manifest, *(layer.digest for layer in record.layers)])
        digests = [image_id, record.manifest, *(layer.digest for layer in record.layers)]
        blobs |= {digest: store.blobs.size(digest) for digest in digests}
        familiar = [parse_reference(name).familiar for name in names]
        legacy.append(
            {
                "Config": _blob_name(image_id),
                "RepoTags": familiar or None,
                "Layers": [_blob_name(layer.digest) for layer in record.layers],
            }
        )
        raw = json.loads(store.blobs.read(record.manifest, MAX_DOCUMENT))
        entry = Descriptor(
            digest=record.manifest,
            size=blobs[record.manifest],
            media_type=str(raw.get("mediaType") or OCI_MANIFEST),
        ).to_json()
        for name in names or [""]:
            noted = {_FULL_NAME: name, _REF_NAME: parse_reference(name).tag} if name else {}
            index.append({**entry, **({"annotations": noted} if noted else {})})
    for directory in ("blobs/", "blobs/sha256/"):
        write(header_bytes(Header(name=directory.encode(), kind=b"5", mode=0o755)))
    for digest in sorted(blobs):
        member(write, _blob_name(digest), blobs[digest], _content(store, digest))
    top = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": index}
    member_json(write, "index.json", top)
    member_json(write, "manifest.json", legacy)
    member_json(write, "oci-layout", {"imageLayoutVersion": "1.0.0"})
    write(bytes(2 * BLOCK))


def _content(store: Store, digest: str) -> Iterator[bytes]:
    with store.open_blob(digest) as file:
        while piece := file.read(_PIECE):
            yield piece


def member(write: Write, name: str, size: int, pieces: Iterable[bytes]) -> None:
    """One plain file of an archive."""
    write(header_bytes(Header(name=name.encode(), kind=b"0", size=size)))
    for piece in pieces:
        write(piece)
    write(bytes(-size % BLOCK))


def member_json(write: Write, name: str, content: object) -> None:
    """One document of an archive."""
    raw = json.dumps(content).encode()
    member(write, name, len(raw), [raw])


def _blob_name(digest: str) -> str:
    return "blobs/sha256/" + digest.removeprefix("sha256:")


# -- load


def load(
    store: Store, read: Callable[[int], bytes], platform: Platform | None = None
) -> list[Image]:
    """The images of an archive, with their names. Raises ImageError, OSError, and NotFound when
    `platform` is asked for and one is not for it. (None: this machine's, or the only one.)

    Every member is stored as a blob as it comes by, so that the order does not matter and
    nothing is written twice; what no image refers to goes with the next collection.
    """
    source = Source(read)
    try:
        with store.lease():
            members = _members(store, source)
            source.finish()
            return _images(store, members, platform)
    except BadLayer as error:
        raise ImageError(f"the archive cannot be read: {error}") from None
    finally:
        source.close()
        store.collect()


def load_layout(store: Store, directory: Path, platform: Platform | None = None) -> list[Image]:
    """The images of an OCI layout that is a directory."""
    with store.lease():
        return _images(store, _layout_members(store, directory), platform)


def image_of_layout(store: Store, directory: Path, *, tag: str = "", digest: str = "") -> str:
    """The id of one image of an OCI layout, stored without a name; hold a lease.

    By digest or tag; with neither, "latest" or the only one. Raises NotFound, ImageError.
    """
    members = _layout_members(store, directory)
    if "index.json" not in members:
        raise ImageError(f"{directory} is no OCI layout: it has no index.json")
    index = parse(store.blobs.read(members["index.json"], MAX_DOCUMENT))
    found = [] if isinstance(index, Manifest) else [entry for entry, _ in index]
    if digest:
        found = [entry for entry in found if entry.digest == digest]
    elif tag or len(found) > 1:
        wanted = tag or "latest"
        found = [e for e in found if _tag_of(e.annotations.get(_REF_NAME, "")) == wanted]
    if not found:
        raise NotFound(f"{directory} has no image {digest or tag or 'latest'!r}")
    return _from_manifest(store, found[0], None, named=False).id


def _tag_of(name: str) -> str:
    """The layout's own name may be a tag, or a whole reference."""
    return name.rpartition(":")[2]


def _layout_members(store: Store, directory: Path) -> dict[str, str]:
    members: dict[str, str] = {}
    for folder, _, names in os.walk(directory):
        for name in names:
            path = Path(folder) / name
            if path.is_file() and not path.is_symlink():
                with open(path, "rb") as file:
                    digest = store.put_blob(file).digest
                members[str(path.relative_to(directory))] = digest
    return members


def _members(store: Store, source: Source) -> dict[str, str]:
    """By name: the digest of each member's content; links as what they lead to."""
    found: dict[str, str] = {}
    links: dict[str, str] = {}
    for entry in entries(source):
        name = posixpath.normpath(os.fsdecode(entry.name)).lstrip("/")
        if len(found) > _MAX_MEMBERS:
            raise ImageError("the archive has too many members for one of images")
        if entry.kind == b"0" and entry.sparse is None:
            pieces = (bytes(piece) for piece in source.pieces(entry.stored))
            found[name] = store.put_blob(pieces).digest
        else:
            if entry.kind in (b"1", b"2"):
                target = os.fsdecode(entry.link)
                base = "" if entry.kind == b"1" else posixpath.dirname(name)
                links[name] = posixpath.normpath(posixpath.join(base, target)).lstrip("/")
            source.skip(entry.stored)
        source.skip(padding(entry.stored))
    for name, target in links.items():
        if target in found:
            found.setdefault(name, found[target])
    return found


def _images(store: Store, members: Mapping[str, str], platform: Platform | None) -> list[Image]:
    if "index.json" in members:
        images = list(_from_index(store, members, platform))
        if images:
            return images
    if "manifest.json" in members:
        return list(_from_legacy(store, members, platform))
    raise ImageError(
        "there are no images in this file",
        hint="`stackctl image import` takes the tar of a root file system",
    )


def _from_index(
    store: Store, members: Mapping[str, str], platform: Platform | None
) -> Iterator[Image]:
    index = parse(store.blobs.read(members["index.json"], MAX_DOCUMENT))
    if isinstance(index, Manifest):
        raise ImageError("index.json is no index")
    for found, _ in index:
        if store.blobs.has(found.digest):
            yield _from_manifest(store, found, platform, named=True)


def _from_manifest(
    store: Store, found: Descriptor, platform: Platform | None, *, named: bool
) -> Image:
    raw = store.blobs.read(found.digest, MAX_DOCUMENT)
    manifest, digest = parse(raw, found.media_type), found.digest
    if not isinstance(manifest, Manifest):
        chosen = choose(manifest, platform or Platform.here())
        raw, digest = store.blobs.read(chosen.digest, MAX_DOCUMENT), chosen.digest
        manifest = parse(raw, chosen.media_type)
        if not isinstance(manifest, Manifest):
            raise ImageError("an index leads to another index")
    config = store.blobs.read(manifest.config.digest, MAX_DOCUMENT)
    read = document(config)
    if platform is not None and digest == found.digest:
        choose(((found, Platform.of(read)),), platform)  # no index has said it
    ids = diff_ids(read)
    if len(ids) != len(manifest.layers):
        raise ImageError("config and manifest of the image differ about its layers")
    layers = [
        Layer(digest=d.digest, diff_id=i, size=d.size, media_type=d.media_type)
        for d, i in zip(manifest.layers, ids, strict=True)
    ]
    names = _names(found.annotations) if named else []
    return _published(store, config, layers, names, manifest=digest)


def _published(
    store: Store, config: bytes, layers: Sequence[Layer], names: Sequence[str], manifest: str = ""
) -> Image:
    """An image is to be seen, and gets its names, when all of its layers could be unpacked."""
    store.unpacked.ensure(layers)
    return store.put_image(config, layers, names, manifest=manifest)


def _names(annotations: Mapping[str, str]) -> list[str]:
    """containerd's annotation is the full name; the layout's own may be one, or just a tag."""
    for text in (annotations.get(_FULL_NAME), annotations.get(_REF_NAME)):
        if text and (text == annotations.get(_FULL_NAME) or "/" in text or ":" in text):
            return [text]
    return []


def _from_legacy(
    store: Store, members: Mapping[str, str], platform: Platform | None
) -> Iterator[Image]:
    try:
        listed = json.loads(store.blobs.read(members["manifest.json"], MAX_DOCUMENT))
        described = [
            (str(e["Config"]), [str(x) for x in e["Layers"] or ()], list(e["RepoTags"] or ()))
            for e in listed
        ]
    except (ValueError, KeyError, TypeError):
        raise ImageError("the archive's manifest.json is malformed") from None
    for config_name, layer_names, names in described:
        told = _lookup(members, config_name)
        config = store.blobs.read(told, MAX_DOCUMENT)
        read = document(config)
        if platform is not None:
            choose(((Descriptor(digest=told, size=len(config)), Platform.of(read)),), platform)
        ids = diff_ids(read)
        if len(ids) != len(layer_names):
            raise ImageError("config and manifest of the image differ about its layers")
        layers = []
        for name, diff_id in zip(layer_names, ids, strict=True):
            digest = _lookup(members, name)
            plain = digest == diff_id
            kind = OCI_TAR if plain else DOCKER_TAR_GZIP
            size = store.blobs.size(digest)
            layers.append(Layer(digest=digest, diff_id=diff_id, size=size, media_type=kind))
        yield _published(store, config, layers, [str(name) for name in names])


def _lookup(members: Mapping[str, str], name: str) -> str:
    found = members.get(posixpath.normpath(name))
    if found is None:
        raise ImageError(f"the archive lacks {name[:100]!r}")
    return found


# -- import


def import_root(
    store: Store,
    read: Callable[[int], bytes],
    names: Sequence[str],
    config: Mapping[str, Any],
    *,
    created: str,
    comment: str,
    platform: Platform | None = None,
) -> Image:
    """The tar of a root file system (compressed or not) as an image of one layer.

    `config` has Docker's keys (Cmd, Env, ...). Raises ImageError, OSError.
    """
    platform = platform or Platform.here()
    with store.lease():
        found, outcome, gzip = store.import_layer(read)
        layer = Layer(
            digest=found.digest,
            diff_id=outcome.diff_id,
            size=found.size,
            media_type=OCI_TAR_GZIP if gzip else OCI_TAR,
        )
        whole = {
            "created": created,
            "architecture": platform.architecture,
            **({"variant": platform.variant} if platform.variant else {}),
            "os": platform.os,
            "config": dict(config),
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
            "history": [{"created": created, "comment": comment}],
        }
        return store.put_image(canonical(whole), [layer], names)


def history(store: Store, image_id: str) -> list[dict[str, Any]]:
    """Docker's rows of an image's past, the youngest first."""
    config = store.config(image_id)
    record = store.record(image_id)
    left = list(record.layers)
    steps = config.get("history")
    steps = [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []
    if sum(1 for step in steps if not step.get("empty_layer")) != len(left):
        steps = [{"created_by": "", "created": config.get("created")} for _ in left]
    rows = []
    for step in steps:
        size = 0 if step.get("empty_layer") else store.unpacked.size(left.pop(0))
        rows.append(
            {
                "ID": "<missing>",
                "Created": str(step.get("created") or ""),
                "CreatedBy": str(step.get("created_by") or ""),
                "Size": size,
                "Comment": str(step.get("comment") or ""),
                "Tags": None,
            }
        )
    rows.reverse()
    if rows:
        rows[0]["ID"] = image_id
    return rows
