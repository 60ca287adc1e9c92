"""Carries out one stage: its base, then instruction after instruction, each from the cache
or as a new layer.

Everything that a step depends on goes into its key: the layers below it, the whole
config so far, the instruction with its variables expanded, the files it takes.
"""

from __future__ import annotations

import asyncio
import copy
import errno
import posixpath
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackctl.errors import ImageError, MachineError, OutOfSpace, Place, StackctlError
from stackctl.image.build import cache, running, settings
from stackctl.image.build import instructions as ins
from stackctl.image.build.progress import Vertex
from stackctl.image.build.settings import Expander, Settings
from stackctl.image.build.tree import Tree
from stackctl.image.build.upper import Owner, Upper
from stackctl.image.content import Layer
from stackctl.values import dataclass

if TYPE_CHECKING:
    from stackctl.image.build.build import Build

LAYERED = (ins.Copy, ins.Run, ins.Workdir)


@dataclass(slots=True)
class State:
    """What a stage has become so far. `created` is the newest layer's time."""

    settings: Settings = field(default_factory=Settings)
    layers: list[Layer] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    on_host: bool = False
    host_mark: str = ""
    created: float = 0.0
    triggers: tuple[str, ...] = ()
    #: The named context of files that the stage begins with, until they are there.
    files_of: str = ""

    @property
    def chain(self) -> str:
        """What the files are, for keys."""
        return cache.key(host=self.host_mark, layers=[layer.diff_id for layer in self.layers])

    def branch(self) -> State:
        """For a stage FROM this one: its arguments stay declared."""
        new = copy.deepcopy(self)
        new.settings.has_command = False
        new.triggers = tuple(new.settings.config.pop("OnBuild", None) or ())
        return new


