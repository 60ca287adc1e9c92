"""Every failure that a user can see.

    StackctlError            brief, hint, place, details, exit_code
    |- StackFileError        the stack file is wrong: its author can fix it
    |  |- StackFileErrors    several at once, in file order
    |  `- DockerfileError    the same for a Dockerfile; DockerfileErrors for several
    |- UsageError            the command line is wrong (exit code 2)
    |- NotFound              no such service, container, network, volume, image
    |  |- ImageAbsent        an image that could be pulled
    |  `- Unmet              several things at once that a plan relies on
    |- Conflict              a name, port or address that somebody else holds
    |- MachineError          the kernel, the disk, a missing right or feature
    |  |- NotPermitted       not root, or root without a capability
    |  `- OutOfSpace         the disk or a quota is full
    |- ImageError            a reference, manifest or layer is unusable
    |- ContainerError        the container's own process failed (step, exit code)
    |  `- NotExecutable      its program is missing, or none
    |- OperationFailed       an operation of a plan failed, with its cause
    |  |- HookFailed         a command that is run at a moment of a container's life
    |  |- CommandFailed      a command of a build
    |  `- OperationsFailed   several of one plan, the first one first
    |- EngineUnreachable     no daemon answers and none could be started
    `- InternalError         a bug of ours

An error is one sentence (`brief`), the place it is about, and a hint that says
what to do. `details` holds lines worth showing below (a service's last log
lines). Log or raise, never both; only stackctl.cli prints.
"""

from __future__ import annotations

from stackctl.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Place(NamedTuple):
    """A position in a file. Lines and columns count from 1; 0 means unknown."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return ":".join([self.file, *(str(n) for n in (self.line, self.column) if n)])


class StackctlError(Exception):
    """Base of all failures that are told to the user."""

    kind = "error"
    exit_code = 1
    #: The status with which the REST API answers.
    status = 500

    def __init__(
        self,
        brief: str,
        *,
        hint: str = "",
        place: Place | None = None,
        details: tuple[str, ...] = (),
    ) -> None:
        super().__init__(brief)
        self.brief = brief
        self.hint = hint
        self.place = place
        self.details = details

    def __str__(self) -> str:
        return f"{self.place}: {self.brief}" if self.place else self.brief

    def to_json(self) -> dict[str, Any]:
        """The form that crosses the socket; `from_json` reads it back."""
        place = self.place
        return {
            "kind": self.kind,
            "message": self.brief,
            "hint": self.hint,
            "place": [place.file, place.line, place.column] if place else None,
            "details": list(self.details),
            "exit_code": self.exit_code,
        }


class _Several(StackctlError):
    """What several errors at once have in common."""

    errors: tuple[StackctlError, ...]

    def __str__(self) -> str:
        return "\n".join(str(e) for e in self.errors)

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "errors": [e.to_json() for e in self.errors]}


class StackFileError(StackctlError):
    """The stack file says something wrong; `place` points at it."""

    kind = "stack-file"
    exit_code = 1
    status = 400


class StackFileErrors(_Several, StackFileError):
    """All mistakes of all files at once, in file order. Never empty."""

    kind = "stack-files"
    errors: tuple[StackFileError, ...]

    def __init__(self, errors: tuple[StackFileError, ...]) -> None:
        count = len(errors)
        super().__init__(f"{count} mistake{'s' if count != 1 else ''} in the stack file")
        self.errors = errors


class DockerfileError(StackFileError):
    """The Dockerfile says something wrong; `place` points at the line."""

    kind = "dockerfile"


class DockerfileErrors(StackFileErrors):
    """All mistakes of a Dockerfile at once, in file order. Never empty."""

    kind = "dockerfiles"

    def __init__(self, errors: tuple[StackFileError, ...]) -> None:
        super().__init__(errors)
        count = len(errors)
        self.brief = f"{count} mistake{'s' if count != 1 else ''} in the Dockerfile"


class UsageError(StackctlError):
    """The command line is wrong."""

    kind = "usage"
    exit_code = 2
    status = 400


class NotFound(StackctlError):
    kind = "not-found"
    status = 404


class ImageAbsent(NotFound):
    """The image is not on this machine, or not for the platform that was asked for."""

    kind = "image-absent"


class Unmet(_Several, NotFound):
    """Several things at once that a plan relies on and cannot have."""

    kind = "unmet"

    def __init__(self, errors: tuple[StackctlError, ...]) -> None:
        super().__init__(f"{len(errors)} things are missing or another's")
        self.errors = errors


class Conflict(StackctlError):
    kind = "conflict"
    status = 409


class MachineError(StackctlError):
    """The kernel or the machine refuses; says what and what to do about it."""

    kind = "machine"


class NotPermitted(MachineError):
    kind = "not-permitted"
    status = 403


class OutOfSpace(MachineError):
    kind = "out-of-space"
    status = 507


class ImageError(StackctlError):
    kind = "image"


class ContainerError(StackctlError):
    """The container's process could not be started, or ended when it should not have."""

    kind = "container"


class NotExecutable(ContainerError):
    """Everything was ready, but the program itself: 127 it is not there, 126 it cannot be run."""


class OperationFailed(StackctlError):
    """An operation of a plan failed; `details` are the failing service's last log lines."""

    kind = "operation"


class HookFailed(OperationFailed):
    """A command that a stack file has run at a moment of a container's life."""

    kind = "hook"


class CommandFailed(OperationFailed):
    """A command that a build ran ended with `code`."""

    def __init__(self, message: str, *, command: tuple[str, ...], code: int, **rest: Any) -> None:
        super().__init__(message, **rest)
        self.command = command
        self.code = code


class OperationsFailed(_Several, OperationFailed):
    """Independent operations of one plan failed, each with a cause of its own."""

    kind = "operations"

    def __init__(self, errors: tuple[StackctlError, ...]) -> None:
        super().__init__(f"{len(errors)} operations failed")
        self.errors = errors
        self.exit_code = errors[0].exit_code


class EngineUnreachable(StackctlError):
    kind = "unreachable"
    status = 503


class InternalError(StackctlError):
    """A bug of ours: the hint asks for a report."""

    kind = "internal"


class RemoteError(StackctlError):
    """An error read back from the socket, with the other side's kind and exit code."""

    def __init__(self, raw: dict[str, Any]) -> None:
        place = raw.get("place")
        super().__init__(
            str(raw.get("message", "unknown error")),
            hint=str(raw.get("hint") or ""),
            place=Place(*place) if place else None,
            details=tuple(raw.get("details") or ()),
        )
        self.kind = str(raw.get("kind", "error"))
        self.exit_code = int(raw.get("exit_code", 1))
        self.errors = tuple(RemoteError(e) for e in raw.get("errors") or ())
