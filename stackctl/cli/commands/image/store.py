"""stackctl image ls, inspect, history, tag, rm, prune, verify."""

import sys
import time
from typing import Annotated, Any

import typer

from stackctl.cli.invocation import invocation
from stackctl.cli.output.format import print_inspected, print_rows, size_text
from stackctl.cli.output.table import Column
from stackctl.cli.output.text import short_id
from stackctl.cli.rows import rows
from stackctl.errors import UsageError

Names = Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Names or ids.")]
NoTrunc = Annotated[bool, typer.Option("--no-trunc", help="Cut nothing.")]
Format = Annotated[
    str, typer.Option("--format", metavar="TEMPLATE", help="json, table or a template.")
]

_COLUMNS = (
    (Column("REPOSITORY"), "Repository"),
    (Column("TAG"), "Tag"),
    (Column("IMAGE ID"), "ID"),
    (Column("CREATED"), "CreatedSince"),
    (Column("SIZE"), "Size"),
)
_PAST = (
    (Column("IMAGE"), "ID"),
    (Column("CREATED"), "CreatedSince"),
    (Column("CREATED BY"), "CreatedBy"),
    (Column("SIZE"), "Size"),
    (Column("COMMENT"), "Comment"),
)


def ls(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="[REPOSITORY[:TAG]]", help="Only these.")] = "",
    all: Annotated[bool, typer.Option("-a", "--all", help="Intermediate ones too.")] = False,
    digests: Annotated[bool, typer.Option("--digests", help="With digests.")] = False,
    filter: Annotated[
        list[str] | None,
        typer.Option("-f", "--filter", metavar="KEY=VALUE", help="dangling, label, reference."),
    ] = None,
    format: Format = "",
    no_trunc: NoTrunc = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only ids.")] = False,
) -> int:
    """List images."""
    run = invocation(ctx)
    found = [row for row in rows(run, "image-ls", {"all": all}) if _passes(row, name, filter or ())]
    if quiet and not format:
        for line in dict.fromkeys(row["id"] if no_trunc else short_id(row["id"]) for row in found):
            run.console.out(line)
        return 0
    columns = list(_COLUMNS)
    if digests:
        columns.insert(2, (Column("DIGEST"), "Digest"))
    print_rows(run.console, [_shown(row, no_trunc) for row in found], columns, format)
    return 0


def _shown(row: dict[str, Any], no_trunc: bool) -> dict[str, str]:
    created = float(row["created"])
    return {
        "Repository": row["repository"],
        "Tag": row["tag"],
        "Digest": row["digest"] or "<none>",
        "ID": row["id"] if no_trunc else short_id(row["id"]),
        "CreatedSince": _since(created),
        "CreatedAt": time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime(created)),
        "Size": size_text(row["size"]),
    }


def _passes(row: dict[str, Any], name: str, filters: list[str] | tuple[str, ...]) -> bool:
    from fnmatch import fnmatch

    full = f"{row['repository']}:{row['tag']}"
    if name and name not in (row["repository"], full) and not fnmatch(full, name):
        return False
    for text in filters:
        key, _, value = text.partition("=")
        match key:
            case "dangling":
                if (row["tag"] == "<none>") != (value.lower() in ("true", "1")):
                    return False
            case "label":
                label, equals, wanted = value.partition("=")
                if label not in row["labels"] or (equals and row["labels"][label] != wanted):
                    return False
            case "reference":
                if not fnmatch(row["repository"], value) and not fnmatch(full, value):
                    return False
            case _:
                raise UsageError(
                    f"--filter {key} is not supported", hint="dangling, label and reference are"
                )
    return True


def inspect(ctx: typer.Context, names: Names, format: Format = "") -> int:
    """Show all that is known of images."""
    run = invocation(ctx)
    print_inspected(run.console, rows(run, "image-inspect", {"names": names}), format)
    return 0


