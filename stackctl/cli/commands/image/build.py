"""stackctl image build."""

from __future__ import annotations

import os
import sys

import typer

from stackctl.cli import building, options
from stackctl.cli.invocation import Invocation, invocation
from stackctl.cli.later import Annotated, once
from stackctl.cli.output.errors import print_warning
from stackctl.cli.values import one_of
from stackctl.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Any

Texts = list[str] | None
#: Bytes of a Dockerfile. (A request has 16 MiB.)
_LONGEST = 4 << 20


def build(
    ctx: typer.Context,
    context: Annotated[
        str,
        typer.Argument(
            metavar="PATH|URL|-",
            help="The context: a directory, an archive, a Git repository; -: standard input.",
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
    ssh: Annotated[
        Texts,
        typer.Option(
            "--ssh", metavar="default|ID[=PATH]", help="An agent or keys for RUN; repeatable."
        ),
    ] = None,
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
    ulimit: Annotated[
        Texts, typer.Option("--ulimit", metavar="NAME=SOFT", help="A limit for RUN; repeatable.")
    ] = None,
    build_context: Annotated[
        Texts,
        typer.Option("--build-context", metavar="NAME=DIR", help="A further context; repeatable."),
    ] = None,
    cache_from: Annotated[
        Texts,
        typer.Option(
            "--cache-from",
            metavar="WHERE",
            help="A saved cache: type=local,src=DIR, or an image's name; repeatable.",
        ),
    ] = None,
    cache_to: Annotated[
        Texts,
        typer.Option(
            "--cache-to",
            metavar="WHERE",
            help="Save the cache: type=local,dest=DIR, type=registry,ref=NAME or type=inline.",
        ),
    ] = None,
    progress: Annotated[
        str,
        typer.Option("--progress", metavar="HOW", help="Progress: auto, tty, plain, json, quiet."),
    ] = "",
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Print the image's id and nothing else.")
    ] = False,
    iidfile: Annotated[
        str, typer.Option("--iidfile", metavar="FILE", help="Write the image's id to a file.")
    ] = "",
    metadata_file: Annotated[
        str,
        typer.Option("--metadata-file", metavar="FILE", help="Write id, digest and names as JSON."),
    ] = "",
    output: Annotated[
        Texts,
        typer.Option(
            "-o",
            "--output",
            metavar="WHERE",
            help="Files into DIR, or type=local|tar|docker|oci|image,dest=PATH; repeatable.",
        ),
    ] = None,
    push: Annotated[bool, typer.Option("--push", help="Push the image to its registry.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only check the Dockerfile; 1 when it has warnings.")
    ] = False,
    call: Annotated[
        str, typer.Option("--call", metavar="METHOD", help="build, or check as --check does.")
    ] = "",
    load: Annotated[bool, typer.Option("--load", hidden=True, help="Into the store.")] = False,
    attest: Annotated[Texts, typer.Option("--attest", hidden=True, help="Not made.")] = None,
    provenance: Annotated[str, typer.Option("--provenance", hidden=True, help="Not made.")] = "",
    sbom: Annotated[str, typer.Option("--sbom", hidden=True, help="Not made.")] = "",
    rm: Annotated[bool, typer.Option("--rm", hidden=True, help="Always so.")] = True,
    force_rm: Annotated[bool, typer.Option("--force-rm", hidden=True, help="Always so.")] = True,
    compress: Annotated[bool, typer.Option("--compress", hidden=True, help="No need.")] = False,
    disable_content_trust: options.WithoutTrust = True,
    memory: Annotated[str, typer.Option("-m", "--memory", hidden=True, help="Refused.")] = "",
    memory_swap: Annotated[str, typer.Option("--memory-swap", hidden=True, help="Refused.")] = "",
    cpu_shares: Annotated[
        str, typer.Option("-c", "--cpu-shares", hidden=True, help="Refused.")
    ] = "",
    cpu_period: Annotated[str, typer.Option("--cpu-period", hidden=True, help="Refused.")] = "",
    cpu_quota: Annotated[str, typer.Option("--cpu-quota", hidden=True, help="Refused.")] = "",
    cpuset_cpus: Annotated[str, typer.Option("--cpuset-cpus", hidden=True, help="Refused.")] = "",
    cpuset_mems: Annotated[str, typer.Option("--cpuset-mems", hidden=True, help="Refused.")] = "",
    cgroup_parent: Annotated[
        str, typer.Option("--cgroup-parent", hidden=True, help="Refused.")
    ] = "",
    security_opt: Annotated[
        Texts, typer.Option("--security-opt", hidden=True, help="Refused.")
    ] = None,
    squash: Annotated[bool, typer.Option("--squash", hidden=True, help="Refused.")] = False,
    isolation: Annotated[str, typer.Option("--isolation", hidden=True, help="Refused.")] = "",
) -> int:
    """Build an image from a Dockerfile."""
    run = invocation(ctx)
    building.refuse_limits(
        (memory, memory_swap, cpu_shares, cpu_period, cpu_quota, cpuset_cpus, cpuset_mems),
        cgroup_parent=cgroup_parent,
        security_opt=security_opt,
        squash=squash,
        isolation=isolation if isolation != "default" else "",
    )
    if attest or any(x not in ("", "false") for x in (provenance, sbom)):
        print_warning(run.console, "images carry no attestations: none is made")
    for each in allow or ():
        one_of("--allow", each, ("security.insecure", "network.host"))
    if network not in ("default", "none", "host"):
        raise UsageError(f"--network is default, none or host, not {network!r}")
    if call not in ("", "build", "check", "lint"):
        raise UsageError(f"--call is build or check, not {call!r}")
    check = check or call in ("check", "lint")
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
        "ulimits": building.ulimits(ulimit or ()),
        "ssh": building.agents(ssh or (), run.environment),
        "contexts": building.contexts(build_context or ()),
        "cache_from": building.caches(cache_from or ()),
        "cache_to": building.caches(cache_to or ()),
    }
    wanted = building.outputs(output or ())
    if push or (load and wanted):
        wanted.append({"type": "image", "push": push})
    with _Scratch() as scratch:
        wish |= _files(context, file, scratch)
        wish["outputs"] = [_to_file(out, scratch, number) for number, out in enumerate(wanted)]
        how = run.showing("quiet" if quiet else progress or run.progress).progress
        body = {"builds": [wish], "environment": dict(run.environment), "check": check}
        result = building.carry_out_build(run, body, how)
        if check:
            return building.checked(run, result)
        for made in scratch.outputs():
            _to_standard_output(run, made)
    image = result["images"][0]
    if iidfile:
        _write(iidfile, image["id"])
    if metadata_file:
        import json

        _write(metadata_file, json.dumps(_metadata(image), indent=2) + "\n")
    if quiet:
        run.console.out(image["id"])
    elif not wanted or any(o["type"] == "image" or not o.get("dest") for o in wanted):
        names = ", ".join(image["names"])
        run.console.say(f"built {image['id'][:19]}{f' as {names}' if names else ''}")
    return 0


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


