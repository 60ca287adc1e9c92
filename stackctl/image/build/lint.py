"""What a Dockerfile should not have although it builds: BuildKit's checks, by their names.

Pure: rules over the parsed file. What some of them have to know besides it comes in
`Around`; where that is not known (an image that is not here), they say nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from difflib import get_close_matches
from typing import NamedTuple

from stackctl.errors import ImageError
from stackctl.image.build import instructions as ins
from stackctl.image.build import remote
from stackctl.image.build.expansion import WordError, expand, unset_names
from stackctl.image.build.flags import split as split_flags
from stackctl.image.build.graph import PREDEFINED, FromImage, FromNothing, FromStage, Origin
from stackctl.image.build.lines import Line
from stackctl.image.build.makers import PUBLISHED
from stackctl.model.reference import parse as parse_reference
from stackctl.values import dataclass

_RESERVED = ("context", "scratch")
_EXPERIMENTAL = frozenset(("InvalidDefinitionDescription",))
_SECRET = re.compile(
    r"(?:^|_)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)",
    re.IGNORECASE,
)
_PUBLIC = re.compile(r"(?:^|_)public(?:_|$)", re.IGNORECASE)
_PLATFORM = re.compile(r"\$\{?TARGETPLATFORM\}?")


class Finding(NamedTuple):
    """A rule that the file breaks, where, and in words."""

    line: int
    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What a stage begins with; `variables` None: nobody knows."""

    variables: frozenset[str] | None = None
    has_shell: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What is not in the file: the platform's arguments, images, .dockerignore.

    `origin` says what a stage begins with, `image` what an image brings along.
    """

    platform: Mapping[str, str]
    origin: Callable[[int], Origin]
    image: Callable[[str], Base] = lambda reference: Base()
    is_ignored: Callable[[str], bool] = lambda path: False


def lint(file: ins.Dockerfile, stages: Iterable[int], around: Around) -> list[Finding]:
    """What the file's checks do not skip, by line; `stages`: those that are looked into."""
    checks = file.checks
    if "all" in checks.skip:
        return []
    found = [*_writing(file), *_names(file), *_bases(file, around)]
    after: dict[int, _Stage] = {}
    for index in sorted(_with_bases(stages, around)):
        stage = _Stage(file, index, around, after)
        found += stage.findings() if index in set(stages) else stage.silently()
        after[index] = stage
    return sorted(
        {
            each: None
            for each in found
            if each.rule.lower() not in checks.skip
            and (each.rule not in _EXPERIMENTAL or {each.rule.lower(), "all"} & checks.experimental)
        },
        key=lambda finding: finding.line,
    )


def _with_bases(stages: Iterable[int], around: Around) -> set[int]:
    """These stages and those that they continue."""
    wanted, ahead = set[int](), list(stages)
    while ahead:
        index = ahead.pop()
        if index not in wanted:
            wanted.add(index)
            match around.origin(index):
                case FromStage(index=base):
                    ahead.append(base)
    return wanted


# -- how it is written


def _writing(file: ins.Dockerfile) -> Iterator[Finding]:
    for first in file.gaps:
        yield Finding(first, "NoEmptyContinuation", "Empty continuation line")
    consistent = [line.written for line in file.lines if line.written in _casings(line)]
    lower = sum(word == word.lower() for word in consistent)
    is_lower = lower > len(consistent) - lower
    for line in file.lines:
        if line.written != (line.word.lower() if is_lower else line.word):
            casing = "lowercase" if is_lower else "uppercase"
            text = f"Command '{line.written}' should match the case of the command majority"
            yield Finding(line.first, "ConsistentInstructionCasing", f"{text} ({casing})")
        match line.word:
            case "FROM":
                yield from _from(line, file.escape)
            case "EXPOSE":
                yield from _expose(line)
            case "ENV" | "LABEL" if "=" not in line.rest.split(maxsplit=1)[0]:
                text = f'"{line.word} key=value" should be used instead of legacy'
                text += f' "{line.word} key value" format'
                yield Finding(line.first, "LegacyKeyValueFormat", text)
            case "MAINTAINER":
                text = "Maintainer instruction is deprecated in favor of using label"
                yield Finding(line.first, "MaintainerDeprecated", text)
            case "ARG":
                names = [word.partition("=")[0] for word in line.rest.split()]
                yield from _description(line, names)


def _casings(line: Line) -> tuple[str, str]:
    return line.word, line.word.lower()


