"""Arguments and options that several commands share, declared once."""

from typing import Annotated

import typer

Services = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SERVICE...]", help="Services; all if none is named.", show_default=False
    ),
]
SomeServices = Annotated[
    list[str],
    typer.Argument(metavar="SERVICE...", help="One service or more.", show_default=False),
]
Service = Annotated[str, typer.Argument(metavar="SERVICE", help="The service.", show_default=False)]
Timeout = Annotated[
    float | None,
    typer.Option(
        "-t", "--timeout", metavar="SECONDS", help="Grace period before a container is killed."
    ),
]
Index = Annotated[
    int,
    typer.Option("--index", metavar="N", help="Which replica; 0: the first that runs.", min=0),
]
Scale = Annotated[
    list[str] | None,
    typer.Option("--scale", metavar="SERVICE=N", help="Number of replicas; repeatable."),
]
ForceRecreate = Annotated[
    bool, typer.Option("--force-recreate", help="Recreate containers that have not changed.")
]
NoRecreate = Annotated[
    bool, typer.Option("--no-recreate", help="Leave existing containers as they are.")
]
NoDeps = Annotated[
    bool, typer.Option("--no-deps", help="Do not start services that others depend on.")
]
RemoveOrphans = Annotated[
    bool,
    typer.Option("--remove-orphans", help="Remove containers of services not in the file."),
]
Wait = Annotated[bool, typer.Option("--wait", help="Return when all are running or healthy.")]
WaitTimeout = Annotated[
    float | None,
    typer.Option("--wait-timeout", metavar="SECONDS", help="Give up waiting after this time."),
]
#: Nothing is ever asked where compose would.
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Nothing is asked.", hidden=True)]
#: `up` and `run` show of a build that it goes on, and its end.
QuietBuild = Annotated[
    bool, typer.Option("--quiet-build", help="Builds are quiet here.", hidden=True)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
NoColor = Annotated[bool, typer.Option("--no-color", help="No colours.")]
NoLogPrefix = Annotated[bool, typer.Option("--no-log-prefix", help="No names before lines.")]
Environment = Annotated[
    list[str] | None,
    typer.Option("-e", "--env", metavar="KEY=VAL", help="Set an environment variable; repeatable."),
]
User = Annotated[str, typer.Option("-u", "--user", metavar="USER", help="Run as user[:group].")]
Workdir = Annotated[
    str, typer.Option("-w", "--workdir", metavar="DIR", help="Working directory inside.")
]
Pull = Annotated[
    str,
    typer.Option("--pull", metavar="WHEN", help="always, missing, never or build, for all images."),
]
QuietPull = Annotated[bool, typer.Option("--quiet-pull", help="Do not show layers.")]
NoLock = Annotated[
    bool, typer.Option("--no-lock", help="Take images as they are called, not as locked.")
]
NoTty = Annotated[bool, typer.Option("-T", "--no-tty", "--no-TTY", help="Do not make a terminal.")]
#: For those who type -it; it is so by default.
Tty = Annotated[bool, typer.Option("-t", "--tty", help="Make a terminal (always so).", hidden=True)]
