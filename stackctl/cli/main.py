"""The `stackctl` command: global options, the table of commands, the border for errors.

A command's module is imported when it is asked for; `--help` imports them all.
`python -X importtime -m stackctl.cli.main ps` shows what a command costs before it
begins; a unit test holds the list of modules that the quick commands may import.
"""

import io
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from stackctl import __version__
from stackctl.cli.choice import Wished
from stackctl.cli.connection import Connect, connect_to_engine
from stackctl.cli.failures import Terminated, exit_code_of
from stackctl.cli.invocation import Invocation, Session
from stackctl.cli.output.console import Console
from stackctl.cli.values import one_of
from stackctl.errors import UsageError

if TYPE_CHECKING:
    from typer._click.core import Command

PROGRAM = "stackctl"


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command is: its module below `commands` and, if it differs, its function."""

    module: str
    function: str = ""
    #: Everything after the first argument belongs to the container's command.
    passes_on: bool = False
    #: `-h` is an option of its own (docker's --hostname): only --help explains the command.
    long_help_only: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Commands below a word of their own: `stackctl container ls`."""

    help: str
    commands: Mapping[str, Entry]
    #: Other names of a command, as docker has them (`ps` for `ls`).
    aliases: Mapping[str, str] = field(default_factory=dict)


GROUPS: Mapping[str, Group] = {
    "container": Group(
        "Single containers, as with docker.",
        {
            "run": Entry("container.make", passes_on=True, long_help_only=True),
            "create": Entry("container.make", passes_on=True, long_help_only=True),
            "start": Entry("container.life"),
            "stop": Entry("container.life"),
            "restart": Entry("container.life"),
            "kill": Entry("container.life"),
            "rm": Entry("container.life"),
            "ls": Entry("container.show"),
            "inspect": Entry("container.show"),
            "logs": Entry("container.show"),
            "exec": Entry("container.inside", "execute", passes_on=True),
            "attach": Entry("container.inside"),
            "cp": Entry("container.copy"),
            "top": Entry("container.show", passes_on=True),
            "stats": Entry("container.show"),
            "port": Entry("container.show"),
            "wait": Entry("container.life"),
            "pause": Entry("container.life"),
            "unpause": Entry("container.life"),
            "rename": Entry("container.life"),
            "update": Entry("container.life"),
            "prune": Entry("container.life"),
            "diff": Entry("container.became"),
            "commit": Entry("container.became"),
            "export": Entry("container.became"),
        },
        aliases={"ps": "ls", "list": "ls", "remove": "rm"},
    ),
    "image": Group(
        "Images.",
        {
            "build": Entry("image.build"),
            "pull": Entry("image.registries"),
            "push": Entry("image.registries"),
            "ls": Entry("image.store"),
            "inspect": Entry("image.store"),
            "history": Entry("image.store"),
            "tag": Entry("image.store"),
            "rm": Entry("image.store"),
            "prune": Entry("image.store"),
            "verify": Entry("image.store"),
            "save": Entry("image.archives"),
            "load": Entry("image.archives"),
            "import": Entry("image.archives", "import_"),
            "bootstrap": Entry("image.bootstrap"),
        },
        aliases={"list": "ls", "remove": "rm"},
    ),
    "context": Group(
        "Engines on other machines, by name.",
        {
            name: Entry("context", "import_" if name == "import" else name)
            for name in (
                *("create", "ls", "use", "inspect", "show", "update", "rm", "export", "import"),
            )
        },
        aliases={"list": "ls", "remove": "rm"},
    ),
    "volume": Group(
        "Volumes.",
        {name: Entry("volume") for name in ("ls", "create", "inspect", "rm", "prune")},
        aliases={"list": "ls", "remove": "rm"},
    ),
    "system": Group(
        "The engine as a whole.",
        {
            "info": Entry("about"),
            "df": Entry("system"),
            "events": Entry("system"),
            "prune": Entry("system"),
        },
    ),
    "net": Group(
        "Networks: make, connect, and who reaches whom.",
        {
            name: Entry("net", name)
            for name in ("ls", "inspect", "create", "rm", "prune", "connect", "disconnect", "graph")
        },
        aliases={"list": "ls", "remove": "rm"},
    ),
}
GROUPS = {**GROUPS, "network": GROUPS["net"]}

