"""Rows of `ps` as people and as programs read them."""

from __future__ import annotations

import time

from stackctl.cli.output.table import Column, table
from stackctl.cli.output.text import cut, replica_name, short_id
from stackctl.model.port_runs import port_runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, TypeAlias

Row: TypeAlias = "Mapping[str, Any]"

_COLUMNS = (
    Column("NAME"),
    Column("IMAGE", yields=3),
    Column("COMMAND", yields=5),
    Column("SERVICE", yields=2),
    Column("CREATED", yields=4),
    Column("STATUS"),
    Column("PORTS", yields=1),
)


def container_table(
    rows: Iterable[Row], width: int | None, *, full_command: bool = False
) -> list[str]:
    """docker compose's table: name, image, command, service, created, status, ports."""
    cells = [
        (
            str(row["Name"]),
            str(row.get("Image", "")),
            _quoted(str(row.get("Command", "")), full_command),
            str(row.get("Service", "")),
            str(row.get("RunningFor", "")),
            str(row.get("Status", "")),
            str(row.get("Ports", "")),
        )
        for row in rows
    ]
    return table(_COLUMNS, cells, width)


def json_row(row: Row, *, full: bool = False) -> dict[str, Any]:
    """The object that `ps --format json` prints, with the short id unless `full`."""
    # The table needs none of it.
    from stackctl.cli.output.format import size_text

    shown = {
        key: value for key, value in row.items() if key not in ("FullID", "SizeRw", "LabelMap")
    }
    mounts = [str(mount) for mount in row.get("Mounts", ())]
    shown["Mounts"] = ",".join(mounts if full else [cut(mount, 15) for mount in mounts])
    shown["Networks"] = ",".join(row.get("Networks", ()))
    shown["LocalVolumes"] = str(row.get("LocalVolumes", 0))
    shown["Size"] = size_text(row.get("SizeRw", 0))
    shown["Command"] = _quoted(str(row.get("Command", "")), full)
    shown["ID"] = full_id(row) if full else short_id(full_id(row))
    created = row.get("CreatedAt")
    if isinstance(created, int | float):
        shown["CreatedAt"] = time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime(created))
    return shown


def full_id(row: Row) -> str:
    return str(row.get("FullID") or row.get("ID", ""))


def published(rows: Iterable[Row]) -> list[tuple[str, str]]:
    """(replica, "localhost:8080 -> 80/tcp") for each published port, once a host port."""
    found: list[tuple[tuple[str, str, str], int, int]] = []
    for row in rows:
        name = row_name(row)
        for port in row.get("Publishers") or ():
            host_port = port.get("PublishedPort")
            if not host_port:
                continue
            address = str(port.get("URL") or "")
            if address in ("", "0.0.0.0", "::"):
                address = "localhost"
            if ":" in address:
                address = f"[{address}]"
            where = (name, address, str(port.get("Protocol", "tcp")))
            found.append((where, int(host_port), int(port["TargetPort"])))
    return [
        (name, f"{address}:{outside} -> {inside}/{protocol}")
        for (name, address, protocol), outside, inside in port_runs(found)
    ]


def row_name(row: Row) -> str:
    """`db-1`; the whole name for containers that are called otherwise."""
    return replica_name(
        str(row.get("Name", "")), str(row.get("Service", "")), str(row.get("Project", ""))
    )


def replicas(rows: Sequence[Row], services: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """Names and services of the rows, of these services only if any is given."""
    chosen = [r for r in rows if not services or r.get("Service") in services]
    return [row_name(r) for r in chosen], sorted({str(r.get("Service", "")) for r in chosen})


def _quoted(command: str, full: bool) -> str:
    """Docker's column: in quotes, at most 20 characters."""
    if not command:
        return ""
    if not full and len(command) > 20:
        command = command[:19] + "…"
    return '"' + command.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
