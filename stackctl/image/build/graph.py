"""Which stages are needed, and what the names in FROM, --from and --mount mean. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from stackctl.errors import DockerfileError, Place
from stackctl.image.build import instructions as ins
from stackctl.image.build.expansion import WordError, expand
from stackctl.image.build.settings import PROXIES
from stackctl.values import dataclass


@dataclass(frozen=True, slots=True)
class FromStage:
    index: int


@dataclass(frozen=True, slots=True)
class FromContext:
    """A context that was given by name."""

    name: str


@dataclass(frozen=True, slots=True)
class FromImage:
    reference: str


@dataclass(frozen=True, slots=True)
class FromNothing:
    """FROM scratch."""


#: Arguments that count without an ARG.
PREDEFINED = PROXIES | {"SOURCE_DATE_EPOCH"}

Origin = FromStage | FromContext | FromImage | FromNothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """`needed` are indices of stages; `bases` what each of these begins with."""

    target: int
    needed: tuple[int, ...]
    bases: Mapping[int, Origin]
    #: Values of global arguments, for ARG without a default.
    outer: Mapping[str, str] = field(default_factory=dict)


def graph(
    file: ins.Dockerfile,
    *,
    target: str,
    arguments: Mapping[str, str],
    platform: Mapping[str, str],
    contexts: frozenset[str],
) -> Graph:
    """Raises DockerfileError for an unknown target, or a stage that needs itself.

    `platform` holds TARGETPLATFORM and its like; `contexts` the names that were given.
    """
    outer = _outer(file, arguments, platform)
    last = _target(file, target)
    needed: set[int] = set()
    bases: dict[int, Origin] = {}
    ahead = [last]
    while ahead:
        index = ahead.pop()
        if index in needed:
            continue
        needed.add(index)
        stage = file.stages[index]
        begin = stage.begin
        image = _expanded(file, begin, begin.image, outer)
        bases[index] = base = _base(file, index, image, contexts)
        _check_platform(file, begin, _expanded(file, begin, begin.platform, outer), platform)
        origins = [base]
        for instruction in stage.instructions:
            origins += [origin(file, index, n, instruction, contexts) for n in names(instruction)]
        ahead += [o.index for o in origins if isinstance(o, FromStage)]
    return Graph(target=last, needed=tuple(sorted(needed)), bases=bases, outer=outer)


def base(file: ins.Dockerfile, index: int, found: Graph, contexts: frozenset[str]) -> Origin:
    """What a stage begins with; also one that only an ONBUILD of an image turned out to need."""
    if index in found.bases:
        return found.bases[index]
    begin = file.stages[index].begin
    return _base(file, index, _expanded(file, begin, begin.image, found.outer), contexts)


def unused(file: ins.Dockerfile, arguments: Mapping[str, str]) -> list[str]:
    """Names of arguments that were given, and that no ARG takes and nobody knows."""
    declared = {
        name
        for each in (*file.arguments, *(i for s in file.stages for i in s.instructions))
        if isinstance(each, ins.Arg)
        for name, _ in each.pairs
    }
    return sorted(
        name
        for name in arguments
        if name not in declared | PREDEFINED and not name.startswith("BUILDKIT_")
    )


def names(instruction: ins.Instruction) -> list[str]:
    """What an instruction takes files from, as written."""
    match instruction:
        case ins.Copy(from_=name) if name:
            return [name]
        case ins.Run(mounts=mounts):
            found = (dict(mount.values).get("from", "") for mount in mounts)
            return [name for name in found if name]
    return []


def origin(
    file: ins.Dockerfile,
    index: int,
    name: str,
    instruction: ins.Instruction,
    contexts: frozenset[str],
) -> Origin:
    """What --from=name means in stage `index`."""
    place = Place(file.file, instruction.first)
    if "$" in name:
        raise DockerfileError(
            f"a variable cannot choose what files come from ({name[:60]})",
            hint=f"name it by a stage: FROM {name[:60]} AS source, then from=source",
            place=place,
        )
    if name in contexts:
        return FromContext(name)
    known = stage_index(file, name, before=index)
    if known is not None:
        return FromStage(known)
    if name.isdecimal():
        raise DockerfileError(
            f"there is no stage {name} before this one",
            hint=f"this is stage {index}; stages count from 0",
            place=place,
        )
    if name.lower() == file.stages[index].name:
        raise DockerfileError(f"stage {name!r} takes files from itself", place=place)
    if name == "scratch":
        return FromNothing()
    return FromImage(name)


def stage_index(file: ins.Dockerfile, name: str, *, before: int) -> int | None:
    """The last stage of this name, or number, before `before`."""
    for stage in reversed(file.stages[:before]):
        if stage.name and stage.name == name.lower():
            return stage.index
    if name.isdecimal() and len(name) < 6 and int(name) < before:
        return int(name)
    return None


def _base(file: ins.Dockerfile, index: int, image: str, contexts: frozenset[str]) -> Origin:
    begin = file.stages[index].begin
    if not image:
        raise DockerfileError(
            f"FROM {begin.image}: the name of the base is empty",
            hint="give its ARG a default before FROM, or a value with --build-arg",
            place=Place(file.file, begin.first),
        )
    if image in contexts:
        return FromContext(image)
    if image == "scratch":
        return FromNothing()
    for stage in reversed(file.stages[:index]):
        if stage.name and stage.name == image.lower():
            return FromStage(stage.index)
    return FromImage(image)


def _target(file: ins.Dockerfile, target: str) -> int:
    if not target:
        return len(file.stages) - 1
    index = stage_index(file, target, before=len(file.stages))
    if index is None:
        known = [stage.name for stage in file.stages if stage.name]
        raise DockerfileError(
            f"there is no stage {target[:60]!r}",
            hint=f"stages are {', '.join(known)}" if known else "no stage has a name",
            place=Place(file.file),
        )
    return index


def _outer(
    file: ins.Dockerfile, arguments: Mapping[str, str], platform: Mapping[str, str]
) -> dict[str, str]:
    values = dict(platform)
    for instruction in file.arguments:
        for name, default in instruction.pairs:
            if name in arguments:
                values[name] = arguments[name]
            elif default is not None:
                values[name] = _expanded(file, instruction, default, values)
    return values


def _expanded(
    file: ins.Dockerfile, at: ins.Instruction, text: str, values: Mapping[str, str]
) -> str:
    try:
        return expand(text, values, file.escape)
    except WordError as error:
        raise DockerfileError(str(error), place=Place(file.file, at.first)) from None


def _check_platform(
    file: ins.Dockerfile, begin: ins.From, platform: str, own: Mapping[str, str]
) -> None:
    if not platform:
        return
    ours = own["BUILDPLATFORM"]
    if platform.lower() not in _spellings(ours):
        raise DockerfileError(
            f"this machine builds for {ours} only, not for {platform[:60]}",
            hint="build it on such a machine",
            place=Place(file.file, begin.first),
        )


_SAME = {
    "linux/amd64": ("linux/amd64/v1", "linux/x86_64", "amd64", "x86_64"),
    "linux/arm64": ("linux/arm64/v8", "linux/aarch64", "arm64", "aarch64"),
}


def _spellings(platform: str) -> tuple[str, ...]:
    return (platform, *_SAME.get(platform, ()))


def same_platform(one: str, own: str) -> bool:
    return one.lower() in _spellings(own)
