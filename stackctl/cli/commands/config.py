"""stackctl config, stackctl schema."""

from __future__ import annotations

import gc

import typer

from stackctl.cli import options
from stackctl.cli.invocation import Invocation, invocation
from stackctl.cli.later import Annotated, import_later
from stackctl.cli.output.console import GREEN, RED, YELLOW
from stackctl.cli.output.errors import errors_json, print_warning
from stackctl.cli.rows import warned
from stackctl.cli.values import one_of
from stackctl.errors import EngineUnreachable, NotFound, NotPermitted, StackctlError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from stackctl.cli.connection import Message

_LISTS = ("services", "volumes", "networks", "images", "profiles", "models")
_OF_THE_FILE = ("variables", "environment", "coverage")


def config(
    ctx: typer.Context,
    services: options.Services = None,
    only_services: Annotated[
        bool, typer.Option("--services", help="Only the services' names.")
    ] = False,
    only_volumes: Annotated[bool, typer.Option("--volumes", help="Only volumes.")] = False,
    only_networks: Annotated[bool, typer.Option("--networks", help="Only networks.")] = False,
    only_images: Annotated[bool, typer.Option("--images", help="Only images.")] = False,
    only_profiles: Annotated[bool, typer.Option("--profiles", help="Only profiles.")] = False,
    only_models: Annotated[bool, typer.Option("--models", help="Only models.")] = False,
    hashes: Annotated[
        str,
        typer.Option("--hash", metavar="SERVICES", help="Hashes: of `web,db`, or of all (`*`)."),
    ] = "",
    variables: Annotated[
        bool, typer.Option("--variables", help="The variables that the files use.")
    ] = False,
    environment: Annotated[
        bool, typer.Option("--environment", help="The values that variables have.")
    ] = False,
    coverage: Annotated[
        bool,
        typer.Option(
            "--coverage",
            help="Each attribute with its place: honoured, approximated or refused, and why.",
        ),
    ] = False,
    no_interpolate: Annotated[
        bool, typer.Option("--no-interpolate", help="Leave variables as they are written.")
    ] = False,
    no_normalize: Annotated[
        bool, typer.Option("--no-normalize", help="Add nothing that the files do not say.")
    ] = False,
    no_path_resolution: Annotated[
        bool, typer.Option("--no-path-resolution", help="Leave host paths as they are written.")
    ] = False,
    no_env_resolution: Annotated[
        bool, typer.Option("--no-env-resolution", help="Do not read files of variables.")
    ] = False,
    no_consistency: Annotated[
        bool,
        typer.Option("--no-consistency", help="Do not ask whether what services name exists."),
    ] = False,
    resolve_image_digests: Annotated[
        bool,
        typer.Option("--resolve-image-digests", help="Name images by what registries have now."),
    ] = False,
    lock_image_digests: Annotated[
        bool,
        typer.Option("--lock-image-digests", help="A file for -f with nothing but such images."),
    ] = False,
    format: Annotated[
        str, typer.Option("--format", metavar="yaml|json", help="How to print it, mistakes too.")
    ] = "",
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Only check: print nothing but errors.")
    ] = False,
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="FILE", help="Write to a file.")
    ] = "",
) -> int:
    """Check the stack file and print what it comes to: merged, filled in, normalised."""
    run = invocation(ctx)
    one_of("--format", format or "yaml", ("yaml", "json"))
    flags = (
        *(only_services, only_volumes, only_networks, only_images, only_profiles, only_models),
        *(bool(hashes), variables, environment, coverage),
    )
    names = (*_LISTS, "hash", "variables", "environment", "coverage")
    wanted = [name for name, flag in zip(names, flags, strict=True) if flag]
    if len(wanted) > 1:
        raise UsageError(f"--{wanted[0]} and --{wanted[1]} do not go together")
    unresolved = no_interpolate or no_normalize or no_path_resolution or no_env_resolution
    if unresolved and (hashes or environment):
        flag = "--hash" if hashes else "--environment"
        raise UsageError(f"{flag} is of a resolved stack file: --no-... does not go along")
    with_digests = resolve_image_digests or lock_image_digests
    if with_digests and unresolved:
        raise UsageError("digests are those of a resolved stack file: --no-... does not go along")
    if services and wanted and wanted[0] in _OF_THE_FILE:
        text = f"--{wanted[0]} is of the whole file, whatever services are named"
        print_warning(run.console, text)
    body = run.body(
        services=services or [],
        format=format or "yaml",
        hashes=bool(hashes),
        variables=variables,
        coverage=coverage,
        no_interpolate=no_interpolate,
        no_normalize=no_normalize,
        no_path_resolution=no_path_resolution,
        no_env_resolution=no_env_resolution,
        no_consistency=no_consistency,
        # What a service's environment is has no part in these.
        names_only=bool(wanted) and wanted[0] not in ("environment", "coverage"),
        no_text=quiet or bool(wanted),
        resolve_image_digests=resolve_image_digests,
        lock_image_digests=lock_image_digests,
    )
    try:
        result = _resolved(run, body, start=with_digests)
        text = "" if quiet else _text(run, result, wanted[0] if wanted else "", hashes, format)
    except StackctlError as error:
        if format != "json" or error.exit_code == UsageError.exit_code:
            raise
        run.console.out(errors_json(error))
        return error.exit_code
    if output:
        from stackctl.cli.output.files import write_text

        write_text(output, text)
    elif text:
        run.console.stdout.write(text if text.endswith("\n") else text + "\n")
    refused = [row for row in result.get("coverage") or () if row["State"] == "refused"]
    return 1 if refused else 0


