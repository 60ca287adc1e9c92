"""Bundles: a stack with all its images in one file.

    stackctl-bundle/bundle.json      name of the project, what its images are called and are
    stackctl-bundle/project/...      its directory: stack.yaml, stack.lock, files it mounts
    blobs/, index.json, ...          the images, as `stackctl image save` writes them

The images can be loaded by other tools too. A bundle comes from elsewhere: what it would
write outside the directory it is unpacked into is refused, as is anything but files,
directories and links that stay inside.
"""

from __future__ import annotations

import json
import os
import posixpath
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from pathlib import Path, PurePosixPath
from typing import Any

from stackctl.errors import ImageError
from stackctl.image.archive import Write, member_json
from stackctl.image.content import MAX_DOCUMENT, digest
from stackctl.image.pack import BLOCK, Header, header_bytes
from stackctl.image.unpack.failure import BadLayer
from stackctl.image.unpack.stream import Source
from stackctl.image.unpack.tar import Entry, entries, padding
from stackctl.model.reference import parse
from stackctl.values import dataclass

_PREFIX = "stackctl-bundle/"
_DESCRIPTION = f"{_PREFIX}bundle.json"
_PROJECT = f"{_PREFIX}project"
_VERSION = 1
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class BundledImage:
    """`name` as services have it; `digest` is what a registry had it point at, or ""."""

    name: str
    id: str
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a bundle says of itself."""

    project: str
    images: tuple[BundledImage, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "version": _VERSION,
            "project": self.project,
            "images": [{"name": i.name, "id": i.id, "digest": i.digest} for i in self.images],
        }

    @staticmethod
    def of(raw: bytes) -> Description:
        """Raises ImageError."""
        try:
            found = json.loads(raw)
            version = found["version"]
            images = tuple(BundledImage(**image) for image in found["images"])
            described = Description(project=str(found["project"]), images=images)
            for image in images:
                parse(image.name)
                digest(image.id)
                if image.digest:
                    digest(image.digest)
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ImageError("the bundle's description is malformed") from None
        if version != _VERSION:
            raise ImageError(f"the bundle is of version {version}, which this stackctl cannot read")
        return described


@dataclass(frozen=True, slots=True)
class Contents:
    """What is to be in a bundle's project directory: texts by name, and trees of this machine."""

    texts: Mapping[str, str] = field(default_factory=dict)
    #: Name in the directory -> file or directory here.
    trees: Mapping[str, Path] = field(default_factory=dict)


def write_project(write: Write, description: Description, contents: Contents) -> None:
    """The members in front of the images. Raises OSError."""
    member_json(write, _DESCRIPTION, description.to_json())
    for name, text in contents.texts.items():
        raw = text.encode()
        _header(write, name, b"0", 0o644, size=len(raw))
        write(raw + bytes(-len(raw) % BLOCK))
    for name, path in contents.trees.items():
        for inner, found in _walk(path):
            _file(write, f"{name}/{inner}" if inner else name, found)


def _walk(path: Path) -> Iterator[tuple[str, Path]]:
    yield "", path
    if path.is_dir() and not path.is_symlink():
        for folder, folders, files in os.walk(path):
            folders.sort()
            for name in sorted((*folders, *files)):
                found = Path(folder) / name
                yield str(found.relative_to(path)), found


def _file(write: Write, name: str, path: Path) -> None:
    info = path.lstat()
    mode = stat.S_IMODE(info.st_mode)
    owner = {"uid": info.st_uid, "gid": info.st_gid, "mtime": int(info.st_mtime)}
    if stat.S_ISLNK(info.st_mode):
        _header(write, name, b"2", mode, link=os.fsencode(os.readlink(path)), **owner)
    elif stat.S_ISDIR(info.st_mode):
        _header(write, f"{name}/", b"5", mode, **owner)
    elif stat.S_ISREG(info.st_mode):
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            _header(write, name, b"0", mode, size=size, **owner)
            left = size
            # A file that shrinks meanwhile is filled up: its size is written already.
            while left and (piece := file.read(min(_PIECE, left))):
                write(piece)
                left -= len(piece)
            write(bytes(left + -size % BLOCK))
    # Sockets, fifos and devices of a running program mean nothing elsewhere.


