"""stackctl image pull and push; login, logout; pull, push, images of a stack."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from stackctl.cli import options
from stackctl.cli.connection import Message
from stackctl.cli.invocation import Invocation, invocation
from stackctl.cli.output.errors import print_warning
from stackctl.cli.output.layers import LayerLines
from stackctl.cli.output.table import Column, table
from stackctl.cli.output.text import short_id
from stackctl.cli.rows import rows, warned
from stackctl.cli.steps import carry_out, rehearse
from stackctl.cli.values import one_of
from stackctl.errors import NotFound, UsageError

if TYPE_CHECKING:
    from stackctl.cli.output.json_lines import JsonLayers


def pull(
    ctx: typer.Context,
    name: options.ImageReference,
    quiet: options.OnlyResult = False,
    platform: Annotated[
        str, typer.Option("--platform", metavar="OS/ARCH", help="For another machine.")
    ] = "",
    all_tags: Annotated[
        bool, typer.Option("-a", "--all-tags", help="Every tag of this name that is there.")
    ] = False,
    disable_content_trust: options.WithoutTrust = True,
) -> int:
    """Get an image from its registry."""
    run = invocation(ctx)
    if not all_tags:
        return _pull(run, name, platform, quiet)
    if "@" in name or ":" in name.rpartition("/")[2]:
        raise UsageError(f"-a takes a name without a tag, not {name}")
    found = [row["tag"] for row in rows(run, "image-tags", run.body(reference=name))]
    if not found:
        raise NotFound(f"the registry has no tag of {name}")
    for tag in found:
        _pull(run, f"{name}:{tag}", platform, quiet)
    return 0


def _pull(run: Invocation, name: str, platform: str, quiet: bool) -> int:
    result = transfer(run, "image-pull", run.body(reference=name, platform=platform), quiet)
    if not quiet:
        if result.get("digest"):
            run.console.out(f"Digest: {result['digest']}")
        what = "Downloaded newer image for" if result.get("changed") else "Image is up to date for"
        run.console.out(f"Status: {what} {name}")
    run.console.out(str(result.get("reference") or name))
    return 0


def push(
    ctx: typer.Context,
    name: options.ImageReference,
    all_tags: Annotated[
        bool, typer.Option("-a", "--all-tags", help="Every tag of this name that is here.")
    ] = False,
    quiet: options.OnlyResult = False,
    platform: options.OnlyPlatform = "",
    disable_content_trust: options.WithoutTrust = True,
) -> int:
    """Send an image to its registry."""
    run = invocation(ctx)
    if all_tags:
        found = [row for row in rows(run, "image-ls", {}) if row["repository"] == name]
        found = [row for row in found if row["tag"] != "<none>"]
        if not found:
            raise NotFound(f"there is no image {name} here", hint="-a takes a name without a tag")
        for row in found:
            _push(run, f"{name}:{row['tag']}", platform, quiet)
        return 0
    return _push(run, name, platform, quiet)


def _push(run: Invocation, name: str, platform: str, quiet: bool) -> int:
    result = transfer(run, "image-push", run.body(reference=name, platform=platform), quiet)
    if quiet:
        run.console.out(str(result.get("reference") or name))
    else:
        tag = str(result.get("reference") or name).rpartition(":")[2]
        run.console.out(f"{tag}: digest: {result.get('digest')} size: {result.get('size')}")
    return 0


def transfer(run: Invocation, verb: str, body: Message, quiet: bool) -> Message:
    """Show each layer's progress; the result."""
    lines = _layers(run, verb, quiet or run.progress == "quiet")
    result: Message = {}
    try:
        for message in run.client.stream(verb, body):
            if message["type"] == "layer":
                lines.show(message)
            elif not warned(run, message):
                result = message
    finally:
        lines.close()
    return result


def _layers(run: Invocation, verb: str, quiet: bool) -> LayerLines | JsonLayers:
    if run.progress == "json" and not quiet:
        from stackctl.cli.output.json_lines import JsonLayers

        return JsonLayers(run.console, pushing=verb == "image-push")
    return LayerLines(run.console, quiet=quiet)


def login(
    ctx: typer.Context,
    server: Annotated[str, typer.Argument(metavar="[SERVER]", help="The registry.")] = "",
    username: Annotated[
        str, typer.Option("-u", "--username", metavar="NAME", help="Who you are.")
    ] = "",
    password: Annotated[
        str, typer.Option("-p", "--password", metavar="TEXT", help="Seen by every process: avoid.")
    ] = "",
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
) -> int:
    """Log in to a registry."""
    run = invocation(ctx)
    if password_stdin:
        if password or not username:
            raise UsageError("--password-stdin goes with --username and without --password")
        password = sys.stdin.read().rstrip("\r\n")
    elif sys.stdin.isatty():
        if not username:
            run.console.stderr.write("Username: ")
            run.console.stderr.flush()
            username = sys.stdin.readline().strip()
        if not password:
            from getpass import getpass

            password = getpass("Password: ")
    if not username or not password:
        raise UsageError(
            "a user's name and a password are needed, and there is no terminal to ask on",
            hint="echo PASSWORD | stackctl login -u NAME --password-stdin",
        )
    body = run.body(server=server, username=username, password=password)
    result = run.client.call("login", body)
    where = str(result.get("where", ""))
    if where.endswith(".json"):
        run.console.err(f"the password is in {where}, not encrypted; a credential helper would be")
    run.console.out("Login Succeeded")
    return 0


