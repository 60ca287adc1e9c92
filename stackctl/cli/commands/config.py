"""stackctl config."""

from typing import Annotated

import typer

from stackctl.cli.connection import Message
from stackctl.cli.invocation import Invocation, invocation
from stackctl.cli.options import Services
from stackctl.cli.output.errors import print_warning
from stackctl.cli.rows import warned
from stackctl.cli.values import one_of
from stackctl.errors import EngineUnreachable, NotPermitted, UsageError

_LISTS = ("services", "volumes", "networks", "images", "profiles")


def config(
    ctx: typer.Context,
    services: Services = None,
    only_services: Annotated[
        bool, typer.Option("--services", help="Only the services' names.")
    ] = False,
    only_volumes: Annotated[bool, typer.Option("--volumes", help="Only volumes.")] = False,
    only_networks: Annotated[bool, typer.Option("--networks", help="Only networks.")] = False,
    only_images: Annotated[bool, typer.Option("--images", help="Only images.")] = False,
    only_profiles: Annotated[bool, typer.Option("--profiles", help="Only profiles.")] = False,
    format: Annotated[
        str, typer.Option("--format", metavar="yaml|json", help="How to print it.")
    ] = "yaml",
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Only check: print nothing but errors.")
    ] = False,
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="FILE", help="Write to a file.")
    ] = "",
) -> int:
    """Check the stack file and print what it comes to: merged, filled in, normalised."""
    run = invocation(ctx)
    one_of("--format", format, ("yaml", "json"))
    flags = (only_services, only_volumes, only_networks, only_images, only_profiles)
    wanted = [name for name, flag in zip(_LISTS, flags, strict=True) if flag]
    if len(wanted) > 1:
        raise UsageError(f"--{wanted[0]} and --{wanted[1]} do not go together")
    body = run.body(services=services or [], format=format)
    result = _resolved(run, body)
    if quiet:
        return 0
    if wanted:
        text = "".join(f"{name}\n" for name in result.get(wanted[0]) or ())
    else:
        text = str(result.get("text", ""))
    if output:
        with open(output, "w", encoding="utf-8") as file:
            file.write(text)
    else:
        run.console.stdout.write(text if text.endswith("\n") or not text else text + "\n")
    return 0


def _resolved(run: Invocation, body: Message) -> Message:
    """What the files come to.

    An engine that runs has the reader loaded already; none is started, and no
    right is needed, to look at a file.
    """
    try:
        client = run.connect(start=False)
    except (EngineUnreachable, NotPermitted):
        return _read_here(run, body)
    result: Message = {}
    for message in client.stream("config", body):
        if not warned(run, message) and message["type"] == "result":
            result = message
    return result


def _read_here(run: Invocation, body: Message) -> Message:
    from stackctl.spec import loader
    from stackctl.spec.project import LoadRequest
    from stackctl.spec.shown import shown

    part = body["project"]
    loaded = loader.load(
        LoadRequest(
            files=tuple(part["files"]),
            project_dir=part["project_dir"],
            name=part["name"],
            profiles=tuple(part["profiles"]),
            env_files=tuple(part["env_files"]),
            environment=part["environment"],
            cwd=part["cwd"],
        )
    )
    for notice in loaded.warnings:
        print_warning(run.console, notice.text, str(notice.place or ""))
    return shown(loaded.stack, body["format"], body["services"])
