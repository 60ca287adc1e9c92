"""stackctl context: engines on other machines by name, as docker's."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Annotated, Any

import typer

from stackctl.cli import options
from stackctl.cli.choice import context_name
from stackctl.cli.invocation import Invocation, invocation
from stackctl.cli.output.format import print_inspected, print_rows
from stackctl.cli.output.table import Column
from stackctl.errors import NotFound, UsageError
from stackctl.state.contexts import DEFAULT, PEM, Context, Contexts, parsed
from stackctl.state.endpoints import TlsFiles, endpoint

_FIELDS = {"ca": PEM[0], "cert": PEM[1], "key": PEM[2]}
_COLUMNS = (
    (Column("NAME"), "Marked"),
    (Column("DESCRIPTION", yields=2), "Description"),
    (Column("ENDPOINT", yields=1), "DockerEndpoint"),
    (Column("ERROR", yields=3), "Error"),
)
#: Nobody has larger ones (bytes).
_LARGEST = 1 << 20


def create(
    ctx: typer.Context,
    name: options.ContextName,
    engine: options.ContextEngine = "",
    description: options.ContextDescription = None,
    origin: Annotated[
        str, typer.Option("--from", metavar="NAME", help="Take the engine of this context.")
    ] = "",
) -> int:
    """Give an engine on another machine a name."""
    run = invocation(ctx)
    contexts = _contexts(run)
    if origin and origin != DEFAULT:
        before = contexts.get(origin)
        base = Context(name=name, host=before.host, pem=before.pem, description=description or "")
    else:
        base = Context(name=name, description=description or "")
    _store(run, _changed(base, engine), new=True)
    run.console.out(name)
    return 0


def update(
    ctx: typer.Context,
    name: options.ContextName,
    engine: options.ContextEngine = "",
    description: options.ContextDescription = None,
) -> int:
    """Change a context: another engine, other certificates, another description."""
    run = invocation(ctx)
    before = _contexts(run).get(name)
    text = before.description if description is None else description
    base = Context(name=name, host=before.host, pem=before.pem, description=text)
    _store(run, _changed(base, engine), new=False)
    run.console.out(name)
    return 0


def use(ctx: typer.Context, name: options.ContextName) -> int:
    """From now on commands speak to this engine."""
    run = invocation(ctx)
    _contexts(run).use(name)
    run.console.out(name)
    if host := run.environment.get("STACKCTL_HOST"):
        run.console.err(f"STACKCTL_HOST ({host}) goes before it")
    return 0


def ls(
    ctx: typer.Context, format: options.ContextFormat = "", quiet: options.OnlyNames = False
) -> int:
    """List the contexts; a star marks the one that is used."""
    run = invocation(ctx)
    contexts = _contexts(run)
    current = _current(run)
    rows = [_row(run, name, current) for name in (None, *contexts.names())]
    if quiet:
        for row in rows:
            run.console.out(row["Name"])
        return 0
    print_rows(run.console, rows, _COLUMNS, format)
    return 0


def inspect(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Contexts.")
    ] = None,
    format: options.InspectFormat = "",
) -> int:
    """Show contexts as JSON; that in use without a name."""
    run = invocation(ctx)
    contexts = _contexts(run)
    found = []
    for name in names or [_current(run) or DEFAULT]:
        if name == DEFAULT:
            found.append(_default(run).metadata)
            continue
        context = contexts.get(name)
        directory = contexts.directory(name)
        storage = {"MetadataPath": str(directory), "TLSPath": str(directory / "tls")}
        found.append(
            {
                **context.metadata,
                "TLSMaterial": {"docker": sorted(context.pem)} if context.pem else {},
                "Storage": storage,
            }
        )
    print_inspected(run.console, found, format)
    return 0


def show(ctx: typer.Context) -> int:
    """Print the name of the context in use."""
    run = invocation(ctx)
    run.console.out(_current(run) or DEFAULT)
    return 0


def rm(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Contexts.")],
    force: Annotated[bool, typer.Option("-f", "--force", help="Even the one in use.")] = False,
) -> int:
    """Remove contexts."""
    run = invocation(ctx)
    for name in names:
        try:
            _contexts(run).remove(name, force=force)
        except NotFound:
            if not force:
                raise
        run.console.out(name)
    return 0


def export(
    ctx: typer.Context,
    name: options.ContextName,
    file: Annotated[
        str, typer.Argument(metavar="[FILE|-]", help="Where to; -: standard output.")
    ] = "",
) -> int:
    """Write a context to a file (NAME.dockercontext), its key included."""
    run = invocation(ctx)
    context = _contexts(run).get(name)
    content = _packed(context)
    if file == "-":
        if sys.stdout.isatty():
            raise UsageError("an archive does not go to a terminal", hint="name a file")
        run.console.flush()
        sys.stdout.buffer.write(content)
        return 0
    path = Path(file or f"{name}.dockercontext")
    try:
        path.touch(mode=0o600, exist_ok=False)
        path.write_bytes(content)
    except FileExistsError:
        raise UsageError(f"{path} is there already") from None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    run.console.err(f"written to {path}: it has the key")
    return 0


def import_(
    ctx: typer.Context,
    name: options.ContextName,
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="From where; -: standard input.")],
) -> int:
    """Make a context of a file that export wrote, docker's as well."""
    run = invocation(ctx)
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    _store(run, _unpacked(content, name), new=True)
    run.console.out(name)
    return 0


