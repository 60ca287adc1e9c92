"""stackctl image ls, inspect, history, tag, rm, prune, verify."""

from __future__ import annotations

import sys
import time
from builtins import all as all_of
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from stackctl.cli import options
from stackctl.cli.invocation import invocation
from stackctl.cli.output.format import ago, print_inspected, print_rows, size_text
from stackctl.cli.output.table import Column
from stackctl.cli.output.text import short_id
from stackctl.cli.rows import rows
from stackctl.errors import NotFound, UsageError

_FILTERS = ("dangling", "label", "reference", "before", "since", "until")

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
        typer.Option("-f", "--filter", metavar="KEY=VALUE", help=f"{', '.join(_FILTERS)}."),
    ] = None,
    format: options.ImageFormat = "",
    no_trunc: options.NoTrunc = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only ids.")] = False,
) -> int:
    """List images."""
    run = invocation(ctx)
    every = rows(run, "image-ls", {"all": all})
    passes = _passes(name, filter or (), every)
    found = [row for row in every if passes(row)]
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
        "CreatedSince": ago(created),
        "CreatedAt": time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime(created)),
        "Size": size_text(row["size"]),
        "VirtualSize": size_text(row["size"]),
        # As docker has them where nobody has counted.
        **dict.fromkeys(("Containers", "SharedSize", "UniqueSize"), "N/A"),
    }


def _passes(
    name: str, filters: Sequence[str], every: Sequence[dict[str, Any]]
) -> Callable[[dict[str, Any]], bool]:
    """What chooses rows: all keys have to match, of several values of a key one."""
    wanted: dict[str, list[str]] = {}
    for text in filters:
        key, equals, value = text.partition("=")
        if key not in _FILTERS or not equals:
            raise UsageError(
                f"--filter {text} is not supported", hint=f"KEY=VALUE with {', '.join(_FILTERS)}"
            )
        wanted.setdefault(key, []).append(value)
    tests = [
        [_test(key, value, every) for value in values]
        for key, values in wanted.items()
        if key != "label"
    ]
    # Labels all have to match.
    tests += [[_test("label", value, every)] for value in wanted.get("label", ())]
    if name:
        tests.append([_test("reference", name, every)])
    return lambda row: all_of(any(test(row) for test in group) for group in tests)


def _test(
    key: str, value: str, every: Sequence[dict[str, Any]]
) -> Callable[[dict[str, Any]], bool]:
    from stackctl.cli.values import moment

    match key:
        case "dangling":
            dangling = value.lower() in ("true", "1")
            return lambda row: (row["tag"] == "<none>") is dangling
        case "label":
            label, equals, text = value.partition("=")
            return lambda row: (
                label in row["labels"] and (not equals or row["labels"][label] == text)
            )
        case "reference":
            return lambda row: _is_called(row, value)
        case "until":
            limit = moment("--filter until=", value) or 0.0
            return lambda row: float(row["created"]) < limit
    matches = (r for r in every if _is_called(r, value) or _is_id(r["id"], value))
    other = next(matches, None)
    if other is None:
        raise NotFound(f"no such image: {value}", hint="`stackctl image ls` lists them")
    created = float(other["created"])
    if key == "before":
        return lambda row: float(row["created"]) < created
    return lambda row: float(row["created"]) > created


def _is_called(row: dict[str, Any], pattern: str) -> bool:
    from fnmatch import fnmatch

    full = f"{row['repository']}:{row['tag']}"
    return fnmatch(row["repository"], pattern) or fnmatch(full, pattern)


def _is_id(image_id: str, text: str) -> bool:
    return len(text) > 1 and image_id.removeprefix("sha256:").startswith(
        text.removeprefix("sha256:")
    )


def inspect(
    ctx: typer.Context,
    names: options.ImageNames,
    format: options.InspectFormat = "",
    platform: options.OnlyPlatform = "",
) -> int:
    """Show all that is known of images."""
    run = invocation(ctx)
    body = {"names": names, "platform": platform}
    print_inspected(run.console, rows(run, "image-inspect", body), format)
    return 0


def history(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="IMAGE", help="Name or id.")],
    format: options.ImageFormat = "",
    human: Annotated[
        bool,
        typer.Option(
            "-H/ ",
            "--human/--no-human",
            help="Sizes and times for people, not programs.",
            show_default=False,
        ),
    ] = True,
    no_trunc: options.NoTrunc = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only ids.")] = False,
    platform: options.OnlyPlatform = "",
) -> int:
    """Show how an image came to be."""
    run = invocation(ctx)
    found = rows(run, "image-history", {"name": name, "platform": platform})
    for row in found:
        row["CreatedAt"] = row.pop("Created")
        since = ago(_seconds(row["CreatedAt"]))
        row["CreatedSince"] = since if human else row["CreatedAt"]
        row["Size"] = size_text(row["Size"]) if human else str(row["Size"])
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
    names: options.ImageNames,
    force: Annotated[
        bool, typer.Option("-f", "--force", help="All names; missing is fine.")
    ] = False,
    no_prune: Annotated[
        bool, typer.Option("--no-prune", help="For docker's sake: parents with names stay anyway.")
    ] = False,
    platform: options.OnlyPlatform = "",
) -> int:
    """Remove names, and images with their last one."""
    run = invocation(ctx)
    body = {"names": names, "force": force, "platform": platform}
    for message in run.client.stream("image-rm", body):
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
        typer.Option("--filter", metavar="KEY=VALUE", help="until=TIME, label[!]=KEY[=VALUE]."),
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
        elif key in ("label", "label!"):
            body["labels"].append(f"{'!' if key.endswith('!') else ''}{value}")
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


def _seconds(text: str) -> float:
    import re
    from datetime import datetime

    try:
        plain = re.sub(r"(\.\d{6})\d+", r"\1", text).replace("Z", "+00:00")
        return datetime.fromisoformat(plain).timestamp()
    except ValueError:
        return 0.0
