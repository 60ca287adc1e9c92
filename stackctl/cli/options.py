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
AlwaysRecreateDeps = Annotated[
    bool,
    typer.Option("--always-recreate-deps", help="Recreate what the services depend on, too."),
]
RenewAnonVolumes = Annotated[
    bool, typer.Option("-V", "--renew-anon-volumes", help="Recreate anonymous volumes too.")
]
#: None, which is not said: then COMPOSE_REMOVE_ORPHANS counts.
RemoveOrphans = Annotated[
    bool | None,
    typer.Option("--remove-orphans", help="Remove containers of services not in the file."),
]
Wait = Annotated[bool, typer.Option("--wait", help="Return when all are running or healthy.")]
WaitTimeout = Annotated[
    float | None,
    typer.Option("--wait-timeout", metavar="SECONDS", help="Give up waiting after this time."),
]
#: What compose asks about, one volume after the other: without this they are kept.
RenewVolumes = Annotated[
    bool,
    typer.Option(
        "-y", "--yes", help="Recreate volumes whose configuration has changed: their data goes."
    ),
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
ImageNames = Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Names or ids.")]
NoTrunc = Annotated[bool, typer.Option("--no-trunc", help="Cut nothing.")]
ImageFormat = Annotated[
    str, typer.Option("--format", metavar="TEMPLATE", help="json, table or a template.")
]
InspectFormat = Annotated[
    str, typer.Option("-f", "--format", metavar="TEMPLATE", help="json or a template.")
]
ImageReference = Annotated[str, typer.Argument(metavar="NAME[:TAG|@DIGEST]", help="The image.")]
OnlyResult = Annotated[bool, typer.Option("-q", "--quiet", help="Only the result.")]
VolumeNames = Annotated[list[str], typer.Argument(metavar="VOLUME...", help="Names.")]
Network = Annotated[str, typer.Argument(metavar="NETWORK", help="Name or id.", show_default=False)]
Networks = Annotated[
    list[str], typer.Argument(metavar="NETWORK...", help="Names or ids.", show_default=False)
]
Container = Annotated[
    str, typer.Argument(metavar="CONTAINER", help="Name or id.", show_default=False)
]
ContextName = Annotated[str, typer.Argument(metavar="NAME", help="Of the context.")]
ContextEngine = Annotated[
    str,
    typer.Option(
        "--engine",
        "--docker",
        metavar="host=...,ca=FILE,cert=FILE,key=FILE",
        help="Where the engine is, and the certificates for it.",
    ),
]
ContextDescription = Annotated[
    str | None, typer.Option("--description", metavar="TEXT", help="For ls.")
]
ContextFormat = Annotated[
    str, typer.Option("--format", metavar="HOW", help="table, json, or a template of Go's.")
]
OnlyNames = Annotated[bool, typer.Option("-q", "--quiet", help="Names only.")]
Containers = Annotated[
    list[str],
    typer.Argument(metavar="CONTAINER...", help="Names, ids or their beginnings."),
]
Grace = Annotated[
    float | None,
    typer.Option("-t", "--timeout", "--time", metavar="SECONDS", help="Grace before the kill."),
]
Signal = Annotated[
    str, typer.Option("-s", "--signal", metavar="SIGNAL", help="Which signal to send.")
]
PruneFilter = Annotated[
    list[str] | None,
    typer.Option("--filter", metavar="NAME=VALUE", help="Only those that fit; repeatable."),
]
Image = Annotated[
    str, typer.Argument(metavar="IMAGE", help="What it is made from.", show_default=False)
]
ImageCommand = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[COMMAND] [ARGS...]", help="Instead of the image's own.", show_default=False
    ),
]
Author = Annotated[str, typer.Option("-a", "--author", metavar="NAME", help="Who made it.")]
Changes = Annotated[
    list[str] | None,
    typer.Option("-c", "--change", metavar="INSTRUCTION", help="As in a Dockerfile; repeatable."),
]
CommitMessage = Annotated[
    str, typer.Option("-m", "--message", metavar="TEXT", help="For its history.")
]
CommitPause = Annotated[
    bool, typer.Option("-p", "--pause/--no-pause", help="Hold the container still meanwhile.")
]
CommitName = Annotated[
    str,
    typer.Argument(metavar="[NAME[:TAG]]", help="What to call the image.", show_default=False),
]
ExportOutput = Annotated[
    str, typer.Option("-o", "--output", metavar="FILE", help="Instead of standard output.")
]
RowsFormat = Annotated[
    str,
    typer.Option("--format", metavar="FORMAT", help="table, json, or a template: {{.Names}}."),
]
RowsFilter = Annotated[
    list[str] | None,
    typer.Option("-f", "--filter", metavar="NAME=VALUE", help="Only those that fit; repeatable."),
]
DetachKeys = Annotated[
    str, typer.Option("--detach-keys", metavar="KEYS", help="What detaches from it.")
]
FactsFormat = Annotated[
    str, typer.Option("-f", "--format", metavar="text|json|TEMPLATE", help="How to print it.")
]
OnlyPlatform = Annotated[
    str,
    typer.Option("--platform", metavar="OS/ARCH", help="Only if the image is for it."),
]
WithoutTrust = Annotated[
    bool, typer.Option("--disable-content-trust", hidden=True, help="So it is.")
]