def schema(ctx: typer.Context) -> int:
    """Print a JSON Schema of stack files, for editors."""
    from stackctl.spec.schema import text

    invocation(ctx).console.stdout.write(text())
    return 0


def _text(run: Invocation, result: Message, wanted: str, hashes: str, format: str) -> str:
    """What is printed of the result."""
    match wanted:
        case "":
            return str(result.get("text", ""))
        case "hash":
            return _hashes(result.get("hashes") or {}, hashes)
        case "environment":
            return "".join(f"{k}={v}\n" for k, v in (result.get("environment") or {}).items())
        case "variables" | "coverage":
            rows = result.get(wanted) or []
            if wanted == "variables":
                return _variables(rows, format)
            return _in_lines(rows) if format == "json" else _coverage(run, rows)
        case _:
            return "".join(f"{name}\n" for name in result.get(wanted) or ())


def _hashes(found: Mapping[str, str], wanted: str) -> str:
    names = sorted(found) if wanted == "*" else [name for name in wanted.split(",") if name]
    for name in names:
        if name not in found:
            raise NotFound(f'no service is called "{name}"', hint=f"there are: {', '.join(found)}")
    return "".join(f"{name} {found[name]}\n" for name in names)


def _variables(rows: Sequence[Mapping[str, Any]], format: str) -> str:
    """A table; in the other forms by name, as docker compose has it."""
    if format == "json":
        return _in_lines({row["Name"]: row for row in rows})
    if format == "yaml":
        from stackctl.spec.emit import emit

        return emit({row["Name"]: {k.lower(): v for k, v in row.items()} for row in rows})
    head = ("NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE")
    cells = [
        (r["Name"], "true" if r["Required"] else "false", r["DefaultValue"], r["PresenceValue"])
        for r in rows
    ]
    return _columns([head, *cells])


def _in_lines(value: object) -> str:
    """JSON with a line for each part."""
    import json  # of use here only

    return json.dumps(value, indent=2) + "\n"


def _columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    lines = ("  ".join(str(c).ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _coverage(run: Invocation, rows: Sequence[Mapping[str, str]]) -> str:
    colours = {"honoured": (GREEN,), "approximated": (YELLOW,), "refused": (RED,)}
    width = max((len(row["State"]) for row in rows), default=0)
    lines = []
    for row in rows:
        state = run.console.paint_out(row["State"].ljust(width), *colours.get(row["State"], ()))
        reason = f"  ({row['Reason']})" if row["Reason"] else ""
        lines.append(f"{row['Place']}: {state}  {row['Attribute']}{reason}\n")
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["State"]] = counts.get(row["State"], 0) + 1
    total = ", ".join(f"{n} {state}" for state, n in counts.items())
    return "".join(lines) + f"{total or 'no attributes'}\n"


def _resolved(run: Invocation, body: Message, *, start: bool) -> Message:
    """What the files come to.

    An engine that runs has the reader loaded already; none is started, and no
    right is needed, to look at a file. Only an engine asks registries: `start` it.
    """
    try:
        client = run.client if start else run.connect(start=False)
    except (EngineUnreachable, NotPermitted):
        if start:
            raise
        return _read_here(run, body)
    result: Message = {}
    for message in client.stream("config", body):
        if not warned(run, message) and message["type"] == "result":
            result = message
    return result


def _read_here(run: Invocation, body: Message) -> Message:
    # For addresses, numbers of signals and --format json only.
    import_later("ipaddress", "signal", "json")
    # The process ends when it has printed: no memory is looked for that could be freed.
    gc.disable()
    try:
        from stackctl.cli.waits import telling
        from stackctl.spec.project import LoadRequest
        from stackctl.spec.shown import Wish, described

        request = LoadRequest.of(body["project"])
        with telling(run.console):
            facts, warnings = described(request, Wish.of(body))
    finally:
        # Else all that is there by now would be looked through at the process's end.
        gc.freeze()
        gc.enable()
    for notice in warnings:
        print_warning(run.console, notice.text, str(notice.place or ""))
    return facts