class StageRun:
    """One stage of one build."""

    def __init__(self, build: Build, stage: ins.Stage, state: State) -> None:
        self.build = build
        self.stage = stage
        self.state = state
        self._instructions: list[ins.StageInstruction] = [
            *_files(stage, state),
            *build.triggers(stage, state),
            *stage.instructions,
        ]
        self._total = 1 + sum(isinstance(i, LAYERED) for i in self._instructions)
        self._number = 1

    async def run(self) -> State:
        for instruction in self._instructions:
            await self._step(instruction)
        return self.state

    def title(self, text: str) -> str:
        name = f"{self.stage.title} " if len(self.build.graph.needed) > 1 else ""
        one_line = " ".join(text.split())
        return f"[{name}{self._number}/{self._total}] {one_line[:200]}"

    async def _step(self, instruction: ins.StageInstruction) -> None:
        now = self.state.settings
        text = Expander(now, self.build.file.file, instruction.first, self.build.file.escape)
        match instruction:
            case ins.Arg():
                settings.declare(
                    now, instruction, self.build.arguments, self.build.graph.outer, text
                )
                self._note(instruction)
            case ins.Workdir(path=path):
                now.config["WorkingDir"] = settings.absolute(now.working_dir, text(path))
                await self._vertex(instruction, self._make_working_dir)
            case ins.Copy():
                await self._vertex(instruction, lambda v: self._copy(v, instruction, text))
            case ins.Run():
                await self._vertex(instruction, lambda v: self._run(v, instruction, text))
            case _:
                settings.configure(now, instruction, text)
                self._note(instruction, text)

    async def _vertex(
        self, instruction: ins.Instruction, work: Callable[[Vertex], Awaitable[Layer | None]]
    ) -> None:
        self._number += 1
        with self.build.progress.vertex(self.title(instruction.text), instruction.first) as vertex:
            try:
                layer = await work(vertex)
            except OSError as error:
                raise self._translated(error, instruction) from error
            except RecursionError:
                place = Place(self.build.file.file, instruction.first)
                raise ImageError("directories are nested too deeply", place=place) from None
            except StackctlError as error:
                if error.place is None:
                    error.place = Place(self.build.file.file, instruction.first)
                raise
        if layer is not None:
            self.state.layers.append(layer)
        self._note(instruction, empty=layer is None)

    def _translated(self, error: OSError, instruction: ins.Instruction) -> StackctlError:
        what = f" ({error.filename})" if error.filename else ""
        text = f"{instruction.text.split()[0]}: {error.strerror or error}{what}"
        place = Place(self.build.file.file, instruction.first)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return OutOfSpace(text, place=place, hint="free some space (stackctl system prune)")
        if error.errno in (errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EINVAL):
            return ImageError(text, place=place, hint="a file cannot take a directory's place")
        return MachineError(text, place=place)

    def _note(
        self,
        instruction: ins.Instruction,
        text: Callable[[str], str] = str,
        *,
        empty: bool = True,
    ) -> None:
        entry: dict[str, Any] = {
            "created_by": settings.shown(instruction, self.state.settings, text),
            "created": self.state.created,
            "comment": "stackctl",
        }
        if empty:
            entry["empty_layer"] = True
        self.state.history.append(entry)

    # -- layers

    def key(self, kind: str, **parts: Any) -> str:
        """Of a step on the files and the config as they are now."""
        return self.bare_key(
            kind, chain=self.state.chain, config=self.state.settings.config, **parts
        )

    def bare_key(self, kind: str, **parts: Any) -> str:
        """Of a step that depends on nothing but `parts`."""
        return cache.key(kind=kind, epoch=self.build.epoch, **parts)

    async def layered(
        self,
        vertex: Vertex,
        keys: Sequence[Callable[[], Awaitable[str]]],
        work: Callable[[Path], Awaitable[None]],
    ) -> Layer | None:
        """The layer of a step: by the first key that the cache knows, or made by `work`.

        Keys are worked out one after the other: a later one costs more. `work` fills
        <directory>/upper.
        """
        build, found = self.build, None
        known: list[str] = []
        for each in keys:
            known.append(await each())
            found = await self._found(known[-1])
            if found is not None:
                break
        if found is None:
            # The last key is the same for all who would do the same work.
            async with build.steps.turn(known[-1]):
                found = await self._found(known[-1])
                if found is None:
                    found = await self._made(work)
                    await asyncio.to_thread(build.cache.put, known[-1], found)
                    build.used.add(known[-1])
                else:
                    vertex.cached()
        else:
            vertex.cached()
        for each_key in known[:-1]:
            await asyncio.to_thread(build.cache.put, each_key, found)
        build.used.update(known)
        self.state.created = max(self.state.created, build.clamped(found.created))
        return found.layer

    async def _found(self, key: str) -> cache.Entry | None:
        """Without the cache, only what this build itself has made counts."""
        build = self.build
        if build.skips_cache(self.stage) and key not in build.used:
            return None
        return await asyncio.to_thread(build.cache.find, key, build.imports)

    async def _made(self, work: Callable[[Path], Awaitable[None]]) -> cache.Entry:
        async with self.build.work_directory() as directory:
            await work(directory)
            layer = await asyncio.to_thread(self._commit, directory / "upper")
        return cache.Entry(layer, self.build.now())

    def _commit(self, upper: Path) -> Layer | None:
        if not any(upper.iterdir()):
            return None
        return self.build.store.commit_directory(upper, adopt=True, clamp=self.build.epoch)

    def tree(self, upper: Path | None = None) -> Tree:
        """The stage's files as they are now, with `upper` on top. Blocking."""
        return self.build.tree_of(self.state, upper)

    async def _make_working_dir(self, vertex: Vertex) -> Layer | None:
        path = self.state.settings.working_dir

        async def work(directory: Path) -> None:
            await asyncio.to_thread(_make_directory, self, directory / "upper", path)

        async def key() -> str:
            return self.key("workdir", path=path)

        return await self.layered(vertex, [key], work)

    # -- COPY and ADD

    async def _copy(self, vertex: Vertex, made: ins.Copy, text: Expander) -> Layer | None:
        from stackctl.image.build.adding import Adding

        return await Adding(self, vertex, made, text).layer()

    # -- RUN

    async def _run(self, vertex: Vertex, made: ins.Run, text: Expander) -> Layer | None:
        return await running.Running(self, vertex, made, text).layer()


def _files(stage: ins.Stage, state: State) -> list[ins.StageInstruction]:
    """FROM of a named context that is a directory: a copy of it."""
    name, state.files_of = state.files_of, ""
    if not name:
        return []
    begin, text = stage.begin, f"COPY --from={name} . /"
    return [
        ins.Copy(
            first=begin.first,
            last=begin.last,
            text=text,
            from_=name,
            sources=(".",),
            destination="/",
        )
    ]


def _make_directory(run: StageRun, upper: Path, path: str) -> None:
    with run.tree(upper) as view:
        found, missing = view.resolve(path)
        if not found.is_directory:
            raise NotADirectoryError(errno.ENOTDIR, "is not a directory", f"/{found.path}")
        if missing:
            layer = Upper(upper, view)
            try:
                layer.directory(path, Owner())
            finally:
                layer.close()


def destination(working_dir: str, path: str) -> tuple[str, bool]:
    """The absolute path, and whether it was written as a directory."""
    into = path.endswith(("/", "/.", "/..")) or path in (".", "..", "")
    return posixpath.normpath(settings.absolute(working_dir, path)), into
