"""`--output`: a result as files, as an archive, or in a registry. Blocking but for the push."""

from __future__ import annotations

import os
import secrets
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from stackctl.errors import StackctlError
from stackctl.image import archive
from stackctl.image.build.tree import Node, Tree
from stackctl.image.pack import BLOCK, Header, header_bytes
from stackctl.image.removal import remove_tree
from stackctl.image.store import Store
from stackctl.model.build import BuildOutput
from stackctl.model.image import Image

_PIECE = 1 << 20


def write(wanted: BuildOutput, image: Image, tree: Callable[[], Tree], store: Store) -> None:
    """A result to where `wanted` says. Raises StackctlError, OSError with the path."""
    place = Path(wanted.dest)
    names = (wanted.name,) if wanted.name else ()
    match wanted.type:
        case "local":
            with tree() as files:
                _Local(files).into(place)
        case "tar":
            with _new_file(place) as file, tree() as files:
                _tar(files, file)
        case "docker" | "oci" if wanted.unpacked:
            _layout(store, {image.id: list(names)}, place)
        case "docker" | "oci":
            with _new_file(place) as file:
                archive.save_named(store, {image.id: list(names)}, file.write)


def _layout(store: Store, chosen: dict[str, list[str]], place: Path) -> None:
    """An OCI layout as a directory."""
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=place) as file:
        archive.save_named(store, chosen, file.write)
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:") as tar:
            tar.extractall(place, filter="data")


@contextmanager
def _new_file(place: Path) -> Iterator[BinaryIO]:
    """It appears when it is complete; what is no regular file is written to as it is."""
    if place.exists() and not place.is_file():
        with place.open("wb") as file:
            yield file
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    new = place.with_name(f".{place.name}-{secrets.token_hex(4)}.part")
    try:
        with new.open("wb", buffering=_PIECE) as file:
            yield file
        new.rename(place)
    finally:
        new.unlink(missing_ok=True)


class _Local:
    """Files of a tree into a directory that may have others. They belong to who builds."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._links: dict[tuple[int, int], Path] = {}

    def into(self, place: Path) -> None:
        place.mkdir(parents=True, exist_ok=True)
        made: list[tuple[Path, Node]] = []
        for node in self._tree.walk(self._tree.root):
            target = place / node.path
            if node.is_directory:
                if target.is_symlink() or not target.is_dir():
                    target.unlink(missing_ok=True)
                    target.mkdir(mode=0o700)
                made.append((target, node))
            else:
                self._file(target, node)
        for target, node in reversed(made):
            target.chmod(stat.S_IMODE(node.status.st_mode))
            os.utime(target, ns=(node.status.st_atime_ns, node.status.st_mtime_ns))

    def _file(self, target: Path, node: Node) -> None:
        status = node.status
        if target.is_dir() and not target.is_symlink():
            remove_tree(target)
        target.unlink(missing_ok=True)
        times = (status.st_atime_ns, status.st_mtime_ns)
        if node.is_link:
            target.symlink_to(self._tree.link_target(node))
            os.utime(target, ns=times, follow_symlinks=False)
            return
        if not node.is_file:
            os.mknod(target, status.st_mode, status.st_rdev)
            return
        identity = (status.st_dev, status.st_ino)
        if status.st_nlink > 1 and identity in self._links:
            target.hardlink_to(self._links[identity])
            return
        self._links[identity] = target
        source = self._tree.open(node)
        try:
            with target.open("xb", buffering=0) as file:
                while os.sendfile(file.fileno(), source, None, 1 << 26):
                    pass
                os.fchmod(file.fileno(), stat.S_IMODE(status.st_mode))
                os.utime(file.fileno(), ns=times)
        finally:
            os.close(source)


def _tar(tree: Tree, file: BinaryIO) -> None:
    """All files as one archive, with their owners."""
    links: dict[tuple[int, int], bytes] = {}
    for node in tree.walk(tree.root):
        status = node.status
        header = Header(
            name=os.fsencode(node.path),
            kind=b"0",
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            mtime=int(status.st_mtime),
            xattrs={} if node.is_link else tree.xattrs(node),
        )
        identity = (status.st_dev, status.st_ino)
        if node.is_directory:
            header.name, header.kind = header.name + b"/", b"5"
        elif node.is_link:
            header.kind, header.link = b"2", os.fsencode(tree.link_target(node))
        elif not node.is_file:
            kinds = {stat.S_IFIFO: b"6", stat.S_IFCHR: b"3", stat.S_IFBLK: b"4"}
            header.kind = kinds.get(stat.S_IFMT(status.st_mode), b"6")
            header.device = status.st_rdev
        elif status.st_nlink > 1 and identity in links:
            header.kind, header.link = b"1", links[identity]
        else:
            links[identity] = header.name
            header.size = status.st_size
        file.write(header_bytes(header))
        if header.kind == b"0":
            _content(tree, node, header.size, file)
    file.write(bytes(2 * BLOCK))


def _content(tree: Tree, node: Node, size: int, file: BinaryIO) -> None:
    source = tree.open(node)
    try:
        left = size
        while left:
            piece = os.read(source, min(left, _PIECE))
            if not piece:
                raise StackctlError(f"/{node.path} is shorter than it was")
            file.write(piece)
            left -= len(piece)
    finally:
        os.close(source)
    file.write(bytes(-size % BLOCK))
