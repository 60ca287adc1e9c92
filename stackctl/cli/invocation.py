"""One run of the command line: the global options, and what every command starts from."""

from __future__ import annotations

import sys

from stackctl.cli.choice import Wished, chosen
from stackctl.cli.later import once
from stackctl.cli.output.console import Console
from stackctl.cli.project import project_part
from stackctl.cli.values import one_of
from stackctl.errors import StackFileError, UsageError
from stackctl.state.endpoints import Endpoint, LocalEngine
from stackctl.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    import typer

    from stackctl.cli.connection import Client, Connect
    from stackctl.state.paths import Paths

#: Paths that mean something else in another process.
_OWN_FILES = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")


class Session(NamedTuple):
    """What main() was given: tests bring their own console, environment and engine."""

    console: Console
    environment: Mapping[str, str]
    connect: Connect


class Invocation:
    """The global options with what they lead to."""

    def __init__(
        self,
        *,
        session: Session,
        console: Console,
        files: Sequence[str] = (),
        project_name: str = "",
        profiles: Sequence[str] = (),
        env_files: Sequence[str] = (),
        project_directory: str = "",
        progress: str = "auto",
        parallel: int = -1,
        engine: Wished | None = None,
        dry_run: bool = False,
        compatibility: bool = False,
        all_resources: bool = False,
    ) -> None:
        """Steps of a plan that are carried out at once are `parallel`, below 1 all that are
        ready; with `dry_run` only verbs that look get through (see ReadOnly); `all_resources`
        are also those that no service uses."""
        self.session = session
        self.console = console
        self.files = files
        self.project_name = project_name
        self.profiles = profiles
        self.env_files = env_files
        self.project_directory = project_directory
        self.progress = progress
        self.parallel = parallel
        self.engine = engine or Wished()
        self.dry_run = dry_run
        self.compatibility = compatibility
        self.all_resources = all_resources

    @property
    def environment(self) -> Mapping[str, str]:
        return self.session.environment

    @once
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

    @once
    def client(self) -> Client:
        """The engine, started if need be. Raises EngineUnreachable."""
        client = self.connect(start=True)
        if not isinstance(self.endpoint, LocalEngine):
            from functools import partial

            from stackctl.cli.carrying import Carrying
            from stackctl.cli.waits import telling

            client = Carrying(client, str(self.endpoint), partial(telling, self.console))
        if not self.dry_run:
            return client
        from stackctl.cli.readonly import ReadOnly

        return ReadOnly(client)

    @once
    def stdin(self) -> str:
        """Standard input to its end, of which there is one. Raises StackFileError."""
        try:
            if not self._pipe:
                return sys.stdin.read()
            with open(self._pipe, encoding="utf-8") as pipe:
                return pipe.read()
        except OSError as error:
            raise StackFileError(f"{self._pipe} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise StackFileError("standard input is not UTF-8 text") from None

    @once
    def _pipe(self) -> str:
        """A stack file that only this process can open, that of `-f <(command)`, or "".

        It is read here, as if it were `-`. Raises UsageError for several.
        """
        own = [name for name in self.files if name.startswith(_OWN_FILES)]
        if len(own) + ("-" in self.files) > 1:
            raise UsageError("only one stack file can be a pipe", hint="write the others to files")
        return own[0] if own else ""

    @property
    def talks(self) -> bool:
        """Whether sentences for people go with the progress."""
        return self.progress not in ("quiet", "json")

    def silenced(self) -> Invocation:
        """The same, with --progress quiet."""
        return self.showing("quiet")

    def showing(self, progress: str) -> Invocation:
        """The same with another --progress, of the command itself. Raises UsageError."""
        _check_progress(progress)
        if progress == "json":
            self.console.tells_json = self.session.console.tells_json = True
        other = object.__new__(Invocation)
        other.__dict__.update(self.__dict__)
        other.progress = progress
        return other

    def named(self, project: str) -> Invocation:
        """The same about the project of this name, for which no file need be read; "": the same."""
        other = object.__new__(Invocation)
        other.__dict__.update(self.__dict__)
        other.project_name = project or self.project_name
        return other

    def connect(self, *, start: bool) -> Client:
        may_start = isinstance(self.endpoint, LocalEngine) and self.endpoint.may_start
        return self.session.connect(self.endpoint, start and may_start)

    def body(self, **fields: Any) -> dict[str, Any]:
        """A request on a stack: its "project" part and these fields. Raises UsageError."""
        for name in ("timeout", "wait_timeout"):
            seconds = fields.get(name)
            if seconds is not None and not 0 <= seconds < float("inf"):
                raise UsageError(
                    f"--{name.replace('_', '-')} {seconds:g} is no time",
                    hint="a number of seconds, 0 or more",
                )
        joined = {"COMPOSE_COMPATIBILITY": "true"} if self.compatibility else {}
        part = project_part(
            files=["-" if name == self._pipe else name for name in self.files],
            project_directory=self.project_directory,
            name=self.project_name,
            profiles=self.profiles,
            env_files=self.env_files,
            environment={**self.environment, **joined},
            stdin=lambda: self.stdin,
            all_resources=self.all_resources,
        )
        if self.parallel > 0:
            fields["parallel"] = self.parallel
        return {"project": part, **fields}


class Started(NamedTuple):
    """What a command is called with when typer has no part in it: the context's `obj` alone."""

    obj: object


def invocation(ctx: typer.Context | Started) -> Invocation:
    """The invocation that a command's context carries."""
    found = ctx.obj
    assert isinstance(found, Invocation)
    return found


def _check_progress(word: str) -> None:
    one_of("--progress", word, ("auto", "tty", "plain", "json", "quiet"))


def begin(
    session: Session,
    *,
    file: Sequence[str] | None,
    project_name: str,
    profile: Sequence[str] | None,
    env_file: Sequence[str] | None,
    project_directory: str,
    ansi: str,
    progress: str,
    parallel: int,
    dry_run: bool,
    all_resources: bool,
    host: str,
    context: str,
    tlscacert: str,
    tlscert: str,
    tlskey: str,
    compatibility: bool = False,
    no_ansi: bool = False,
    workdir: str = "",
    **_for_compose: bool,
) -> Invocation:
    """What the global options mean, by their names. Raises UsageError."""
    progress = "quiet" if progress == "none" else progress  # compose's other word
    _check_progress(progress)
    one_of("--ansi", ansi, ("never", "always", "auto"))
    given = session.console
    ansi = "never" if no_ansi else ansi
    console = Console(given.stdout, given.stderr, ansi=ansi, environment=session.environment)
    # Also the one that says how the command failed.
    given.tells_json = console.tells_json = progress == "json"
    if no_ansi or workdir:
        from stackctl.cli.output.errors import print_warning

        for told, text in (
            (no_ansi, "--no-ansi is called --ansi never"),
            (bool(workdir), "--workdir of the whole line is called --project-directory"),
        ):
            if told:
                print_warning(console, text)
    return Invocation(
        session=session,
        console=console,
        files=file or (),
        project_name=project_name,
        profiles=profile or (),
        env_files=env_file or (),
        project_directory=project_directory or workdir,
        progress=progress,
        parallel=parallel,
        engine=Wished(
            host=host, context=context, authority=tlscacert, certificate=tlscert, key=tlskey
        ),
        dry_run=dry_run,
        compatibility=compatibility,
        all_resources=all_resources,
    )