def _header(write: Write, name: str, kind: bytes, mode: int, **more: Any) -> None:
    full = os.fsencode(f"{_PROJECT}/{name}")
    write(header_bytes(Header(name=full, kind=kind, mode=mode, **more)))


def read_project(read: Callable[[int], bytes], directory: Path) -> Description:
    """Unpack a bundle's project into an empty directory. Raises ImageError, OSError."""
    source = Source(read)
    description: Description | None = None
    links: list[tuple[Path, str]] = []
    try:
        for entry in entries(source):
            raw_name = os.fsdecode(entry.name)
            if ".." in raw_name.split("/"):
                raise ImageError(f"the bundle has {raw_name[:100]!r}, which is outside of it")
            name = posixpath.normpath(raw_name)
            taken = False
            if name == _DESCRIPTION and entry.kind == b"0" and entry.stored <= MAX_DOCUMENT:
                raw = b"".join(bytes(piece) for piece in source.pieces(entry.stored))
                description, taken = Description.of(raw), True
            elif name.startswith(f"{_PROJECT}/"):
                inner = _inside(name.removeprefix(f"{_PROJECT}/"))
                taken = _place(source, entry, directory / inner, str(inner), links)
            if not taken:
                source.skip(entry.stored)
            source.skip(padding(entry.stored))
    except BadLayer as error:
        raise ImageError(f"the bundle cannot be read: {error}") from None
    finally:
        source.close()
    # At the end: nothing is written through a link of the bundle's.
    for path, target in links:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
    if description is None:
        raise ImageError(
            "this is no bundle of stackctl",
            hint="`stackctl image load` takes archives of images",
        )
    return description


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name or not path.parts:
        raise ImageError(f"the bundle has {name[:100]!r}, which is outside its directory")
    return path


def _place(
    source: Source, entry: Entry, path: Path, name: str, links: list[tuple[Path, str]]
) -> bool:
    """Write one entry; whether its content has been taken."""
    match entry.kind:
        case b"5":
            path.mkdir(parents=True, exist_ok=True)
            _own(path, entry)
            return False
        case b"2":
            target = os.fsdecode(entry.link)
            leads = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
            if target.startswith("/") or leads.split("/")[0] == "..":
                raise ImageError(f"the bundle's link {name[:100]!r} leads out of its directory")
            links.append((path, target))
            return False
        case b"0" if entry.sparse is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "xb") as file:
                for piece in source.pieces(entry.stored):
                    file.write(piece)
            _own(path, entry)
            return True
    raise ImageError(f"the bundle's {name[:100]!r} is neither a file nor a directory nor a link")


def _own(path: Path, entry: Entry) -> None:
    # Root's programs in a bundle are no root's programs here: no set-user-id.
    with suppress(PermissionError):
        os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
    path.chmod(entry.mode & 0o777)


def relative_sources(
    data: dict[str, Any], project_dir: str, exists: Callable[[str], bool] = os.path.exists
) -> tuple[dict[str, str], Sequence[str]]:
    """Make a resolved stack's host paths those of a bundle; in place.

    Gives name in the bundle -> path here, and the paths that the other machine has to have
    itself: binds from outside the project's directory.
    """
    taken: dict[str, str] = {}
    outside: list[str] = []

    def inside(path: str) -> str:
        relative = os.path.relpath(path, project_dir)
        return "" if relative.split("/")[0] == ".." else relative

    for service in data.get("services", {}).values():
        for mount in service.get("volumes") or ():
            if mount.get("type") != "bind":
                continue
            name = inside(mount["source"])
            if not name or name == ".":
                outside.append(mount["source"])
                continue
            mount["source"] = f"./{name}"
            if exists(os.path.join(project_dir, name)):
                taken[name] = os.path.join(project_dir, name)
    for section in ("secrets", "configs"):
        for key, resource in (data.get(section) or {}).items():
            path = resource.get("file")
            if path:
                name = inside(path) or f"{section}/{key}"
                resource["file"] = f"./{name}"
                taken[name] = path
    # What lies in a directory that is taken comes with it.
    whole = {n: p for n, p in taken.items() if not any(n.startswith(f"{o}/") for o in taken)}
    return whole, tuple(dict.fromkeys(outside))
