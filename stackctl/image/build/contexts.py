"""Contexts of a build: a directory of the machine, or an archive that is unpacked first."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from pathlib import Path

from stackctl.errors import DockerfileError, ImageError, NotFound, Place
from stackctl.image import archive
from stackctl.image.build import ignore, remote
from stackctl.image.build.copying import Source
from stackctl.image.build.tree import Tree
from stackctl.image.store import Store
from stackctl.image.unpack.process import Unpacking
from stackctl.values import dataclass

#: Nobody writes more than this by hand (bytes).
_LARGEST_TEXT = 4 * 1024 * 1024
_LAYOUT = "oci-layout://"


@dataclass(frozen=True, slots=True)
class Downloaded:
    path: Path
    is_archive: bool


class Contexts:
    """Opened once a build, however many steps use them. Blocking."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self.git = remote.Git({})
        self._downloaded: dict[str, Downloaded] = {}
        self._guard = threading.Lock()
        self._open: dict[tuple[str, str], Source] = {}
        self._trees = contextlib.ExitStack()

    def close(self) -> None:
        self._trees.close()

    def source(self, path: str, dockerfile: str = "", *, title: str) -> Source:
        """`dockerfile` (relative to the context) decides which ignore file counts."""
        key = (path, dockerfile)
        with self._guard:
            if key not in self._open:
                tree = self._trees.enter_context(Tree([self._directory(path)], plain=True))
                self._open[key] = Source(tree, title, _ignore(tree, dockerfile))
            return self._open[key]

    def downloaded(self, url: str) -> Downloaded:
        """A file of the network, fetched once. Raises ImageError."""
        if url not in self._downloaded:
            file = remote.fetch(url, self._work, name="context")
            fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
            self._downloaded[url] = Downloaded(file, remote.is_archive(fd))
        return self._downloaded[url]

    def layout(self, store: Store, value: str) -> str:
        """The id of the image in an OCI layout: `oci-layout://DIRECTORY[:TAG|@DIGEST]`."""
        place, _, digest = value.removeprefix(_LAYOUT).partition("@")
        above, _, name = place.rpartition("/")
        name, _, tag = name.partition(":")
        directory = Path(f"{above}/{name}")
        if not directory.is_dir():
            raise NotFound(f"there is no OCI layout at {directory}")
        return archive.image_of_layout(store, directory, tag=tag, digest=digest)

    def unpacked(self, fd: int, name: str) -> Path:
        """An archive's files in a directory of their own."""
        place = self._work / name
        place.mkdir(mode=0o755)
        with Unpacking(place) as process:
            process.feed(fd)
            process.finish()
        return place

    def _directory(self, path: str) -> Path:
        if not path:
            empty = self._work / "empty"
            empty.mkdir(exist_ok=True)
            return empty
        if remote.is_git(path, context=True):
            wanted = remote.repository(path)
            place = self._work / f"context-{len(self._open)}"
            self.git.clone(wanted, place, keep=False)
            return inside(place, wanted.directory, path)
        if path.startswith(remote.HTTP):
            found = self.downloaded(path)
            if not found.is_archive:
                raise ImageError(f"{path[:100]} is no archive", hint="a context is a directory")
            path = str(found.path)
        try:
            status = Path(path).stat()
        except OSError as error:
            raise NotFound(f"the context {path} cannot be read: {error.strerror}") from None
        if stat.S_ISDIR(status.st_mode):
            return Path(path)
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"the context {path} is neither a directory nor an archive")
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return self.unpacked(fd, f"context-{len(self._open)}")
        finally:
            os.close(fd)


def inside(place: Path, directory: str, shown: str) -> Path:
    """A directory of a repository, which may have links in it. Raises NotFound."""
    with Tree([place], plain=True) as tree:
        node = tree.find(directory)
        if node is None or not node.is_directory:
            raise NotFound(f"there is no directory {directory[:60]!r} in {shown[:100]}")
        return place / node.path


def _ignore(tree: Tree, dockerfile: str) -> ignore.Ignore:
    """<Dockerfile>.dockerignore if there is one, else .dockerignore. Raises DockerfileError."""
    for name in (f"{dockerfile}.dockerignore" if dockerfile else "", ".dockerignore"):
        node = tree.find(name) if name else None
        if node is None or not node.is_file:
            continue
        content = tree.read(node, _LARGEST_TEXT)
        try:
            return ignore.Ignore(ignore.read(content))
        except ignore.PatternError as error:
            raise DockerfileError(str(error), place=Place(name)) from None
    return ignore.Ignore()


def read_dockerfile(source: Source, dockerfile: str) -> tuple[bytes, str]:
    """Its content, and how errors call it. Raises NotFound."""
    if Path(dockerfile).is_absolute():
        try:
            with Path(dockerfile).open("rb") as file:
                return file.read(_LARGEST_TEXT + 1), dockerfile
        except OSError as error:
            raise NotFound(f"{dockerfile} cannot be read: {error.strerror}") from None
    for name in (dockerfile, dockerfile.lower() if dockerfile == "Dockerfile" else ""):
        node = source.tree.find(name) if name else None
        if node is not None and node.is_file:
            return source.tree.read(node, _LARGEST_TEXT), name
    raise NotFound(
        f"there is no {dockerfile} in {source.title}",
        hint="name it with -f, or build from the directory that has it",
    )
