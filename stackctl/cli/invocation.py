"""One run of the command line: the global options, and what every command starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import typer

from stackctl.cli.connection import Client, Connect, engine_paths
from stackctl.cli.output.console import Console
from stackctl.cli.project import project_part
from stackctl.state.paths import Paths


@dataclass(frozen=True, kw_only=True)
class Session:
    """What main() was given: tests bring their own console, environment and engine."""

    console: Console
    environment: Mapping[str, str]
    connect: Connect


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """The global options with what they lead to."""

    session: Session
    console: Console
    files: Sequence[str] = ()
    project_name: str = ""
    profiles: Sequence[str] = ()
    env_files: Sequence[str] = ()
    project_directory: str = ""
    progress: str = "auto"
    host: str = ""
    #: Nothing may change: only verbs that look get through (see ReadOnly).
    dry_run: bool = False

    @property
    def environment(self) -> Mapping[str, str]:
        return self.session.environment

    @property
    def paths(self) -> Paths:
        return engine_paths(self.host, self.environment)[0]

    @cached_property
    def client(self) -> Client:
        """The engine, started if need be. Raises EngineUnreachable."""
        client = self.connect(start=True)
        if not self.dry_run:
            return client
        from stackctl.cli.readonly import ReadOnly

        return ReadOnly(client)

    def connect(self, *, start: bool) -> Client:
        paths, may_start = engine_paths(self.host, self.environment)
        return self.session.connect(paths, start and may_start)

    def body(self, **fields: Any) -> dict[str, Any]:
        """A request on a stack: its "project" part and these fields."""
        part = project_part(
            files=self.files,
            project_directory=self.project_directory,
            name=self.project_name,
            profiles=self.profiles,
            env_files=self.env_files,
            environment=self.environment,
        )
        return {"project": part, **fields}


def invocation(ctx: typer.Context) -> Invocation:
    """The invocation that a command's context carries."""
    found = ctx.obj
    assert isinstance(found, Invocation)
    return found
