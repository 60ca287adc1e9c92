"""stackctl build: the images of a stack's services."""

from __future__ import annotations

import typer

from stackctl.cli import options
from stackctl.cli.building import agents, carry_out_build, checked, pairs
from stackctl.cli.invocation import invocation
from stackctl.cli.later import Annotated
from stackctl.cli.output.errors import print_warning
from stackctl.cli.steps import rehearse
from stackctl.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def build(
    ctx: typer.Context,
    services: options.Services = None,
    build_arg: Annotated[
        list[str] | None,
        typer.Option("--build-arg", metavar="KEY=VAL", help="Value of an ARG; repeatable."),
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Do everything anew.")] = False,
    pull: Annotated[bool, typer.Option("--pull", help="Pull base images again.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print no progress.")] = False,
    push: Annotated[bool, typer.Option("--push", help="Push them when they are built.")] = False,
    with_dependencies: Annotated[
        bool, typer.Option("--with-dependencies", help="Also what the services depend on.")
    ] = False,
    builder: Annotated[str, typer.Option("--builder", help="Refused.", hidden=True)] = "",
    check: Annotated[
        bool, typer.Option("--check", help="Only check the Dockerfiles; 1 when there are warnings.")
    ] = False,
    memory: Annotated[str, typer.Option("-m", "--memory", help="No effect.", hidden=True)] = "",
    print_bake: Annotated[bool, typer.Option("--print", help="Refused.", hidden=True)] = False,
    provenance: Annotated[str, typer.Option("--provenance", help="Refused.", hidden=True)] = "",
    sbom: Annotated[str, typer.Option("--sbom", help="Refused.", hidden=True)] = "",
    ssh: Annotated[
        list[str] | None,
        typer.Option(
            "--ssh", metavar="default|ID[=PATH]", help="An agent or keys for RUN; repeatable."
        ),
    ] = None,
    progress: Annotated[
        str,
        typer.Option("--progress", metavar="HOW", help="Progress: auto, tty, plain, json, quiet."),
    ] = "",
    parallel: Annotated[
        bool, typer.Option("--parallel/--no-parallel", help="No effect.", hidden=True)
    ] = True,
    compress: Annotated[bool, typer.Option("--compress", help="No effect.", hidden=True)] = False,
    force_rm: Annotated[bool, typer.Option("--force-rm", help="No effect.", hidden=True)] = False,
    no_rm: Annotated[bool, typer.Option("--no-rm", help="No effect.", hidden=True)] = False,
) -> int:
    """Build the images of services that have a `build`, all at once."""
    refused = (
        (bool(builder), "--builder", "there is one builder, a part of the engine"),
        (print_bake, "--print", "builds are not translated for another builder"),
        (provenance not in ("", "false"), "--provenance", "images carry no attestations"),
        (sbom not in ("", "false"), "--sbom", "images carry no attestations"),
    )
    for given, flag, reason in refused:
        if given:
            raise UsageError(f"{flag} is not supported: {reason}")
    run = invocation(ctx)
    if quiet or progress:
        run = run.showing("quiet" if quiet else progress)
    if memory:
        print_warning(run.console, "--memory has no effect: builds have the engine's own limits")
    body = run.body(
        services=services or [],
        build_args=pairs("--build-arg", build_arg or (), run.environment),
        no_cache=no_cache,
        pull=pull,
        with_dependencies=with_dependencies,
        ssh=agents(ssh or (), run.environment),
        check=check,
    )
    if run.dry_run:
        rehearse(run, "build", body)
        result: dict[str, Any] = {}
    else:
        result = carry_out_build(run, body, run.progress)
    if check and not run.dry_run:
        return checked(run, result)
    if not quiet:
        for image in result.get("images") or ():
            for name in image["names"]:
                run.console.say(f"built {name}")
    code = int(result.get("exit_code") or 0)
    if push and not code:
        from stackctl.cli.commands.image.registries import push_stack

        return push_stack(ctx, services, quiet, with_dependencies)
    return code