def _from(line: Line, escape: str) -> Iterator[Finding]:
    words = split_flags(line.rest, escape)[1].split()
    if len(words) < 3:
        return
    _, keyword, name = words[:3]
    if name != name.lower():
        text = f"Stage name '{name}' should be lowercase"
        yield Finding(line.first, "StageNameCasing", text)
    if line.written in _casings(line):
        is_lower = line.written == line.word.lower()
        if is_lower is not (keyword == keyword.lower()):
            text = f"'{keyword}' and '{line.written}' keywords' casing do not match"
            yield Finding(line.first, "FromAsCasing", text)
    yield from _description(line, [name])


def _description(line: Line, names: list[str]) -> Iterator[Finding]:
    if line.comment and line.comment.split(maxsplit=1)[0] not in names:
        kind = "build stage" if line.word == "FROM" else "argument"
        text = f"Comment for {kind} should follow the format: `# {names[0]} <description>`. "
        text += "If this is not intended to be a description comment, add an empty line or "
        text += "comment between the instruction and the comment."
        yield Finding(line.first, "InvalidDefinitionDescription", text)


def _expose(line: Line) -> Iterator[Finding]:
    for word in line.rest.split():
        protocol = word.partition("/")[2]
        if protocol != protocol.lower() and "$" not in protocol:
            text = f"Defined protocol '{word}' in EXPOSE instruction should be lowercase"
            yield Finding(line.first, "ExposeProtoCasing", text)
        if PUBLISHED.match(word):
            text = "EXPOSE instruction should not define an IP address or host-port mapping"
            yield Finding(line.first, "ExposeInvalidFormat", f"{text}, found '{word}'")


# -- stages and what they begin with


def _names(file: ins.Dockerfile) -> Iterator[Finding]:
    seen: set[str] = set()
    for stage in file.stages:
        name, line = stage.name, stage.begin.first
        if name in _RESERVED:
            text = f'Stage name should not use the same name as reserved stage "{name}"'
            yield Finding(line, "ReservedStageName", text)
        if name and name in seen:
            text = f'Duplicate stage name "{name}", stage names should be unique'
            yield Finding(line, "DuplicateStageName", text)
        seen.add(name)


def _bases(file: ins.Dockerfile, around: Around) -> Iterator[Finding]:
    defaults = dict(around.platform)
    declared = {name for arg in file.arguments for name, _ in arg.pairs} | set(defaults)
    for arg in file.arguments:
        for name, default in arg.pairs:
            if default is not None:
                defaults[name] = _value(default, defaults, file.escape)
    for stage in file.stages:
        begin = stage.begin
        for text in (begin.image, begin.platform):
            for name in unset_names(text, dict.fromkeys(declared, "x"), file.escape):
                words = f"FROM argument '{name}' is not declared{_meant(name, declared)}"
                yield Finding(begin.first, "UndefinedArgInFrom", words)
        if not _is_reference(_value(begin.image, defaults, file.escape)):
            words = f"Default value for ARG {begin.image} results in empty or invalid base image"
            yield Finding(begin.first, "InvalidDefaultArgInFrom", f"{words} name")
        yield from _platform(begin)


def _value(text: str, values: Mapping[str, str], escape: str) -> str:
    """Without build arguments; "" when one has to be given (${NAME:?})."""
    try:
        return expand(text, values, escape)
    except WordError:
        return ""


def _is_reference(text: str) -> bool:
    try:
        parse_reference(text)
    except ImageError:
        return False
    return True


def _platform(begin: ins.From) -> Iterator[Finding]:
    given = begin.platform
    if _PLATFORM.fullmatch(given):
        text = f"Setting platform to predefined {given} in FROM is redundant as this is the"
        yield Finding(begin.first, "RedundantTargetPlatform", f"{text} default behavior")
        return
    # A stage that is called after its platform means it.
    is_meant = any(part in begin.name for part in given.lower().split("/")[:2])
    if given and "$" not in given and not is_meant:
        text = f'FROM --platform flag should not use constant value "{given}"'
        yield Finding(begin.first, "FromPlatformFlagConstDisallowed", text)


def _meant(name: str, known: Iterable[str], sign: str = "") -> str:
    close = get_close_matches(name, list(known), 1)
    return f" (did you mean {sign}{close[0]}?)" if close else ""


# -- what is in a stage


