"""COPY and ADD as steps of a stage: sources of every kind, owners by name, the cache's keys."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from stackctl.image.build import accounts, contexts, copying, makers, remote
from stackctl.image.build import instructions as ins
from stackctl.image.build.copying import Source, Wish
from stackctl.image.build.graph import FromContext, FromImage, FromNothing, FromStage
from stackctl.image.build.lines import Heredoc
from stackctl.image.build.progress import Vertex
from stackctl.image.build.settings import Expander
from stackctl.image.build.tree import Tree
from stackctl.image.build.upper import Owner, Upper
from stackctl.image.content import Layer
from stackctl.image.unpack.process import Unpacking
from stackctl.values import dataclass

if TYPE_CHECKING:
    from stackctl.image.build.stage import StageRun


@dataclass(frozen=True, slots=True)
class Written:
    """A here-document as a file."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file, or a repository's directory; `identity` is all that the cache has to know."""

    path: Path
    identity: tuple[object, ...]


class Adding:
    def __init__(self, run: StageRun, vertex: Vertex, made: ins.Copy, text: Expander) -> None:
        self._run = run
        self._vertex = vertex
        self._made = made
        self._text = text

    async def layer(self) -> Layer | None:
        made, text, run = self._made, self._text, self._run
        sources = [text(source) for source in made.sources]
        far = [s for s in sources if made.add and (s.startswith(remote.HTTP) or remote.is_git(s))]
        local = [s for s in sources if s not in far]
        if made.checksum and (local or len(far) != 1):
            raise text.error("--checksum is for one source that is an address")
        if made.keep_git_dir and not any(map(remote.is_git, far)):
            raise text.error("--keep-git-dir is for a source that is a Git repository")
        written = [self._written(heredoc) for heredoc in made.heredocs]
        from stackctl.image.build.stage import destination

        path, into = destination(run.state.settings.working_dir, text(made.destination))
        wish = Wish(
            sources=tuple(local),
            destination=path,
            into=into,
            owner=await self._owner(text(made.chown)),
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
            fetched = [await self._fetched(url) for url in far]
            described = {
                "wish": repr(wish),
                "add": made.add,
                "unpack": made.unpack,
                "written": [
                    [w.name, w.content.decode("utf-8", "surrogateescape")] for w in written
                ],
                "fetched": [each.identity for each in fetched],
            }
            # With --link the layer is the same whatever it lies on.
            to_key = run.bare_key if made.link else run.key

            async def by_origin() -> str:
                return to_key("link" if made.link else "copy", origin=quick, **described)

            async def by_content() -> str:
                def look() -> str:
                    return copying.fingerprint(source_of(held), wish, run.build.digests)

                found = await asyncio.to_thread(look)
                return to_key("link" if made.link else "copy", content=found, **described)

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
                reference = await build.context_image(context)
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

    async def _owner(self, text: str) -> Owner | None:
        def look() -> Owner:
            with self._run.tree() as tree:
                return accounts.owner(tree, text, self._text)

        return await asyncio.to_thread(look) if text else None

    def _written(self, heredoc: Heredoc) -> Written:
        content = heredoc.content
        if heredoc.chomp:
            content = re.sub(r"(?m)^\t+", "", content)
        if heredoc.expand:
            content = self._text.heredoc(content)
        return Written(heredoc.name, content.encode())

    async def _fetched(self, url: str) -> Fetched:
        build, made = self._run.build, self._made
        checksum = self._text(made.checksum) if made.checksum else ""
        scratch = build.scratch()
        if not remote.is_git(url):
            if checksum and not makers.CHECKSUM.fullmatch(checksum):
                raise self._text.error(f"--checksum={checksum[:80]!r} is not sha256:DIGITS")
            file = await asyncio.to_thread(remote.fetch, url, scratch, checksum)
            return Fetched(file, (file.name, await asyncio.to_thread(_digest, file)))
        wanted = remote.repository(url)
        if checksum:
            wanted = replace(wanted, commit=checksum)
        git, place = await build.git(), scratch / f"git-{build.unique()}"
        commit = await asyncio.to_thread(git.clone, wanted, place, keep=made.keep_git_dir)
        found = contexts.inside(place, wanted.directory, url)
        return Fetched(found, (wanted.url, commit, wanted.directory, made.keep_git_dir))

    # -- the work

    def _perform(
        self,
        directory: Path,
        source: Source,
        wish: Wish,
        written: list[Written],
        fetched: list[Fetched],
    ) -> None:
        upper_directory = directory / "upper"
        below = Tree([upper_directory]) if self._made.link else self._run.tree(upper_directory)
        with below as view, _opened(upper_directory, view) as upper:
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
            for far in fetched:
                if far.path.is_dir():
                    with Tree([far.path], plain=True) as tree:
                        repository = Source(tree, "the repository")
                        copying.perform(repository, replace(wish, sources=("/",)), upper)
                else:
                    self._add_fetched(directory, far.path, wish, upper)

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
                if each.node.is_file and remote.is_archive(source.tree.open(each.node))
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


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        found = hashlib.file_digest(file, "sha256").hexdigest()
    assert stat.S_ISREG(status.st_mode)
    return found


def _now() -> float:
    import time

    return time.time()