def _contexts(run: Invocation) -> Contexts:
    return Contexts.from_environment(run.environment)


def _current(run: Invocation) -> str:
    """ "" when a host is named instead."""
    return context_name(run.engine, run.environment)


def _store(run: Invocation, context: Context, *, new: bool) -> None:
    contexts = _contexts(run)
    contexts.directory(context.name)  # whether that can be its name
    if not context.host:
        raise UsageError(
            "the context has no engine",
            hint="--engine host=tcp://HOST:2376,ca=...,cert=...,key=...",
        )
    if context.host.startswith("tcp://") and set(context.pem) != set(PEM):
        raise UsageError(
            "an engine is reached over TCP by mutual TLS only",
            hint="--engine host=...,ca=FILE,cert=FILE,key=FILE",
        )
    # Whether it is an address at all; nothing is opened.
    endpoint(context.host, TlsFiles.of(contexts.directory(context.name)), run.environment)
    contexts.put(context, new=new)


def _changed(base: Context, engine: str) -> Context:
    """`base` with what --engine says."""
    host, pem = base.host, dict(base.pem)
    for part in filter(None, engine.split(",")):
        key, equals, value = part.partition("=")
        if key == "host" and equals:
            host = value
        elif key in _FIELDS and equals:
            try:
                pem[_FIELDS[key]] = Path(value).read_bytes()
            except OSError as error:
                raise UsageError(f"--engine {key}={value}: {error.strerror}") from None
        elif key == "skip-tls-verify":
            raise UsageError(
                "who the engine is is always checked", hint="give its authority: ca=FILE"
            )
        else:
            raise UsageError(f'--engine: "{part}" is none of host=, ca=, cert= and key=')
    return Context(name=base.name, host=host, pem=pem, description=base.description)


def _default(run: Invocation) -> Context:
    host = str(endpoint("", None, run.environment))
    return Context(name=DEFAULT, host=host, description="the engine of this machine")


def _row(run: Invocation, name: str | None, current: str) -> dict[str, Any]:
    error = ""
    if name is None:
        context = _default(run)
    else:
        try:
            context = _contexts(run).get(name)
        except UsageError as problem:
            context, error = Context(name=name), str(problem)
    in_use = context.name == current
    return {
        "Current": in_use,
        "Description": context.description,
        "DockerEndpoint": context.host,
        "Error": error,
        "Marked": context.name + (" *" if in_use else ""),
        "Name": context.name,
    }


def _packed(context: Context) -> bytes:
    file = io.BytesIO()
    entries = {"meta.json": json.dumps(context.metadata).encode()}
    entries |= {f"tls/docker/{name}": content for name, content in context.pem.items()}
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in entries.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o600
            tar.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def _unpacked(content: bytes, name: str) -> Context:
    metadata, pem = b"", {}
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            for entry in tar:
                where, _, last = entry.name.removeprefix("./").rpartition("/")
                wanted = entry.isreg() and entry.size <= _LARGEST
                file = tar.extractfile(entry) if wanted else None
                if file is None:
                    continue
                if (where, last) == ("", "meta.json"):
                    metadata = file.read()
                elif where == "tls/docker" and last in PEM:
                    pem[last] = file.read()
    except (tarfile.TarError, EOFError, OSError):
        raise UsageError("this is no exported context (a tar archive)") from None
    return parsed(metadata, pem, name)
