"""Which files make a project, what its environment is, and what it is called.

Looks at names and existence only; the loader opens what is found here. Each
setting has a STACKCTL_ name, and compose's own, in this order.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from posixpath import basename, dirname, join, normpath
from typing import Any

from stackctl.errors import NotFound, StackFileError
from stackctl.spec.files import DISK, Files
from stackctl.values import dataclass

_STEMS = ("stack", "compose", "docker-compose")
#: compose prefers docker-compose.yml to docker-compose.yaml.
FILE_NAMES = (
    "stack.yaml",
    "stack.yml",
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
)
#: How names of files begin that are not on this machine, and what is told of them.
REMOTE = ("oci://", "https://", "http://", "git@", "git://", "ssh://")
ELSEWHERE, FETCH = "is not on this machine", "fetch it, and name the local file"
#: The file that is the caller's standard input.
STDIN = "-"
_PROJECT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRequest:
    """What the caller said; everything may be empty. Relative paths start at `cwd`.

    `environment` is the caller's whole environment, `profiles` those of
    --profile, `env_files` those of --env-file (in place of `.env`).
    """

    cwd: str
    files: tuple[str, ...] = ()
    project_dir: str | None = None
    name: str | None = None
    profiles: tuple[str, ...] = ()
    env_files: tuple[str, ...] = ()
    #: Also what no service uses.
    all_resources: bool = False
    #: The text of the file that is called "-": the caller's standard input.
    stdin: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    #: Where they are read.
    source: Files = DISK

    @classmethod
    def of(cls, raw: Mapping[str, Any], source: Files = DISK) -> LoadRequest:
        """The "project" part of a request."""
        return cls(
            files=tuple(raw.get("files") or ()),
            project_dir=raw.get("project_dir"),
            name=raw.get("name"),
            profiles=tuple(raw.get("profiles") or ()),
            env_files=tuple(raw.get("env_files") or ()),
            environment=dict(raw.get("environment") or {}),
            cwd=str(raw.get("cwd") or "/"),
            all_resources=bool(raw.get("all_resources")),
            stdin=str(raw.get("stdin") or ""),
            source=source,
        )

    @property
    def base(self) -> str:
        """Where the search starts: the project directory, or the caller's."""
        path = join(self.cwd, self.project_dir or "")
        return _without_dots(path if path.startswith("/") else join(os.getcwd(), path))


def setting(variables: Mapping[str, str], name: str) -> str:
    """STACKCTL_<name>, else COMPOSE_<name>, else ""."""
    return variables.get(f"STACKCTL_{name}") or variables.get(f"COMPOSE_{name}") or ""


def is_true(text: str) -> bool:
    return text.lower() in ("1", "true", "t", "yes", "y", "on")


def separator(variables: Mapping[str, str]) -> str:
    """What names of containers and images are joined by: "_" as docker-compose 1 had it with
    COMPOSE_COMPATIBILITY, else "-"."""
    return "_" if is_true(setting(variables, "COMPATIBILITY")) else "-"


def env_files(request: LoadRequest) -> tuple[str, ...]:
    """Environment files that were named, absolute; they must exist."""
    named = request.env_files or tuple(
        filter(None, setting(request.environment, "ENV_FILES").split(","))
    )
    return tuple(_absolute(request.cwd, name) for name in named)


def default_env_files(request: LoadRequest, directory: str) -> tuple[str, ...]:
    """`.env` of a directory, when it is there and not switched off."""
    if is_true(setting(request.environment, "DISABLE_ENV_FILE")):
        return ()
    path = join(directory, ".env")
    return (path,) if request.source.is_readable(path) else ()


