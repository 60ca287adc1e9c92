"""develop.watch as rules: which change asks for what. Pure but for reading .dockerignore.

    a path here  --rule matches-->  sync [+restart | +exec]   restart   rebuild

A path matches when it lies below the rule's, `include` names it (or names nothing),
and neither `ignore`, the build's .dockerignore, .git nor an editor's habit hides it.
"""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stackctl.errors import NotFound, UsageError
from stackctl.image.build.ignore import Ignore, PatternError, read

#: What editors make beside a file while they save it.
_EDITORS = (
    *("**/*~", "**/.#*", "**/#*#", "**/*.swp", "**/*.swo", "**/*.swx", "**/4913"),
    *("**/*___jb_tmp___", "**/*___jb_old___", "**/.goutputstream-*", "**/.*.kate-swp"),
)
_HIDDEN = Ignore(("**/.git", *_EDITORS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What sync+exec runs inside; "" and () are the container's own."""

    argv: tuple[str, ...]
    user: str = ""
    workdir: str = ""
    env: tuple[str, ...] = ()
    privileged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of one service. `path` is absolute."""

    service: str
    path: str
    action: str
    target: str = ""
    include: Ignore | None = None
    ignore: Ignore = field(default_factory=Ignore)
    #: Directory of the service's build, and what its .dockerignore hides.
    context: str = ""
    context_ignore: Ignore = field(default_factory=Ignore)
    initial_sync: bool = False
    command: Command | None = None

    @property
    def syncs(self) -> bool:
        return self.action.startswith("sync")

    def hides(self, path: str) -> bool:
        """Whether the rule does not count for `path`, nor for anything below it."""
        below = _below(self.path, path)
        if below is None:
            return True
        if below and (self.ignore.hides(below) or _HIDDEN.hides(below)):
            return True
        in_context = _below(self.context, path) if self.context else None
        return bool(in_context) and self.context_ignore.hides(str(in_context))

    def closes(self, path: str) -> bool:
        """Whether a directory need not be looked into: nothing below can count again."""
        returning = self.ignore.comes_back or self.context_ignore.comes_back
        return self.hides(path) and not (returning and _below(self.path, path) is not None)

    def target_of(self, path: str) -> str | None:
        """Where a changed path belongs in the container; None when it is not this rule's.

        A rule that copies nothing gives "".
        """
        below = _below(self.path, path)
        if below is None or self.hides(path):
            return None
        if self.include is not None and not self.include.hides(below or posixpath.basename(path)):
            return None
        if not self.syncs:
            return ""
        return posixpath.join(self.target, below) if below else self.target


@dataclass(slots=True)
class Work:
    """What a batch of changes comes to, by service."""

    rebuild: set[str] = field(default_factory=set)
    #: Service -> path here -> path in its containers.
    sync: dict[str, dict[str, str]] = field(default_factory=dict)
    restart: set[str] = field(default_factory=set)
    #: Service -> commands, each once however many files changed.
    execute: dict[str, list[Command]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.rebuild or self.sync or self.restart)


def work(rules: Iterable[Rule], paths: Iterable[str]) -> Work:
    """What these changes ask for. A service that is rebuilt needs nothing else."""
    found = Work()
    rules = list(rules)
    for path in paths:
        for rule in rules:
            target = rule.target_of(path)
            if target is None:
                continue
            if rule.action == "rebuild":
                found.rebuild.add(rule.service)
            if rule.syncs:
                found.sync.setdefault(rule.service, {})[path] = target
            if rule.action in ("restart", "sync+restart"):
                found.restart.add(rule.service)
            if rule.command is not None and rule.action == "sync+exec":
                commands = found.execute.setdefault(rule.service, [])
                if rule.command not in commands:
                    commands.append(rule.command)
    found.restart -= found.rebuild
    for service in found.rebuild:
        found.sync.pop(service, None)
        found.execute.pop(service, None)
    return found


def initial(rules: Iterable[Rule]) -> dict[str, dict[str, str]]:
    """Files of rules with `initial_sync`: service -> path here -> path in its containers."""
    found: dict[str, dict[str, str]] = {}
    for rule in rules:
        if not (rule.initial_sync and rule.syncs):
            continue
        for path in files(rule.path, rule.closes):
            target = rule.target_of(path)
            if target is not None:
                found.setdefault(rule.service, {})[path] = target
    return found


def files(path: str, closes: Callable[[str], bool]) -> list[str]:
    """All that is no directory at or below `path`, but below those that `closes` names."""
    if not Path(path).is_dir() or Path(path).is_symlink():
        return [path] if os.path.lexists(path) else []
    found = []
    for directory, below, names in os.walk(path):
        below[:] = sorted(name for name in below if not closes(f"{directory}/{name}"))
        links = [name for name in below if Path(directory, name).is_symlink()]
        found += [f"{directory}/{name}" for name in sorted([*names, *links])]
    return found


def rules_of(text: str, services: Sequence[str]) -> tuple[list[Rule], list[str]]:
    """The rules in a resolved stack (JSON of `config`), and warnings.

    Raises NotFound for a service that is not there, UsageError when nobody has a rule.
    """
    # `config` doubles each $, so that its output loads again.
    stack = json.loads(text.replace("$$", "$"))
    found: list[Rule] = []
    warnings: list[str] = []
    described: Mapping[str, Any] = stack.get("services") or {}
    for name in services:
        if name not in described:
            raise NotFound(
                f'no service is called "{name}"', hint=f"there is: {' '.join(described)}"
            )
    for name, service in described.items():
        if services and name not in services:
            continue
        for raw in (service.get("develop") or {}).get("watch") or ():
            rule = _rule(name, service, raw)
            if rule.syncs and _is_mounted(rule.path, service):
                warnings.append(
                    f'service "{name}": {rule.path} is mounted already, so it is not watched'
                )
            else:
                found.append(rule)
    if not found and not warnings:
        raise UsageError(
            "none of these services says what to watch",
            hint="see develop: watch: in docs/stack-file.md",
        )
    return found, warnings


def _rule(name: str, service: Mapping[str, Any], raw: Mapping[str, Any]) -> Rule:
    context, ignored = _context(service)
    try:
        include = Ignore(raw["include"]) if raw.get("include") else None
        ignore = Ignore(raw.get("ignore") or ())
    except PatternError as error:
        raise UsageError(f'service "{name}": watch: {error}') from None
    return Rule(
        service=name,
        path=os.path.realpath(str(raw["path"])),
        action=str(raw["action"]),
        target=str(raw.get("target") or ""),
        include=include,
        ignore=ignore,
        context=context,
        context_ignore=ignored,
        initial_sync=bool(raw.get("initial_sync")),
        command=_command(raw.get("exec")),
    )


def _command(raw: Mapping[str, Any] | None) -> Command | None:
    if not raw:
        return None
    environment: Mapping[str, Any] = raw.get("environment") or {}
    return Command(
        argv=tuple(str(word) for word in raw.get("command") or ()),
        user=str(raw.get("user") or ""),
        workdir=str(raw.get("working_dir") or ""),
        env=tuple(f"{k}={v}" for k, v in environment.items() if v is not None),
        privileged=bool(raw.get("privileged")),
    )


def _context(service: Mapping[str, Any]) -> tuple[str, Ignore]:
    """The directory that the service is built from, with what is left out of builds."""
    build = service.get("build") or {}
    context = str(build.get("context") or "")
    if not context.startswith("/"):
        return "", Ignore()
    context = os.path.realpath(context)
    dockerfile = str(build.get("dockerfile") or "Dockerfile")
    for name in (f"{dockerfile}.dockerignore", ".dockerignore"):
        file = Path(context, name)
        try:
            return context, Ignore(read(file.read_bytes()))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PatternError as error:
            raise UsageError(f"{file}: {error}") from None
    return context, Ignore()


def _is_mounted(path: str, service: Mapping[str, Any]) -> bool:
    return any(
        _below(os.path.realpath(str(mount.get("source") or "")), path) is not None
        for mount in service.get("volumes") or ()
        if mount.get("type") == "bind"
    )


def _below(directory: str, path: str) -> str | None:
    """`path` relative to a directory ("" for itself); None when it is not in it."""
    if path == directory:
        return ""
    prefix = directory.rstrip("/") + "/"
    return path[len(prefix) :] if path.startswith(prefix) else None
