"""Dockerfile text -> Dockerfile: every instruction of BuildKit's current frontend.

All mistakes are told at once, each with its line and a hint. Nothing is expanded
and nothing is read but the text: `stages` and `steps` do the rest.
"""

from __future__ import annotations

from stackctl.errors import DockerfileError, DockerfileErrors, Place
from stackctl.image.build import instructions as ins
from stackctl.image.build.flags import FlagError
from stackctl.image.build.lines import Line, read
from stackctl.image.build.makers import Mistake, instruction


def parse(content: bytes, file: str = "Dockerfile") -> ins.Dockerfile:
    """Raises DockerfileErrors with all mistakes."""
    source = read(content, file)
    errors = source.errors
    parser = _Parser(source.escape)
    for line in source.lines:
        try:
            parser.take(line)
        except (Mistake, FlagError) as mistake:
            place = Place(file, line.first)
            errors.append(DockerfileError(mistake.brief, hint=mistake.hint, place=place))
    if not parser.stages and not errors:
        errors.append(
            DockerfileError(
                "the file has no FROM" if source.lines else "the Dockerfile cannot be empty",
                hint="begin with `FROM image`, or `FROM scratch` for an empty one",
                place=Place(file),
            )
        )
    if errors:
        raise DockerfileErrors(tuple(sorted(errors, key=lambda e: e.place or Place(file))))
    return ins.Dockerfile(
        file=file,
        escape=source.escape,
        arguments=tuple(parser.arguments),
        stages=parser.finished(),
        lines=tuple(source.lines),
        gaps=tuple(source.gaps),
        checks=source.checks,
    )


def trigger(text: str, file: str, line: int) -> ins.StageInstruction:
    """An ONBUILD trigger of a base image as an instruction of the FROM at `line`.

    Raises DockerfileErrors.
    """
    source = read(text.encode(), f"{file}:{line} (ONBUILD of the base image)")
    for each in source.lines:
        try:
            found = instruction(each, source.escape)
        except (Mistake, FlagError) as mistake:
            source.fail(1, mistake.brief, mistake.hint)
            continue
        if not isinstance(found, ins.From | ins.OnBuild):
            return found
        source.fail(1, f"{each.word} cannot be an ONBUILD trigger")
    source.fail(1, "the trigger is empty")
    raise DockerfileErrors(tuple(source.errors))


class _Parser:
    """Sorts instructions into stages."""

    def __init__(self, escape: str) -> None:
        self._escape = escape
        self.arguments: list[ins.Arg] = []
        self.stages: list[tuple[ins.From, list[ins.StageInstruction]]] = []

    def take(self, line: Line) -> None:
        found = instruction(line, self._escape)
        if isinstance(found, ins.From):
            self.stages.append((found, []))
        elif self.stages:
            self.stages[-1][1].append(found)
        elif isinstance(found, ins.Arg):
            self.arguments.append(found)
        else:
            raise Mistake(
                f"{line.word} comes before the first FROM", "only ARG may stand before FROM"
            )

    def finished(self) -> tuple[ins.Stage, ...]:
        return tuple(
            ins.Stage(index=index, begin=begin, instructions=tuple(inner))
            for index, (begin, inner) in enumerate(self.stages)
        )
