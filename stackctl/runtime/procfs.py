"""Processes of a container as /proc shows them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator

from stackctl.linux import process
from stackctl.model.record import ProcessRef
from stackctl.values import dataclass

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRow:
    """One process. `pid` and `ppid` as the host sees them, `uid` as the container does,
    `time` CPU seconds, `start_time` clock ticks since boot."""

    uid: int
    pid: int
    ppid: int
    time: float
    start_time: int
    command: str


def has_default_action(pid: int, signum: int) -> bool:
    """Neither caught, nor ignored, nor blocked (for sigwait and signalfd); False when gone."""
    masks = 0
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            for line in file:
                if line.startswith((b"SigBlk:", b"SigIgn:", b"SigCgt:")):
                    masks |= int(line.split()[1], 16)
        # Who waits for signals (sigwaitinfo(2)) has them unblocked for that time: our own
        # init does nothing else.
        with open(f"/proc/{pid}/wchan", "rb") as file:
            if b"sigtimedwait" in file.read():
                return False
    except (FileNotFoundError, ProcessLookupError):
        return False
    return not masks >> (signum - 1) & 1


def is_runnable(pid: int) -> bool:
    """It computes, or waits for a disk; proc(5), states R and D. False when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat[stat.rindex(b")") + 2 :][:1] in (b"R", b"D")


def rows(pids: Iterable[int], id_base: int) -> list[ProcessRow]:
    """Rows of those `pids` that still exist, zombies left out, in order of start."""
    found = [row for pid in pids if (row := _row(pid, id_base)) is not None]
    return sorted(found, key=lambda row: (row.start_time, row.pid))


def _row(pid: int, id_base: int) -> ProcessRow | None:
    directory = f"/proc/{pid}"
    try:
        uid = os.stat(directory).st_uid
        with open(f"{directory}/stat", "rb") as file:
            stat = file.read()
        with open(f"{directory}/cmdline", "rb") as file:
            words = file.read()
        with open(f"{directory}/status", "rb") as file:
            for line in file:
                if line.startswith(b"Uid:"):
                    uid = int(line.split()[2])
    except (FileNotFoundError, ProcessLookupError):
        return None
    name = stat[stat.index(b"(") + 1 : stat.rindex(b")")]
    fields = stat[stat.rindex(b")") + 2 :].split()
    if fields[0] in (b"Z", b"X"):
        return None
    command = words.rstrip(b"\0").replace(b"\0", b" ") or b"[" + name + b"]"
    return ProcessRow(
        uid=uid - id_base if id_base and uid >= id_base else uid,
        pid=pid,
        ppid=int(fields[1]),
        time=(int(fields[11]) + int(fields[12])) / _TICKS,
        start_time=int(fields[19]),
        command=command.decode("utf-8", "replace"),
    )


@contextlib.contextmanager
def pidfd_of(ref: ProcessRef) -> Iterator[int]:
    """A descriptor of exactly this process; ProcessLookupError when it has gone."""
    fd = os.pidfd_open(ref.pid)
    try:
        try:
            same = process.start_time(ref.pid) == ref.start_time
        except FileNotFoundError:
            same = False
        if not same:
            raise ProcessLookupError(ref.pid)
        yield fd
    finally:
        os.close(fd)
