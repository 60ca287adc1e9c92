"""A container's changes as an image on top of the one that it was made from, and its whole
root as a tar. Blocking.

Both read the directories of the container's snapshot: what is mounted into it (volumes,
binds, /proc) is no part of either.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from stackctl.errors import ImageError, NotFound
from stackctl.image import base
from stackctl.image.build.tree import Node, Tree
from stackctl.image.content import Layer
from stackctl.image.difference import Kind, changes
from stackctl.image.pack import BLOCK, Header, Write, header_bytes, pack_parts
from stackctl.image.registry.manifest import Platform
from stackctl.image.store import Store, canonical
from stackctl.model.image import DirectoryMount, Image, OverlayMount, Snapshot
from stackctl.model.reference import HOST
from stackctl.values import dataclass

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """What is said about the new image: `config` with Docker's keys, `created` RFC 3339."""

    config: Mapping[str, Any]
    created: str
    author: str = ""
    comment: str = ""
    created_by: str = ""
    names: Sequence[str] = ()


def commit(store: Store, image: Image, snapshot: Snapshot, wanted: Commit) -> Image:
    """Raises ImageError, OSError."""
    below, layers, on_host = _parent(store, image)
    with store.lease():
        layer = _layer(store, snapshot)
        if layer is not None:
            layers = [*layers, layer]
        entry: dict[str, Any] = {"created": wanted.created, "created_by": wanted.created_by}
        if wanted.author:
            entry["author"] = wanted.author
        if wanted.comment:
            entry["comment"] = wanted.comment
        if layer is None:
            entry["empty_layer"] = True
        document: dict[str, Any] = {
            key: below[key] for key in ("architecture", "os", "variant") if key in below
        }
        document |= {
            "created": wanted.created,
            "config": dict(wanted.config),
            "rootfs": {"type": "layers", "diff_ids": [each.diff_id for each in layers]},
            "history": [*(below.get("history") or ()), entry],
        }
        if wanted.author:
            document["author"] = wanted.author
        if on_host:
            document[base.KEY] = base.HOST
        parent = "" if image.reference == HOST else image.id
        # Its layer is unpacked by who is the first to run or build on it: many are only pushed.
        return store.put_image(canonical(document), layers, wanted.names, parent=parent)


def _parent(store: Store, image: Image) -> tuple[dict[str, Any], list[Layer], bool]:
    """The config document and layers of what is below, and whether the machine's files are."""
    try:
        document = store.config(image.id)
    except NotFound:
        here = Platform.here()
        return {"architecture": here.architecture, "os": here.os}, [], True
    return document, list(store.layers(image.id)), base.is_on_host(document)


def _layer(store: Store, snapshot: Snapshot) -> Layer | None:
    """None when nothing was changed."""
    found = changes(snapshot)
    if not found:
        return None
    copied = isinstance(snapshot.mounts[0], DirectoryMount)
    deleted = [os.fsencode(c.path) for c in found if c.kind is Kind.DELETED]
    with ExitStack() as held:
        parts = []
        for mount in snapshot.mounts:
            top = mount.upper if isinstance(mount, OverlayMount) else mount.source
            fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            held.callback(os.close, fd)
            parts.append((fd, os.fsencode(mount.target.strip("/"))))

        def fill(write: Write) -> int:
            return pack_parts(
                parts,
                write,
                wanted=frozenset(os.fsencode(change.path) for change in found),
                whiteouts=deleted if copied else (),
            )

        layer, entries = store.unpacked.packed(fill, lambda digest: store.protect([digest]))
    return layer if entries else None


# -- export


def export(snapshot: Snapshot) -> Generator[bytes, None, None]:
    """The root as a tar, in pieces. Close it when it is not read to its end. OSError."""
    with ExitStack() as held:
        parts = {
            mount.target.strip("/"): held.enter_context(_tree(mount)) for mount in snapshot.mounts
        }
        yield from _pieces(_Export(parts).all())


def _tree(mount: OverlayMount | DirectoryMount) -> Tree:
    if isinstance(mount, OverlayMount):
        return Tree([mount.upper, *mount.lower])
    return Tree([mount.source], plain=True)


def _pieces(small: Iterator[bytes]) -> Iterator[bytes]:
    """Headers are small: they travel together."""
    held = bytearray()
    for data in small:
        held += data
        if len(held) >= _PIECE:
            yield bytes(held)
            held.clear()
    yield bytes(held)


class _Export:
    def __init__(self, parts: Mapping[str, Tree]) -> None:
        self._parts = parts
        self._links: dict[tuple[int, int], str] = {}

    def all(self) -> Iterator[bytes]:
        root = self._parts[""]
        yield from self._below(root, root.root, "")
        yield bytes(2 * BLOCK)

    def _below(self, tree: Tree, directory: Node, prefix: str) -> Iterator[bytes]:
        targets = [t for t in self._parts if t and t.rpartition("/")[0] == prefix.rstrip("/")]
        for name in sorted({*tree.children(directory), *(t.rpartition("/")[2] for t in targets)}):
            path = prefix + name
            if path in self._parts:
                inner = self._parts[path]
                yield from self._directory(inner, inner.root, path)
                continue
            with contextlib.suppress(FileNotFoundError):  # removed while we walked
                node = tree.child(directory, name)
                if node is not None:
                    yield from self._one(tree, node, path)

    def _directory(self, tree: Tree, node: Node, path: str) -> Iterator[bytes]:
        yield header_bytes(self._header(tree, node, f"{path}/", b"5"))
        yield from self._below(tree, node, f"{path}/")

    def _one(self, tree: Tree, node: Node, path: str) -> Iterator[bytes]:
        mode = node.status.st_mode
        if node.is_directory:
            yield from self._directory(tree, node, path)
            return
        if stat.S_ISSOCK(mode):
            return  # no archive has them
        key = (node.status.st_dev, node.status.st_ino)
        first = self._links.setdefault(key, path) if node.status.st_nlink > 1 else path
        if first != path:
            header = self._header(tree, node, path, b"1")
            header.link = os.fsencode(first)
            yield header_bytes(header)
        elif node.is_file:
            yield from self._file(tree, node, path)
        elif node.is_link:
            header = self._header(tree, node, path, b"2")
            header.link, header.mode = os.fsencode(tree.link_target(node)), 0o777
            yield header_bytes(header)
        else:
            kind = b"6" if stat.S_ISFIFO(mode) else b"3" if stat.S_ISCHR(mode) else b"4"
            header = self._header(tree, node, path, kind)
            header.device = node.status.st_rdev
            yield header_bytes(header)

    def _header(self, tree: Tree, node: Node, path: str, kind: bytes) -> Header:
        status = node.status
        return Header(
            name=os.fsencode(path),
            kind=kind,
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            mtime=int(status.st_mtime_ns // 1_000_000_000),
            xattrs=tree.xattrs(node),
        )

    def _file(self, tree: Tree, node: Node, path: str) -> Iterator[bytes]:
        try:
            fd = tree.open(node)
        except OSError as error:
            raise ImageError(f"cannot read {path}: {error.strerror}") from error
        try:
            header = self._header(tree, node, path, b"0")
            header.size = left = os.fstat(fd).st_size
            yield header_bytes(header)
            while left:
                piece = os.read(fd, min(left, _PIECE))
                # Where it was cut while we read, zeros stand: the header's size counts.
                piece = piece or bytes(min(left, _PIECE))
                yield piece
                left -= len(piece)
            if header.size % BLOCK:
                yield bytes(-header.size % BLOCK)
        finally:
            os.close(fd)
