"""One run of the command line: the global options, and what every command starts from."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import typer

from stackctl.cli.choice import Wished, chosen
from stackctl.cli.connection import Client, Connect
from stackctl.cli.output.console import Console
from stackctl.cli.project import project_part
from stackctl.errors import StackFileError, UsageError
from stackctl.state.endpoints import Endpoint, LocalEngine
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
    #: Steps of a plan that are carried out at once; below 1: all that are ready.
    parallel: int = -1
    engine: Wished = field(default_factory=Wished)
    #: Nothing may change: only verbs that look get through (see ReadOnly).
    dry_run: bool = False

    @property
    def environment(self) -> Mapping[str, str]:
        return self.session.environment

    @cached_property
    def endpoint(self) -> Endpoint:
        """Where the engine is. Raises UsageError, NotFound for an unknown context."""
        return chosen(self.engine, self.environment)

    @property
    def paths(self) -> Paths:
        """Of an engine on this machine. Raises UsageError for another."""
        if not isinstance(self.endpoint, LocalEngine):
            raise UsageError(
                f"this is for the engine of this machine, not for {self.endpoint}",
                hint="run it there, or choose this one: --context default",
            )
        return self.endpoint.paths

    @cached_property
    def client(self) -> Client:
        """The engine, started if need be. Raises EngineUnreachable."""
        client = self.connect(start=True)
        if not isinstance(self.endpoint, LocalEngine):
            from stackctl.cli.carrying import Carrying

            client = Carrying(client, str(self.endpoint))
        if not self.dry_run:
            return client
        from stackctl.cli.readonly import ReadOnly

        return ReadOnly(client)

    @cached_property
    def stdin(self) -> str:
        """Standard input to its end, of which there is one. Raises StackFileError."""
        try:
            return sys.stdin.read()
        except UnicodeDecodeError:
            raise StackFileError("standard input is not UTF-8 text") from None

    def connect(self, *, start: bool) -> Client:
        may_start = isinstance(self.endpoint, LocalEngine) and self.endpoint.may_start
        return self.session.connect(self.endpoint, start and may_start)

    def body(self, **fields: Any) -> dict[str, Any]:
        """A request on a stack: its "project" part and these fields."""
        part = project_part(
            files=self.files,
            project_directory=self.project_directory,
            name=self.project_name,
            profiles=self.profiles,
            env_files=self.env_files,
            environment=self.environment,
            stdin=lambda: self.stdin,
        )
        if self.parallel > 0:
            fields["parallel"] = self.parallel
        return {"project": part, **fields}


def invocation(ctx: typer.Context) -> Invocation:
    """The invocation that a command's context carries."""
    found = ctx.obj
    assert isinstance(found, Invocation)
    return found