def stack_files(request: LoadRequest, variables: Mapping[str, str]) -> tuple[str, ...]:
    """The stack files, absolute: -f, else COMPOSE_FILE, else searched upwards from the base.

    Raises NotFound when there is none.
    """
    named = setting(variables, "FILE")
    for name in request.files or (named,):
        if name.startswith(REMOTE):
            raise NotFound(f"the stack file {name} {ELSEWHERE}", hint=FETCH)
    separator = setting(variables, "PATH_SEPARATOR") or os.pathsep
    if files := request.files or tuple(filter(None, named.split(separator))):
        return tuple(name if name == STDIN else _absolute(request.cwd, name) for name in files)
    for directory in _upwards(request.base):
        for name in FILE_NAMES:
            path = join(directory, name)
            if request.source.is_file(path):
                return (path, *_override(path, request.source))
    raise NotFound(
        f"no stack file in {request.base} or a directory above it",
        hint=f"it is called {FILE_NAMES[0]} or {FILE_NAMES[2]}; or name one with -f FILE",
    )


def passed_by(request: LoadRequest, variables: Mapping[str, str], files: tuple[str, ...]) -> str:
    """Other files beside the one that was found which have a stack file's name, too; or ""."""
    if request.files or setting(variables, "FILE"):
        return ""
    directory, found = dirname(files[0]), basename(files[0])
    names = FILE_NAMES[FILE_NAMES.index(found) + 1 :]
    there = [name for name in names if request.source.is_file(join(directory, name))]
    return ", ".join(there)


def _upwards(directory: str) -> Iterator[str]:
    """The directory and those above it."""
    yield directory
    while (above := dirname(directory)) != directory:
        yield (directory := above)


def _override(path: str, source: Files) -> tuple[str, ...]:
    stem = basename(path).partition(".")[0]
    stems = (stem,) if stem == _STEMS[0] else _STEMS[1:]
    for candidate in stems:
        for suffix in ("yml", "yaml"):
            found = join(dirname(path), f"{candidate}.override.{suffix}")
            if source.is_file(found):
                return (found,)
    return ()


def project_dir(request: LoadRequest, files: tuple[str, ...]) -> str:
    """Absolute: --project-directory, else that of the first file on disk, else the caller's."""
    on_disk = [name for name in files if name != STDIN]
    if request.project_dir or not on_disk:
        return request.base
    return dirname(_absolute(request.cwd, on_disk[0]))


def active_profiles(request: LoadRequest, variables: Mapping[str, str]) -> tuple[str, ...]:
    named = request.profiles or tuple(setting(variables, "PROFILES").split(","))
    return tuple(dict.fromkeys(name.strip() for name in named if name.strip()))


def is_name(text: str) -> bool:
    """Whether `text` can be a project's name."""
    return bool(_PROJECT_NAME.match(text))


def given_name(request: LoadRequest, variables: Mapping[str, str]) -> str:
    """-p, or the environment's name, checked; "" when neither says. Raises StackFileError."""
    name = request.name or setting(variables, "PROJECT_NAME")
    if name and not is_name(name):
        raise StackFileError(f'"{name[:60]}" is no project name', hint=NAME_RULE)
    return name


NAME_RULE = "lower case letters, digits, - and _ make one, starting with a letter or a digit"


def normalized(text: str) -> str:
    """What of a text can be a project's name, in lower case; maybe nothing."""
    return re.sub(r"[^a-z0-9_-]", "", text.lower()).lstrip("_-")


def directory_name(directory: str) -> str:
    """A project name made of the directory's. Raises StackFileError when nothing is left of it."""
    name = normalized(basename(directory))
    if not name:
        raise StackFileError(
            f'the directory "{directory}" gives no project name',
            hint="give one with -p NAME, or with name: in the file",
        )
    return name


def _absolute(base: str, name: str) -> str:
    return normpath(join(base, name))


def _without_dots(path: str) -> str:
    """Without steps that lead nowhere. `..` stays: behind a link it leads elsewhere."""
    root = "//" if path.startswith("//") and path[2:3] != "/" else "/"
    return root + "/".join(step for step in path.split("/") if step not in ("", "."))
