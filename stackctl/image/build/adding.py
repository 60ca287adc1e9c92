"""COPY and ADD as steps of a stage: sources of every kind, owners by name, the cache's keys."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import stat
import tarfile
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from stackctl.errors import ImageError
from stackctl.image.build import accounts, copying
from stackctl.image.build import instructions as ins
from stackctl.image.build.copying import Source, Wish
from stackctl.image.build.graph import FromContext, FromImage, FromNothing, FromStage
from stackctl.image.build.lines import Heredoc
from stackctl.image.build.progress import Vertex
from stackctl.image.build.settings import Expander
from stackctl.image.build.tree import Node, Tree
from stackctl.image.build.upper import Owner, Upper
from stackctl.image.content import Layer
from stackctl.image.unpack.process import Unpacking

if TYPE_CHECKING:
    from stackctl.image.build.stage import StageRun

_REMOTE = ("http://", "https://")
_GIT = re.compile(r"git@|git://|ssh://|https?://[^#?]+\.git(?:[#?]|$)")
_MAGIC = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")
_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Written:
    """A here-document as a file."""

    name: str
    content: bytes


class Adding:
    def __init__(self, run: StageRun, vertex: Vertex, made: ins.Copy, text: Expander) -> None:
        self._run = run
        self._vertex = vertex
        self._made = made
        self._text = text
        self._remote: dict[str, Path] = {}

    async def layer(self) -> Layer | None:
        made, text, run = self._made, self._text, self._run
        if made.keep_git_dir:
            raise text.error("--keep-git-dir: Git repositories cannot be added yet")
        sources = [text(source) for source in made.sources]
        for source in sources:
            if made.add and _GIT.match(source):
                raise text.error(
                    f"{source[:80]} cannot be added: Git repositories are not supported yet",
                    "clone it beside the Dockerfile, and COPY it",
                )
        local = [s for s in sources if not (made.add and s.startswith(_REMOTE))]
        written = [self._written(heredoc) for heredoc in made.heredocs]
        from stackctl.image.build.stage import destination

        path, into = destination(run.state.settings.working_dir, text(made.destination))
        wish = Wish(
            sources=tuple(local),
            destination=path,
            into=into,
            owner=await asyncio.to_thread(self._owner, text(made.chown)),
            chmod=text(made.chmod),
            parents=made.parents,
            exclude=tuple(text(pattern) for pattern in made.exclude),
        )
        if len(sources) + len(written) > 1 and not into:
            raise text.error(
                f"several sources need a directory as destination, and {path} is none",
                f"write it with a slash at its end: {path}/",
            )
        with ExitStack() as held:
            quick, source_of = await self._source(held)
            fetched = [await self._fetched(url) for url in sources if url not in local]
            described = {
                "wish": repr(wish),
                "add": made.add,
                "unpack": made.unpack,
                "written": [
                    [w.name, w.content.decode("utf-8", "surrogateescape")] for w in written
                ],
                "fetched": [[p.name, _digest(p)] for p in fetched],
            }

            async def by_origin() -> str:
                return run.key("copy", origin=quick, **described)

            async def by_content() -> str:
                tree = await asyncio.to_thread(source_of, held)
                found = await asyncio.to_thread(copying.fingerprint, tree, wish, run.build.digests)
                return run.key("copy", content=found, **described)

            async def work(directory: Path) -> None:
                tree = await asyncio.to_thread(source_of, held)
                await asyncio.to_thread(self._perform, directory, tree, wish, written, fetched)

            keys = [by_origin, by_content] if quick else [by_content]
            return await run.layered(self._vertex, keys, work)

    # -- where files come from

    async def _source(self, held: ExitStack) -> tuple[str, SourceOf]:
        """(what they are without looking at them, or "", how to get them)."""
        build, run, name = self._run.build, self._run, self._made.from_
        if not name:
            return "", SourceOf(lambda _: build.context)
        match build.origin(run.stage, name, self._made):
            case FromContext(name=context):
                reference = build.context_image(context)
                if not reference:
                    return "", SourceOf(lambda _: build.named_context(context))
                state = await build.image_state(reference)
            case FromStage(index=index):
                state = await build.stage(index)
            case FromImage(reference=reference):
                state = await build.image_state(reference)
            case FromNothing():
                raise self._text.error("scratch has no files")

        def opened(stack: ExitStack) -> Source:
            tree = stack.enter_context(build.tree_of(state, None))
            return Source(tree, f"{name!r}", keep_owner=True)

        return state.chain, SourceOf(opened)

    def _owner(self, text: str) -> Owner | None:
        if not text:
            return None
        with self._run.tree() as tree:
            return accounts.owner(tree, text, self._text)

    def _written(self, heredoc: Heredoc) -> Written:
        content = heredoc.content
        if heredoc.chomp:
            content = re.sub(r"(?m)^\t+", "", content)
        if heredoc.expand:
            content = self._text.heredoc(content)
        return Written(heredoc.name, content.encode())

    async def _fetched(self, url: str) -> Path:
        build = self._run.build
        return await asyncio.to_thread(
            _fetch, url, build.scratch(), self._made.checksum and self._text(self._made.checksum)
        )

    # -- the work

    def _perform(
        self,
        directory: Path,
        source: Source,
        wish: Wish,
        written: list[Written],
        fetched: list[Path],
    ) -> None:
        upper_directory = directory / "upper"
        with self._run.tree(upper_directory) as view, _opened(upper_directory, view) as upper:
            plain = wish
            if self._made.add and not self._made.from_ and self._made.unpack is not False:
                plain = self._unpack_archives(directory, source, wish, upper)
            if plain.sources:
                copying.perform(source, plain, upper)
            owner = wish.owner or Owner()
            when = self._run.build.epoch or 0
            for each in written:
                place, name = upper.place_for(wish.destination, each.name, wish.into, owner)
                mode = copying.changed_mode(0o644, wish.chmod or "644", is_directory=False)
                upper.write(place, name, each.content, owner, mode, when or _now())
            for file in fetched:
                self._add_fetched(directory, file, wish, upper)

    def _add_fetched(self, directory: Path, file: Path, wish: Wish, upper: Upper) -> None:
        with Tree([file.parent], plain=True) as tree:
            source = Source(tree, "what was fetched")
            if self._made.unpack:
                rest = self._unpack_archives(
                    directory, source, replace(wish, sources=(file.name,)), upper
                )
                if not rest.sources:
                    return
            one = replace(wish, sources=(file.name,), chmod=wish.chmod or "600", exclude=())
            copying.perform(source, one, upper)

    def _unpack_archives(self, directory: Path, source: Source, wish: Wish, upper: Upper) -> Wish:
        """Local archives are unpacked into the destination; the other sources stay."""
        rest: list[str] = []
        for number, pattern in enumerate(wish.sources):
            chosen = copying.select(source, pattern)
            archives = [
                each.node
                for each in chosen
                if each.node.is_file and _is_archive(source.tree, each.node)
            ]
            if not archives:
                rest.append(pattern)
                continue
            for count, node in enumerate(archives):
                place = directory / f"archive-{number}-{count}"
                place.mkdir(mode=0o755)
                fd = source.tree.open(node)
                try:
                    with Unpacking(place) as process:
                        process.feed(fd)
                        process.finish()
                finally:
                    os.close(fd)
                with Tree([place], plain=True) as tree:
                    inner = Source(tree, f"the archive {node.name}", keep_owner=True)
                    copying.perform(inner, replace(wish, sources=("/",), exclude=()), upper)
            others = [e for e in chosen if e.node not in archives]
            rest += [e.node.path for e in others]
        return replace(wish, sources=tuple(rest))


class SourceOf:
    """A source that is opened once, when it is needed."""

    def __init__(self, make: _Make) -> None:
        self._make = make
        self._made: Source | None = None

    def __call__(self, held: ExitStack) -> Source:
        if self._made is None:
            self._made = self._make(held)
        return self._made


if TYPE_CHECKING:
    from collections.abc import Callable

    _Make = Callable[[ExitStack], Source]


@contextlib.contextmanager
def _opened(directory: Path, view: Tree) -> Iterator[Upper]:
    upper = Upper(directory, view)
    try:
        yield upper
    finally:
        upper.close()


def _is_archive(tree: Tree, node: Node) -> bool:
    fd = tree.open(node)
    with os.fdopen(fd, "rb") as file:
        head = file.read(512)
        if len(head) < 6 or not (head[257:262] == b"ustar" or head.startswith(_MAGIC)):
            return False
        if head.startswith(_MAGIC[3]):
            return True
        file.seek(0)
        try:
            with tarfile.open(fileobj=file, mode="r:*"):
                return True
        except (tarfile.TarError, OSError, EOFError, ValueError):
            return False


def _fetch(url: str, scratch: Path, checksum: str) -> Path:
    """A file of the network; its time is what the server says. Raises ImageError."""
    name = posix_name(url)
    place = scratch / hashlib.sha256(url.encode()).hexdigest()[:16]
    place.mkdir(exist_ok=True)
    target = place / name
    total = hashlib.sha256()
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer, target.open("wb") as file:
            while piece := answer.read(1 << 20):
                total.update(piece)
                file.write(piece)
            modified = answer.headers.get("Last-Modified")
    except (OSError, ValueError) as error:
        raise ImageError(
            f"{url[:100]} cannot be fetched: {error}", hint="is the address right and reachable?"
        ) from None
    if checksum and checksum != f"sha256:{total.hexdigest()}":
        raise ImageError(
            f"{url[:100]} is sha256:{total.hexdigest()}, not the --checksum that was given"
        )
    if modified:
        from email.utils import parsedate_to_datetime

        with contextlib.suppress(ValueError, TypeError):
            stamp = parsedate_to_datetime(modified).timestamp()
            os.utime(target, (stamp, stamp))
    return target


def posix_name(url: str) -> str:
    """The last part of the path; Raises ImageError when there is none."""
    name = urllib.parse.unquote(urllib.parse.urlsplit(url).path).rpartition("/")[2]
    if not name or name in (".", "..") or "\0" in name:
        raise ImageError(f"{url[:100]} has no name for a file at its end")
    return name


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        found = hashlib.file_digest(file, "sha256").hexdigest()
    assert stat.S_ISREG(status.st_mode)
    return found


def _now() -> float:
    import time

    return time.time()
