"""A container's processes as the machine's own ps shows them, for `top` with options of ps."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Collection, Sequence

from stackctl.errors import MachineError, UsageError
from stackctl.runtime.procfs import ProcessRow


def process_row(process: ProcessRow) -> dict[str, str]:
    """The columns of `ps -ef`."""
    hours, rest = divmod(int(process.time), 3600)
    return {
        "UID": str(process.uid),
        "PID": str(process.pid),
        "PPID": str(process.ppid),
        "C": "0",
        "STIME": start_shown(process.start_time),
        "TTY": "?",
        "TIME": f"{hours:02d}:{rest // 60:02d}:{rest % 60:02d}",
        "CMD": process.command,
    }


def start_shown(ticks: int) -> str:
    """When a process began, in clock ticks since the machine started, as ps -ef shows it."""
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    began = booted + ticks / os.sysconf("SC_CLK_TCK")
    form = "%H:%M" if time.time() - began < 86400 else "%b%d"
    return time.strftime(form, time.localtime(began))


async def by_ps(
    pids: Collection[int], arguments: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """Titles, and the rows of these processes, of what `ps ARGUMENTS` prints.

    Raises UsageError for arguments that ps refuses or that show no PID, by which a
    container's processes are told from all others; MachineError without a ps.
    """
    selected = f"-q{','.join(map(str, sorted(pids)))}"
    code, output, _ = await _ps(*arguments, selected)
    if code:
        # Some options (f) do not go together with a selection.
        code, output, complaint = await _ps(*arguments)
        if code:
            said = complaint.strip().partition("\n")[0]
            raise UsageError(f"ps {' '.join(arguments)}: {said or 'it failed'}")
    return chosen(output, pids)


async def _ps(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    try:
        process = await asyncio.create_subprocess_exec(
            "ps",
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError:
        raise MachineError(
            "this machine has no ps", hint="install it (Debian: procps), or leave its options out"
        ) from None
    output, complaint = await process.communicate()
    return (
        process.returncode or 0,
        output.decode(errors="replace"),
        complaint.decode(errors="replace"),
    )


def chosen(text: str, pids: Collection[int]) -> tuple[list[str], list[list[str]]]:
    """The titles of a table that ps has printed, and the rows with one of these pids. Pure."""
    first, *lines = text.splitlines() or [""]
    titles = first.split()
    if "PID" not in titles:
        raise UsageError("Couldn't find PID field in ps output: let it print the column PID, too")
    column, last = titles.index("PID"), len(titles) - 1
    rows = []
    for line in lines:
        # The last column is the command, with spaces in it.
        cells = line.split(maxsplit=last)
        if len(cells) > column and cells[column].isdigit() and int(cells[column]) in pids:
            rows.append(cells)
    return titles, rows
