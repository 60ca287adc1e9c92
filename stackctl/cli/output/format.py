"""`--format` of listings and of inspect: table, json, or a template."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from stackctl.cli.output.console import Console
from stackctl.cli.output.table import Column, table
from stackctl.json_text import json_line

Row = Mapping[str, Any]

#: Fields of a volume that docker has for clusters, or where somebody has counted.
OF_CLUSTERS = dict.fromkeys(("Availability", "Group", "Links", "Size", "Status"), "N/A")

#: "pretty" is compose's word.
_TABLE = ("", "table", "pretty")
_FIELD = re.compile(r'\{\{\s*(?:\w+\s+)?\.(\w+)(?:\s+"([^"]*)")?[^}]*\}\}')


def print_rows(
    console: Console,
    rows: Sequence[Row],
    columns: Sequence[tuple[Column, str]],
    format: str,
    *,
    titles: Mapping[str, str] | None = None,
    labels: Sequence[Mapping[str, str]] = (),
) -> None:
    """Rows whose fields are texts, as a table of `columns` (with the field of each), `json`
    (an object a line), a template, or `table TEMPLATE` (columns apart by \\t).

    A template may only name fields that rows have, and `.Label "NAME"`: that of a row's `labels`.
    """
    if format in _TABLE:
        cells = [[str(row.get(name, "")) for _, name in columns] for row in rows]
        for line in table([column for column, _ in columns], cells, console.out_width()):
            console.out(line)
        return
    if format == "json":
        for row in rows:
            console.out(json_line(row))
        return
    # Most never give a template.
    from stackctl.cli.output.template import Template

    text = format.removeprefix("table ").replace("\\t", "\t").replace("\\n", "\n")
    template = Template(text)
    by_row = labels or [{}] * len(rows)
    lines = [
        template.render(row, methods={"Label": partial(_label, of)})
        for row, of in zip(rows, by_row, strict=True)
    ]
    if not format.startswith("table "):
        for line in lines:
            console.out(line)
        return
    known = {name: column.title for column, name in columns} | dict(titles or {})

    def head(field: re.Match[str]) -> str:
        if field[1] == "Label" and field[2]:
            # Docker's: the last word of the label's name.
            return re.sub("[-_]", " ", field[2].rpartition(".")[2])
        return known.get(field[1], field[1].upper())

    heads = [_FIELD.sub(head, part) for part in text.split("\t")]
    for line in table([Column(head) for head in heads], [line.split("\t") for line in lines]):
        console.out(line)


def _label(labels: Mapping[str, str], name: str) -> str:
    return labels.get(name, "")


def print_inspected(console: Console, shapes: Sequence[Any], format: str) -> None:
    """What inspect prints: a JSON array, or a template for each."""
    if format in ("", "json"):
        console.out(json.dumps(shapes, indent=None if format else 4, ensure_ascii=False))
        return
    from stackctl.cli.output.template import Template

    template = Template(format.replace("\\t", "\t").replace("\\n", "\n"))
    for shape in shapes:
        console.out(template.render(shape))


def size_text(count: float, *, binary: bool = False) -> str:
    """Docker's sizes: 1.5MB (decimal) or 1.5MiB, three or four digits."""
    base, units = (1024, ("B", "KiB", "MiB", "GiB", "TiB")) if binary else (1000, _DECIMAL)
    for unit in units[:-1]:
        if count < base:
            return f"{count:.4g}{unit}" if binary else f"{count:.3g}{unit}"
        count /= base
    return f"{count:.4g}{units[-1]}"


def ago(created: float) -> str:
    """Docker's words for a moment (Unix seconds): 3 weeks ago."""
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


_DECIMAL = ("B", "kB", "MB", "GB", "TB")
