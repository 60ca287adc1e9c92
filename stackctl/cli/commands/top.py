"""stackctl top."""

from __future__ import annotations

from typing import Any

import typer

from stackctl.cli import options
from stackctl.cli.invocation import invocation
from stackctl.cli.output.table import Column, table
from stackctl.cli.rows import rows

#: Columns that give way on a narrow terminal.
_YIELDS = {"STIME": 5, "TIME": 4, "TTY": 3, "PPID": 2, "CMD": 1}


def top(ctx: typer.Context, services: options.Services = None) -> int:
    """Print the processes of each container, with the host's pids."""
    run = invocation(ctx)
    by_container: dict[str, list[dict[str, Any]]] = {}
    for row in rows(run, "top", run.body(services=services or [])):
        by_container.setdefault(str(row.pop("Container", "")), []).append(row)
    for number, (container, processes) in enumerate(by_container.items()):
        if number:
            run.console.out()
        run.console.out(container)
        columns = [Column(title, _YIELDS.get(title, 0)) for title in processes[0]]
        cells = [[str(cell) for cell in process.values()] for process in processes]
        for line in table(columns, cells, run.console.out_width()):
            run.console.out(line)
    return 0