COMMANDS: Mapping[str, Entry] = {
    "up": Entry("up"),
    "down": Entry("down"),
    "plan": Entry("plan"),
    "ps": Entry("ps"),
    "logs": Entry("logs"),
    "exec": Entry("exec", "execute", passes_on=True),
    "run": Entry("run", passes_on=True),
    "start": Entry("lifecycle"),
    "stop": Entry("lifecycle"),
    "restart": Entry("lifecycle"),
    "kill": Entry("lifecycle"),
    "rm": Entry("lifecycle"),
    "pause": Entry("lifecycle"),
    "unpause": Entry("lifecycle"),
    "wait": Entry("lifecycle"),
    "port": Entry("port"),
    "top": Entry("top"),
    "cp": Entry("cp"),
    "events": Entry("events"),
    "lock": Entry("lock"),
    "bundle": Entry("bundle"),
    "unbundle": Entry("bundle"),
    "config": Entry("config"),
    "schema": Entry("config"),
    "ls": Entry("ls"),
    "create": Entry("shape"),
    "scale": Entry("shape"),
    "watch": Entry("watch"),
    "attach": Entry("of_stack"),
    "commit": Entry("of_stack"),
    "export": Entry("of_stack"),
    "stats": Entry("of_stack"),
    "volumes": Entry("of_stack"),
    "completion": Entry("completion"),
    "publish": Entry("completion"),
    "build": Entry("build"),
    "version": Entry("about"),
    "info": Entry("about"),
    "doctor": Entry("doctor"),
    "pull": Entry("image.registries", "pull_stack"),
    "push": Entry("image.registries", "push_stack"),
    "images": Entry("image.registries", "images_of_stack"),
    "login": Entry("image.registries"),
    "logout": Entry("image.registries"),
    "daemon": Entry("daemon"),
}

#: Commands of docker compose that will come; a clear word is better than "no such command".
NOT_YET = ("bridge",)


class LazyGroup(TyperGroup):
    """The root command, or a group: finds its subcommands in a table."""

    def __init__(self, *args: Any, group: Group | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: None: the root.
        self._group = group

    @property
    def _table(self) -> Mapping[str, Entry | Group]:
        if self._group is not None:
            return self._group.commands
        return {**COMMANDS, **GROUPS}

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self._table)

    def get_command(self, ctx: Any, cmd_name: str) -> "Command | None":
        name = cmd_name if self._group is None else self._group.aliases.get(cmd_name, cmd_name)
        entry = self._table.get(name)
        if isinstance(entry, Group):
            return load_group(name, entry)
        if entry is not None:
            return load_command(name, entry)
        if self._group is None and name in NOT_YET:
            raise UsageError(f'"{PROGRAM} {name}" is not supported yet')
        if name.startswith("-"):
            return None  # typer says which option it does not know
        from difflib import get_close_matches

        close = get_close_matches(name, self._table, 1)
        path = ctx.command_path
        prefix = f"{path} " if self._group is not None else ""
        raise UsageError(
            f'there is no command "{prefix}{name}"',
            hint=f'did you mean "{close[0]}"?' if close else f"see `{path} --help`",
        )


def load_group(name: str, group: Group) -> "Command":
    """The parser of a group; its commands are loaded when they are asked for."""
    return LazyGroup(
        name=name,
        group=group,
        help=group.help,
        subcommand_metavar="COMMAND [ARGS...]",
        no_args_is_help=True,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def load_command(name: str, entry: Entry) -> "Command":
    """Import the command's module and make its parser."""
    module = import_module(f"stackctl.cli.commands.{entry.module}")
    function = getattr(module, entry.function or name)
    single = _typer()
    settings: dict[str, Any] = {"allow_interspersed_args": False} if entry.passes_on else {}
    if entry.long_help_only:
        settings["help_option_names"] = ["--help"]
    single.command(name, context_settings=settings)(function)
    return get_command(single)


def _typer(**settings: Any) -> typer.Typer:
    return typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        **settings,
    )


def _show_version(value: bool) -> None:
    if value:
        print(f"{PROGRAM} {__version__}")
        raise typer.Exit