def logout(
    ctx: typer.Context,
    server: Annotated[str, typer.Argument(metavar="[SERVER]", help="The registry.")] = "",
) -> int:
    """Log out from a registry."""
    run = invocation(ctx)
    result = run.client.call("logout", run.body(server=server))
    where = server or "the default registry"
    known = bool(result.get("found"))
    run.console.out(
        f"Removing login credentials for {where}" if known else f"Not logged in to {where}"
    )
    return 0


# -- of a stack


def pull_stack(
    ctx: typer.Context,
    services: options.Services = None,
    quiet: options.OnlyResult = False,
    include_deps: Annotated[
        bool, typer.Option("--include-deps", help="Also what the services depend on.")
    ] = False,
    ignore_failures: Annotated[
        bool, typer.Option("--ignore-pull-failures", help="Pull what can be pulled.")
    ] = False,
    ignore_buildable: Annotated[
        bool, typer.Option("--ignore-buildable", help="Not what can be built.")
    ] = False,
    policy: Annotated[
        str,
        typer.Option(
            "--policy", metavar="missing|always", help="What to pull, whatever the services say."
        ),
    ] = "",
    no_lock: options.NoLock = False,
    parallel: Annotated[bool, typer.Option("--parallel", help="No effect.", hidden=True)] = True,
    no_parallel: Annotated[
        bool, typer.Option("--no-parallel", help="No effect.", hidden=True)
    ] = False,
) -> int:
    """Pull the images of services."""

    if policy:
        one_of("--policy", policy, ("missing", "always"))
    run = invocation(ctx)
    if no_parallel:
        print_warning(run.console, "pull --no-parallel has no effect: --parallel 1 is before it")
    body = run.body(
        services=services or [],
        include_deps=include_deps,
        ignore_failures=ignore_failures,
        ignore_buildable=ignore_buildable,
        policy=policy,
        no_lock=no_lock,
    )
    if run.dry_run:
        return rehearse(run, "pull", body)
    shown = run.silenced() if quiet else run
    carry_out(shown, "pull", body, "pulling")
    return 0


def push_stack(
    ctx: typer.Context,
    services: options.Services = None,
    quiet: options.OnlyResult = False,
    include_deps: Annotated[
        bool, typer.Option("--include-deps", help="Also what the services depend on.")
    ] = False,
    ignore_failures: Annotated[
        bool, typer.Option("--ignore-push-failures", help="Push what can be pushed.")
    ] = False,
) -> int:
    """Push the images that services build."""
    run = invocation(ctx)
    body = run.body(
        services=services or [], include_deps=include_deps, ignore_failures=ignore_failures
    )
    if run.dry_run:
        return rehearse(run, "push", body)
    # A log has a line an image, whose digest is on it.
    lines = _layers(run, "image-push", quiet or run.progress != "json")
    for message in run.client.stream("push", body):
        if message["type"] == "layer":
            lines.show(message)
        elif not warned(run, message) and message["type"] == "row" and not quiet:
            run.console.out(f"{message['service']}: {message['image']} {message['digest']}")
    return 0


def images_of_stack(
    ctx: typer.Context,
    services: options.Services = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only ids.")] = False,
    format: Annotated[
        str, typer.Option("--format", metavar="table|json", help="json: one array.")
    ] = "table",
) -> int:
    """List the images of the stack's containers."""
    from stackctl.cli.output.format import size_text

    one_of("--format", format or "table", ("table", "json"))
    run = invocation(ctx)
    found = rows(run, "images", run.body(services=services or []))
    if quiet:
        for line in dict.fromkeys(str(row["id"]).removeprefix("sha256:") for row in found):
            run.console.out(line)
        return 0
    if format == "json":
        import json

        from stackctl.cli.output.logs import timestamp

        names = {"container": "ContainerName", "repository": "Repository", "tag": "Tag"}
        names |= {"platform": "Platform", "id": "ID", "size": "Size"}
        # Compose has this one, too; nobody notes when an image was named.
        never = {"LastTagTime": "0001-01-01T00:00:00Z"}
        listed = [{**{names[k]: row[k] for k in names}, **never} for row in found]
        for shown, row in zip(listed, found, strict=True):
            if row["created"]:
                shown["Created"] = timestamp(row["created"])
        run.console.out(json.dumps(listed))
        return 0
    titles = ("CONTAINER", "REPOSITORY", "TAG", "PLATFORM", "IMAGE ID", "SIZE")
    cells = [
        (
            *(r["container"], r["repository"], r["tag"], r["platform"]),
            *(short_id(r["id"]), size_text(r["size"])),
        )
        for r in found
    ]
    for line in table([Column(title) for title in titles], cells, run.console.out_width()):
        run.console.out(line)
    return 0