@dataclass(slots=True)
class _Stage:
    """Follows one stage; the stage that it continues has been followed before."""

    file: ins.Dockerfile
    index: int
    around: Around
    before: Mapping[int, _Stage]
    #: Names of arguments and variables; None when the base has some that are not known.
    variables: frozenset[str] | None = None
    has_shell: bool = False
    has_directory: bool = False
    last: dict[str, int] = field(default_factory=dict)

    def silently(self) -> list[Finding]:
        self.findings()
        return []

    def findings(self) -> list[Finding]:
        self._begin()
        found: list[Finding] = []
        for instruction in self.file.stages[self.index].instructions:
            found += self._undefined(instruction)
            found += self._of(instruction)
        return found

    def _begin(self) -> None:
        match self.around.origin(self.index):
            case FromStage(index=index):
                base = self.before[index]
                self.variables, self.has_shell = base.variables, base.has_shell
                self.has_directory = base.has_directory
            case FromNothing():
                self.variables = frozenset(("PATH",))
            case FromImage(reference=reference):
                image = self.around.image(reference)
                self.has_shell = image.has_shell
                # PATH always has a value, see settings.
                known = image.variables
                self.variables = None if known is None else known | {"PATH"}

    def _of(self, instruction: ins.StageInstruction) -> Iterator[Finding]:
        line = instruction.first
        match instruction:
            case ins.Cmd(command=command) | ins.Entrypoint(command=command):
                word = "CMD" if isinstance(instruction, ins.Cmd) else "ENTRYPOINT"
                yield from self._once(word, line)
                if isinstance(command, ins.ShellForm) and not self.has_shell:
                    text = f"JSON arguments recommended for {word} to prevent unintended"
                    text += " behavior related to OS signals"
                    yield Finding(line, "JSONArgsRecommended", text)
            case ins.HealthCheck():
                yield from self._once("HEALTHCHECK", line)
            case ins.Shell():
                self.has_shell = True
            case ins.Workdir(path=path):
                if not self.has_directory and not path.strip("\"'").startswith(("/", "$")):
                    text = f'Relative workdir "{path}" can have unexpected results if the'
                    yield Finding(line, "WorkdirRelativePath", f"{text} base image changes")
                self.has_directory = True
            case ins.Env(pairs=pairs):
                yield from _secrets("ENV", [name for name, _ in pairs], line)
                self._declare(name for name, _ in pairs)
            case ins.Arg(pairs=optional):
                yield from _secrets("ARG", [name for name, _ in optional], line)
                self._declare(name for name, _ in optional)
            case ins.Copy(from_="", sources=sources, add=add):
                for source in sources:
                    is_far = add and (source.startswith(remote.HTTP) or remote.is_git(source))
                    if not is_far and self.around.is_ignored(source):
                        text = f'Attempting to {"Add" if add else "Copy"} file "{source}"'
                        text += " that is excluded by .dockerignore"
                        yield Finding(line, "CopyIgnoredFile", text)

    def _once(self, word: str, line: int) -> Iterator[Finding]:
        """The earlier one is told: it counts for nothing."""
        if word in self.last:
            text = f"Multiple {word} instructions should not be used in the same stage because"
            text += " only the last one will be used"
            yield Finding(self.last[word], "MultipleInstructionsDisallowed", text)
        self.last[word] = line

    def _declare(self, names: Iterable[str]) -> None:
        if self.variables is not None:
            self.variables |= set(names)

    def _undefined(self, instruction: ins.StageInstruction) -> Iterator[Finding]:
        known = self.variables
        if known is None:
            return
        if isinstance(instruction, ins.Arg):
            # Each default sees the arguments before it, and what is given for its own.
            known |= {name for name, _ in instruction.pairs}
        values = dict.fromkeys((*known, *PREDEFINED), "x")
        for text in _expanded(instruction):
            try:
                missing = unset_names(text, values, self.file.escape)
            except WordError:
                continue  # the build tells
            for name in missing:
                words = f"Usage of undefined variable '${name}'{_meant(name, known, '$')}"
                yield Finding(instruction.first, "UndefinedVar", words)


def _secrets(word: str, names: Iterable[str], line: int) -> Iterator[Finding]:
    for name in names:
        if _SECRET.search(name) and not _PUBLIC.search(name):
            text = f'Do not use ARG or ENV instructions for sensitive data ({word} "{name}")'
            yield Finding(line, "SecretsUsedInArgOrEnv", text)


def _expanded(instruction: ins.StageInstruction) -> tuple[str, ...]:
    """The texts of an instruction in which the build replaces variables, not a shell."""
    match instruction:
        case ins.Arg(pairs=optional):
            return tuple(value for _, value in optional if value)
        case ins.Env(pairs=pairs) | ins.Label(pairs=pairs):
            return tuple(text for pair in pairs for text in pair)
        case ins.Copy(sources=sources, destination=destination, chown=chown, chmod=chmod):
            return (*sources, destination, chown, chmod)
        case ins.Workdir(path=text) | ins.User(user=text) | ins.StopSignal(signal=text):
            return (text,)
        case ins.Volume(paths=texts):
            return texts
    return ()
