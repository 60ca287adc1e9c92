"""stackctl config."""

import json
from typing import Annotated

import typer

from stackctl.cli.connection import Message
from stackctl.cli.invocation import Invocation, invocation
from stackctl.cli.options import Services
from stackctl.cli.rows import warned
from stackctl.cli.values import one_of
from stackctl.errors import NotFound, UsageError

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
    body = run.body(services=services or [], format=format, what=wanted[0] if wanted else "")
    result = _resolved(run, body)
    if quiet:
        return 0
    if wanted:
        text = "".join(f"{name}\n" for name in result.get(wanted[0]) or ())
    else:
        text = str(result.get("text", ""))
        if services:
            text = _only(text, services, format)
    if output:
        with open(output, "w", encoding="utf-8") as file:
            file.write(text)
    else:
        run.console.stdout.write(text if text.endswith("\n") or not text else text + "\n")
    return 0


def _resolved(run: Invocation, body: Message) -> Message:
    """The daemon's answer; it has the reader of stack files loaded already."""
    result: Message = {}
    for message in run.client.stream("config", body):
        if not warned(run, message) and message["type"] == "result":
            result = message
    return result


def _only(text: str, services: list[str], format: str) -> str:
    """The services named, of the JSON text."""
    if format != "json":
        raise UsageError("config of some services needs --format json")
    found = json.loads(text)
    known = found.get("services", {})
    for service in services:
        if service not in known:
            raise NotFound(
                f'the stack file has no service "{service}"',
                hint=f"it has: {', '.join(sorted(known))}",
            )
    found["services"] = {name: known[name] for name in services}
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"