class _Scratch:
    """A directory for what goes through standard input and output: made when it is needed."""

    def __init__(self) -> None:
        self._made = ""

    @once
    def directory(self) -> Path:
        # Most builds need neither the directory nor what tempfile imports.
        import tempfile
        from pathlib import Path

        self._made = tempfile.mkdtemp(prefix="stackctl-build-")
        return Path(self._made)

    def outputs(self) -> list[Path]:
        return sorted(self.directory.glob("output-*")) if self._made else []

    def __enter__(self) -> _Scratch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._made:
            import shutil

            shutil.rmtree(self._made, ignore_errors=True)


def _to_file(out: dict[str, Any], scratch: _Scratch, number: int) -> dict[str, Any]:
    """What goes to standard output is written to a file first: the engine writes it."""
    if out.get("dest") != "-":
        return out
    if sys.stdout.isatty():
        raise UsageError("an archive is nothing for a terminal", hint="dest=FILE, or redirect it")
    return {**out, "dest": str(scratch.directory / f"output-{number}")}


def _to_standard_output(run: Invocation, made: Path) -> None:
    import shutil

    run.console.flush()
    with made.open("rb") as source:
        shutil.copyfileobj(source, sys.stdout.buffer, 1 << 20)
    sys.stdout.buffer.flush()


def _metadata(image: dict[str, Any]) -> dict[str, Any]:
    """As buildx writes it."""
    found = {
        "containerimage.config.digest": image["id"],
        "containerimage.digest": image["digest"],
    }
    return found | ({"image.name": ",".join(image["names"])} if image["names"] else {})


def _files(context: str, file: str, scratch: _Scratch) -> dict[str, Any]:
    """Context and Dockerfile; what comes from standard input is kept in `scratch`."""
    if context == "-" and file == "-":
        raise UsageError("context and Dockerfile cannot both come from standard input")
    found: dict[str, Any] = {"context": "", "dockerfile": file or "Dockerfile"}
    if context == "-":
        head = sys.stdin.buffer.read(512)
        if _is_archive(head):
            found["context"] = str(_kept(head, scratch.directory / "context.tar"))
        else:
            found |= {"text": _dockerfile(head), "dockerfile": "-"}
        return found
    if not context:
        raise UsageError("the context is missing", hint="for the current directory: .")
    found["context"] = building.address(context)
    is_remote = not found["context"].startswith("/")
    if file == "-":
        found |= {"text": _dockerfile(b""), "dockerfile": "-"}
    elif file and is_remote:
        found["dockerfile"] = file
    elif file:
        given = building.absolute(file)
        below = os.path.relpath(given, found["context"])
        found["dockerfile"] = given if below.startswith("..") else below
    return found


def _is_archive(head: bytes) -> bool:
    """By the first 512 bytes: a compressed one's mark, or the sum in a tar's first header."""
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")):
        return True
    try:
        told = int(head[148:156].strip(b" \0"), 8)
    except ValueError:
        return False
    return len(head) == 512 and told == sum(head[:148]) + 8 * ord(" ") + sum(head[156:])


def _kept(head: bytes, archive: Path) -> Path:
    """Standard input to its end in a file, a piece at a time: it may be larger than memory."""
    with archive.open("wb") as file:
        piece = head
        while piece:
            file.write(piece)
            piece = sys.stdin.buffer.read(1 << 20)
    return archive


def _dockerfile(head: bytes) -> str:
    """Standard input to its end, as text. Raises UsageError for more than a Dockerfile is."""
    content = head + sys.stdin.buffer.read(_LONGEST + 1 - len(head))
    if len(content) > _LONGEST:
        raise UsageError(
            f"standard input is no Dockerfile: it has more than {_LONGEST >> 20} MiB",
            hint="an archive is known by its first bytes: tar, or one that gzip, bzip2, xz or zstd"
            " compressed",
        )
    return content.decode("utf-8", "replace")