def application() -> "Command":
    """The root command with the global options."""
    app = _typer(cls=LazyGroup, subcommand_metavar="COMMAND [ARGS...]")

    @app.callback()
    def root(
        ctx: typer.Context,
        file: Annotated[
            list[str] | None,
            typer.Option("-f", "--file", metavar="FILE", help="Stack file; repeatable, later win."),
        ] = None,
        project_name: Annotated[
            str, typer.Option("-p", "--project-name", metavar="NAME", help="Name of the project.")
        ] = "",
        profile: Annotated[
            list[str] | None,
            typer.Option("--profile", metavar="NAME", help="Profile to enable; repeatable."),
        ] = None,
        env_file: Annotated[
            list[str] | None,
            typer.Option("--env-file", metavar="FILE", help="Variables, instead of .env."),
        ] = None,
        project_directory: Annotated[
            str,
            typer.Option(
                "--project-directory", metavar="DIR", help="What relative paths are relative to."
            ),
        ] = "",
        ansi: Annotated[
            str,
            typer.Option(
                "--ansi",
                metavar="WHEN",
                envvar="COMPOSE_ANSI",
                help="never, always or auto colours.",
            ),
        ] = "auto",
        progress: Annotated[
            str,
            typer.Option(
                "--progress",
                metavar="HOW",
                envvar="COMPOSE_PROGRESS",
                help="Progress: auto, tty, plain, quiet.",
            ),
        ] = "auto",
        parallel: Annotated[
            int,
            typer.Option(
                "--parallel",
                metavar="N",
                envvar="COMPOSE_PARALLEL_LIMIT",
                help="How many steps at once; -1: all that are ready.",
            ),
        ] = -1,
        dry_run: Annotated[
            bool, typer.Option("--dry-run", help="Show what would be done and do nothing.")
        ] = False,
        compatibility: Annotated[
            bool, typer.Option("--compatibility", help="For compose's sake; has no effect.")
        ] = False,
        all_resources: Annotated[
            bool, typer.Option("--all-resources", help="Refused.", hidden=True)
        ] = False,
        verbose: Annotated[
            bool, typer.Option("--verbose", help="For compose's sake.", hidden=True)
        ] = False,
        host: Annotated[
            str,
            typer.Option(
                "-H",
                "--host",
                metavar="ADDRESS",
                help="Another engine: unix:///PATH/engine.sock, tcp://HOST:2376 [STACKCTL_HOST].",
            ),
        ] = "",
        context: Annotated[
            str,
            typer.Option(
                "-c",
                "--context",
                metavar="NAME",
                help="An engine by its name, see `stackctl context` [STACKCTL_CONTEXT].",
            ),
        ] = "",
        tlscacert: Annotated[
            str,
            typer.Option(
                "--tlscacert",
                metavar="FILE",
                help="For tcp://: the engine's authority [ca.pem in STACKCTL_CERT_PATH].",
            ),
        ] = "",
        tlscert: Annotated[
            str,
            typer.Option(
                "--tlscert", metavar="FILE", help="Our certificate [cert.pem in the same place]."
            ),
        ] = "",
        tlskey: Annotated[
            str,
            typer.Option("--tlskey", metavar="FILE", help="Its key [key.pem in the same place]."),
        ] = "",
        tlsverify: Annotated[
            bool, typer.Option("--tlsverify", hidden=True, help="Always so.")
        ] = False,
        version: Annotated[
            bool,
            typer.Option("--version", callback=_show_version, is_eager=True, help="Print it."),
        ] = False,
    ) -> None:
        """Run stacks of containers from compose files, without Docker.

        Options before the command choose the stack; `stackctl COMMAND --help`
        explains a command.
        """
        session = ctx.obj
        assert isinstance(session, Session)
        if all_resources:
            raise UsageError(
                "--all-resources is not supported: what no service uses is not made",
                hint="stackctl net create, stackctl volume create",
            )
        one_of("--progress", progress, ("auto", "tty", "plain", "quiet"))
        one_of("--ansi", ansi, ("never", "always", "auto"))
        given = session.console
        console = Console(given.stdout, given.stderr, ansi=ansi, environment=session.environment)
        ctx.obj = Invocation(
            session=session,
            console=console,
            files=file or (),
            project_name=project_name,
            profiles=profile or (),
            env_files=env_file or (),
            project_directory=project_directory,
            progress=progress,
            engine=Wished(
                host=host,
                context=context,
                authority=tlscacert,
                certificate=tlscert,
                key=tlskey,
            ),
            dry_run=dry_run,
            parallel=parallel,
        )

    return get_command(app)


def run(
    arguments: Sequence[str],
    *,
    console: Console | None = None,
    environment: Mapping[str, str] | None = None,
    connect: Connect = connect_to_engine,
) -> int:
    """Carry out a command line; the exit code. Prints errors, raises nothing."""
    environment = os.environ if environment is None else environment
    console = console or Console(environment=environment)
    session = Session(console=console, environment=environment, connect=connect)
    arguments = list(arguments) or ["--help"]
    with exit_code_of(console, environment, arguments) as outcome:
        root = application()
        # Not root.main(): it has its own idea of a broken pipe and of Ctrl-C.
        with root.make_context(PROGRAM, arguments, obj=session) as context:
            result = root.invoke(context)
        outcome.code = result if isinstance(result, int) else 0
        console.flush()
    return outcome.code


def _terminate(*_: object) -> None:
    raise Terminated


def _open_standard_streams() -> None:
    """Closed ones lead nowhere: what is opened next would take their place, the engine's
    socket that of standard input."""
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free
            setattr(sys, name, os.fdopen(fd, mode, errors="replace"))


def main() -> None:
    """Entry point of the installed script."""
    signal.signal(signal.SIGTERM, _terminate)
    _open_standard_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A service may log anything; a locale may lack a letter.
        sys.stdout.reconfigure(errors="replace")
    code = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or 1  # nobody can be told
    # The interpreter's own tear-down takes longer than some commands.
    os._exit(code)


if __name__ == "__main__":
    main()
