"""The instructions of a Dockerfile: a closed union of what was written, variables still in it."""

from __future__ import annotations

from dataclasses import field

from stackctl.image.build.lines import Checks, Heredoc, Line
from stackctl.values import dataclass

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ShellForm:
    """A text for the shell; with here-documents their bodies follow it."""

    text: str
    heredocs: tuple[Heredoc, ...] = ()


@dataclass(frozen=True, slots=True)
class ExecForm:
    argv: tuple[str, ...]


Command = ShellForm | ExecForm


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """`first` and `last` are lines of the file; `text` is what history and output show."""

    first: int
    last: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class From(Instruction):
    image: str
    #: Lower case; "" has none.
    name: str = ""
    platform: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arg(Instruction):
    """Names with their default, None without one."""

    pairs: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Env(Instruction):
    pairs: Pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(Instruction):
    pairs: Pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy(Instruction):
    """COPY and, with `add`, ADD. `from_` names a stage, an image or a context."""

    sources: tuple[str, ...]
    destination: str
    heredocs: tuple[Heredoc, ...] = ()
    from_: str = ""
    chown: str = ""
    chmod: str = ""
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()
    add: bool = False
    checksum: str = ""
    keep_git_dir: bool = False
    unpack: bool | None = None


@dataclass(frozen=True, slots=True)
class MountFlag:
    """RUN --mount: type and the other keys as written (see mounts.resolve)."""

    type: str
    values: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Instruction):
    command: Command
    mounts: tuple[MountFlag, ...] = ()
    #: "default", "none" or "host".
    network: str = "default"
    security: str = "sandbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cmd(Instruction):
    command: Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint(Instruction):
    command: Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell(Instruction):
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir(Instruction):
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Instruction):
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume(Instruction):
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expose(Instruction):
    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StopSignal(Instruction):
    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck(Instruction):
    """`test` as the image's config has it: ("NONE",), ("CMD", ...), ("CMD-SHELL", text).

    Durations are seconds; None is the engine's default.
    """

    test: tuple[str, ...]
    interval: float | None = None
    timeout: float | None = None
    start_period: float | None = None
    start_interval: float | None = None
    retries: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintainer(Instruction):
    author: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OnBuild(Instruction):
    """`trigger` is parsed again where the image is a base; here it was checked."""

    trigger: str


StageInstruction = (
    Arg
    | Env
    | Label
    | Copy
    | Run
    | Cmd
    | Entrypoint
    | Shell
    | Workdir
    | User
    | Volume
    | Expose
    | StopSignal
    | HealthCheck
    | Maintainer
    | OnBuild
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A FROM and what follows it."""

    index: int
    begin: From
    instructions: tuple[StageInstruction, ...] = ()

    @property
    def name(self) -> str:
        return self.begin.name

    @property
    def title(self) -> str:
        """How output calls it."""
        return self.begin.name or f"stage-{self.index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dockerfile:
    """A whole file without mistakes."""

    file: str
    escape: str
    #: Before the first FROM.
    arguments: tuple[Arg, ...]
    stages: tuple[Stage, ...]
    #: As written, for what is about the writing: `lint`.
    lines: tuple[Line, ...] = ()
    #: Lines of instructions that have an empty line in them.
    gaps: tuple[int, ...] = ()
    checks: Checks = field(default_factory=Checks)