def history(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="IMAGE", help="Name or id.")],
    format: Format = "",
    no_trunc: NoTrunc = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only ids.")] = False,
) -> int:
    """Show how an image came to be."""
    run = invocation(ctx)
    found = rows(run, "image-history", {"name": name})
    for row in found:
        row["CreatedSince"] = _since(_seconds(row["Created"]))
        row["CreatedAt"] = row.pop("Created")
        row["Size"] = size_text(row["Size"])
        if not no_trunc:
            row["ID"] = short_id(row["ID"])
            if len(row["CreatedBy"]) > 45:
                row["CreatedBy"] = row["CreatedBy"][:44] + "…"
    if quiet:
        for row in found:
            run.console.out(row["ID"])
        return 0
    print_rows(run.console, found, _PAST, format)
    return 0


def tag(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="An image.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Its further name.")],
) -> int:
    """Give an image a further name."""
    run = invocation(ctx)
    run.client.call("image-tag", {"source": source, "target": target})
    return 0


def rm(
    ctx: typer.Context,
    names: Names,
    force: Annotated[
        bool, typer.Option("-f", "--force", help="All names; missing is fine.")
    ] = False,
) -> int:
    """Remove names, and images with their last one."""
    run = invocation(ctx)
    for message in run.client.stream("image-rm", {"names": names, "force": force}):
        if message["type"] == "row":
            run.console.out(_gone(message))
            run.console.flush()
    return 0


def prune(
    ctx: typer.Context,
    all: Annotated[
        bool, typer.Option("-a", "--all", help="All that no container uses, not just unnamed ones.")
    ] = False,
    force: Annotated[bool, typer.Option("-f", "--force", help="Do not ask.")] = False,
    filter: Annotated[
        list[str] | None,
        typer.Option("--filter", metavar="KEY=VALUE", help="until=TIME, label=KEY[=VALUE]."),
    ] = None,
) -> int:
    """Remove unused images and content."""
    from stackctl.cli.values import moment

    run = invocation(ctx)
    body: dict[str, Any] = {"all": all, "labels": []}
    for text in filter or ():
        key, _, value = text.partition("=")
        if key == "until":
            body["until"] = moment("--filter until=", value)
        elif key == "label":
            body["labels"].append(value)
        else:
            raise UsageError(f"--filter {key} is not supported", hint="until and label are")
    if not force:
        what = "images that no container uses" if all else "images without a name"
        if not sys.stdin.isatty():
            raise UsageError("prune would ask, and there is no terminal", hint="-f does not ask")
        run.console.stderr.write(f"this removes all {what}; sure? [y/N] ")
        run.console.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            return 1
    reclaimed = 0
    for message in run.client.stream("image-prune", body):
        if message["type"] == "row":
            run.console.out(_gone(message))
        elif message["type"] == "result":
            reclaimed = int(message.get("reclaimed") or 0)
    run.console.out(f"Total reclaimed space: {size_text(reclaimed)}")
    return 0


def verify(
    ctx: typer.Context,
    repair: Annotated[bool, typer.Option("--repair", help="Remove what is damaged.")] = False,
) -> int:
    """Check all content against its digests."""
    run = invocation(ctx)
    code = 0
    problems = 0
    for message in run.client.stream("image-verify", {"repair": repair}):
        if message["type"] == "row":
            problems += 1
            run.console.out(str(message["text"]))
        elif message["type"] == "result":
            code = int(message.get("exit_code") or 0)
    if not problems:
        run.console.out("all images are as they should be")
    return code


def _gone(message: dict[str, Any]) -> str:
    if "untagged" in message:
        return f"Untagged: {message['untagged']}"
    return f"Deleted: {message['deleted']}"


def _since(created: float) -> str:
    if created <= 0:
        return "N/A"
    passed = max(time.time() - created, 0.0)
    for size, unit in (
        (365 * 86400, "year"),
        (30 * 86400, "month"),
        (7 * 86400, "week"),
        (86400, "day"),
        (3600, "hour"),
        (60, "minute"),
        (1, "second"),
    ):
        count = int(passed // size)
        if count >= (2 if unit in ("year", "month", "week") else 1):
            return f"{count} {unit}{'s' if count != 1 else ''} ago"
    return "Less than a second ago"


def _seconds(text: str) -> float:
    import re
    from datetime import datetime

    try:
        plain = re.sub(r"(\.\d{6})\d+", r"\1", text).replace("Z", "+00:00")
        return datetime.fromisoformat(plain).timestamp()
    except ValueError:
        return 0.0
