"""stackctl image build."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from stackctl.cli import building
from stackctl.cli.invocation import invocation
from stackctl.cli.values import one_of
from stackctl.errors import UsageError

Texts = list[str] | None


def build(
    ctx: typer.Context,
    context: Annotated[
        str,
        typer.Argument(
            metavar="PATH|-", help="The context: a directory or an archive; -: standard input."
        ),
    ],
    tag: Annotated[
        Texts, typer.Option("-t", "--tag", metavar="NAME", help="Name of the image; repeatable.")
    ] = None,
    file: Annotated[
        str, typer.Option("-f", "--file", metavar="FILE", help="The Dockerfile; -: standard input.")
    ] = "",
    build_arg: Annotated[
        Texts, typer.Option("--build-arg", metavar="KEY=VAL", help="Value of an ARG; repeatable.")
    ] = None,
    target: Annotated[
        str, typer.Option("--target", metavar="STAGE", help="The stage that becomes the image.")
    ] = "",
    label: Annotated[
        Texts, typer.Option("--label", metavar="KEY=VAL", help="Label of the image; repeatable.")
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Do everything anew.")] = False,
    no_cache_filter: Annotated[
        Texts, typer.Option("--no-cache-filter", metavar="STAGE", help="Do this stage anew.")
    ] = None,
    pull: Annotated[bool, typer.Option("--pull", help="Pull base images again.")] = False,
    platform: Annotated[
        Texts, typer.Option("--platform", metavar="OS/ARCH", help="Only this machine's own.")
    ] = None,
    secret: Annotated[
        Texts,
        typer.Option("--secret", metavar="id=ID,src=FILE", help="A secret for RUN; repeatable."),
    ] = None,
    ssh: Annotated[Texts, typer.Option("--ssh", hidden=True, help="Not supported yet.")] = None,
    add_host: Annotated[
        Texts, typer.Option("--add-host", metavar="NAME:IP", help="A name for RUN; repeatable.")
    ] = None,
    network: Annotated[
        str, typer.Option("--network", metavar="MODE", help="For RUN: default, none or host.")
    ] = "default",
    allow: Annotated[
        Texts,
        typer.Option(
            "--allow", metavar="WHAT", help="security.insecure or network.host, for RUN that asks."
        ),
    ] = None,
    shm_size: Annotated[
        str, typer.Option("--shm-size", metavar="SIZE", help="Size of /dev/shm for RUN.")
    ] = "",
    build_context: Annotated[
        Texts,
        typer.Option("--build-context", metavar="NAME=DIR", help="A further context; repeatable."),
    ] = None,
    cache_from: Annotated[
        Texts, typer.Option("--cache-from", metavar="type=local,src=DIR", help="A saved cache.")
    ] = None,
    cache_to: Annotated[
        Texts, typer.Option("--cache-to", metavar="type=local,dest=DIR", help="Save the cache.")
    ] = None,
    progress: Annotated[
        str, typer.Option("--progress", metavar="HOW", help="Progress: auto, tty, plain, quiet.")
    ] = "",
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Print the image's id and nothing else.")
    ] = False,
    iidfile: Annotated[
        str, typer.Option("--iidfile", metavar="FILE", help="Write the image's id to a file.")
    ] = "",
    output: Annotated[
        str, typer.Option("-o", "--output", hidden=True, help="Not supported yet.")
    ] = "",
    load: Annotated[bool, typer.Option("--load", hidden=True, help="Always so.")] = False,
    rm: Annotated[bool, typer.Option("--rm", hidden=True, help="Always so.")] = True,
) -> int:
    """Build an image from a Dockerfile."""
    run = invocation(ctx)
    if ssh:
        raise UsageError(
            "--ssh is not supported yet", hint="give a key as a secret: --secret id=key,src=FILE"
        )
    if output and output not in ("type=docker", "type=image"):
        raise UsageError(
            "--output is not supported yet",
            hint="the image goes to the engine's store; `stackctl image save` writes it to a file",
        )
    for each in allow or ():
        one_of("--allow", each, ("security.insecure", "network.host"))
    if network not in ("default", "none", "host"):
        raise UsageError(f"--network is default, none or host, not {network!r}")
    arguments = building.pairs("--build-arg", build_arg or (), run.environment)
    if "SOURCE_DATE_EPOCH" in run.environment:
        arguments.setdefault("SOURCE_DATE_EPOCH", run.environment["SOURCE_DATE_EPOCH"])
    wish: dict[str, Any] = {
        "names": tag or [],
        "arguments": arguments,
        "target": target,
        "labels": building.labels(label or ()),
        "no_cache": no_cache,
        "no_cache_stages": no_cache_filter or [],
        "pull": pull,
        "platforms": [p for text in platform or () for p in text.split(",")],
        "secrets": building.secrets(secret or (), run.environment),
        "extra_hosts": building.hosts(add_host or ()),
        "network": network,
        "allow": allow or [],
        "shm_size": building.size(shm_size),
        "contexts": building.contexts(build_context or ()),
        "cache_from": building.caches(cache_from or ()),
        "cache_to": building.caches(cache_to or ()),
    }
    with tempfile.TemporaryDirectory(prefix="stackctl-build-") as scratch:
        wish |= _files(context, file, Path(scratch))
        how = "quiet" if quiet else progress or run.progress
        result = building.carry_out_build(run, {"builds": [wish]}, how)
    image = result["images"][0]
    if iidfile:
        Path(iidfile).write_text(image["id"])
    if quiet:
        run.console.out(image["id"])
    else:
        names = ", ".join(image["names"])
        run.console.err(f"built {image['id'][:19]}{f' as {names}' if names else ''}")
    return 0


def _files(context: str, file: str, scratch: Path) -> dict[str, Any]:
    """Context and Dockerfile; what comes from standard input is kept in `scratch`."""
    if context == "-" and file == "-":
        raise UsageError("context and Dockerfile cannot both come from standard input")
    found: dict[str, Any] = {"context": "", "dockerfile": file or "Dockerfile"}
    if context == "-":
        content = sys.stdin.buffer.read()
        if content[257:262] == b"ustar" or content[:2] in (b"\x1f\x8b", b"BZ", b"\xfd7"):
            archive = scratch / "context.tar"
            archive.write_bytes(content)
            found["context"] = str(archive)
        else:
            found |= {"text": content.decode("utf-8", "replace"), "dockerfile": "-"}
        return found
    if not context:
        raise UsageError("the context is missing", hint="for the current directory: .")
    is_remote = "://" in context or context.startswith("git@")
    found["context"] = context if is_remote else building.absolute(context)
    if file == "-":
        text = sys.stdin.buffer.read().decode("utf-8", "replace")
        found |= {"text": text, "dockerfile": "-"}
    elif file:
        given = building.absolute(file)
        below = os.path.relpath(given, found["context"])
        found["dockerfile"] = given if below.startswith("..") else below
    return found
