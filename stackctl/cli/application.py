"""The command line as typer declares it: help, completion, and what is wrong with a line.

A line without a mistake does not come here (see `stackctl.cli.grammar`). A command's
module is imported when it is asked for; `--help` imports them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from stackctl import __version__
from stackctl.cli.invocation import Session, begin
from stackctl.cli.table import ALIASES, COMMANDS, GROUPS, NOT_YET, PROGRAM, Entry, Group
from stackctl.errors import UsageError

if TYPE_CHECKING:
    from typer._click.core import Command


def interpret(arguments: Sequence[str], session: Session) -> object:
    """Carry a line out; what its command returned. Raises UsageError for a wrong one."""
    root = application()
    try:
        # Not root.main(): it has its own idea of a broken pipe and of Ctrl-C.
        with root.make_context(PROGRAM, list(arguments), obj=session) as context:
            return root.invoke(context)
    except typer.Exit as leave:
        return leave.exit_code
    except typer.Abort:
        raise KeyboardInterrupt from None
    except typer.TyperException as error:
        raise _as_usage_error(error) from None


def _as_usage_error(error: typer.TyperException) -> UsageError:
    """Typer's words in our form: `error: no such option: --foo`."""
    message = error.format_message().strip().rstrip(".")
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else PROGRAM
    usage_error = UsageError(
        message[:1].lower() + message[1:] if message else "wrong usage",
        hint=f"see `{command} --help`",
    )
    if command.endswith(" container run"):
        usage_error.exit_code = 125  # its 2 is the container's own, as with docker
    return usage_error


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

    def get_command(self, ctx: Any, cmd_name: str) -> Command | None:
        aliases = ALIASES if self._group is None else self._group.aliases
        name = aliases.get(cmd_name, cmd_name)
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


#: Commands that go with the whole line's --dry-run; `up` has one of its own.
_TRIED = (
    *("build", "create", "down", "kill", "pause", "pull", "push", "restart", "rm", "scale"),
    *("start", "stop", "unpause"),
)
_DRY_RUN = "--dry-run, here or before the command: show what would be done and do nothing."


def load_group(name: str, group: Group) -> Command:
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


def load_command(name: str, entry: Entry) -> Command:
    """Import the command's module and make its parser."""
    module = import_module(f"stackctl.cli.commands.{entry.module}")
    function = getattr(module, entry.function or name)
    if entry.describes_container:
        from stackctl.cli.commands.container.flags import with_flags

        function = with_flags(function)
    single = _typer()
    settings: dict[str, Any] = {"allow_interspersed_args": False} if entry.passes_on else {}
    if entry.long_help_only:
        settings["help_option_names"] = ["--help"]
    epilog = _DRY_RUN if entry in map(COMMANDS.get, _TRIED) else None
    single.command(name, context_settings=settings, epilog=epilog)(function)
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


def application() -> Command:
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
                help="Progress: auto, tty, plain, json, quiet.",
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
            bool, typer.Option("--compatibility", help="Names of containers joined by _, not -.")
        ] = False,
        all_resources: Annotated[
            bool,
            typer.Option("--all-resources", help="Also networks and volumes that no service uses."),
        ] = False,
        verbose: Annotated[
            bool, typer.Option("--verbose", help="For compose's sake.", hidden=True)
        ] = False,
        no_ansi: Annotated[
            bool, typer.Option("--no-ansi", help="--ansi never.", hidden=True)
        ] = False,
        workdir: Annotated[
            str, typer.Option("--workdir", help="--project-directory.", hidden=True)
        ] = "",
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
            typer.Option(
                "-v", "--version", callback=_show_version, is_eager=True, help="Print it."
            ),
        ] = False,
    ) -> None:
        """Run stacks of containers from compose files, without Docker.

        Options before the command choose the stack; `stackctl COMMAND --help`
        explains a command.
        """
        ctx.obj = begin(ctx.obj, **ctx.params)

    return get_command(app)
