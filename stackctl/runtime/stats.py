"""What a container uses right now: its control groups, its interfaces, the machine's CPU time."""

from __future__ import annotations

import os
import time
from dataclasses import field

from stackctl.runtime.cgroups.usage import Usage
from stackctl.values import dataclass

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """Counters since the container's start, as the container's side sees them."""

    name: str
    received: int
    received_packets: int
    received_errors: int
    received_dropped: int
    sent: int
    sent_packets: int
    sent_errors: int
    sent_dropped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """One look. `system_cpu` are CPU seconds of all of the machine's processors since boot.

    The share of a CPU between two looks is the difference of `usage.cpu` over that
    of `system_cpu`, times `processors`.
    """

    usage: Usage = field(default_factory=Usage)
    interfaces: tuple[Interface, ...] = ()
    system_cpu: float = 0.0
    processors: int = 1
    read_at: float = 0.0

    @property
    def received(self) -> int:
        return sum(each.received for each in self.interfaces)

    @property
    def sent(self) -> int:
        return sum(each.sent for each in self.interfaces)


def look(usage: Usage, pid: int | None) -> Stats:
    """`pid`: a process in the container's network namespace, None when that is not its own."""
    return Stats(
        usage=usage,
        interfaces=interfaces(pid) if pid is not None else (),
        system_cpu=system_cpu(),
        processors=os.cpu_count() or 1,
        read_at=time.time(),
    )


def interfaces(pid: int) -> tuple[Interface, ...]:
    """From /proc/PID/net/dev, loopback left out; empty when the process has gone."""
    try:
        with open(f"/proc/{pid}/net/dev") as file:
            lines = file.read().splitlines()[2:]
    except OSError:
        return ()
    found = []
    for line in lines:
        name, _, numbers = line.partition(":")
        if name.strip() == "lo":
            continue
        n = [int(number) for number in numbers.split()]
        found.append(
            Interface(
                name=name.strip(),
                received=n[0],
                received_packets=n[1],
                received_errors=n[2],
                received_dropped=n[3],
                sent=n[8],
                sent_packets=n[9],
                sent_errors=n[10],
                sent_dropped=n[11],
            )
        )
    return tuple(found)


def system_cpu() -> float:
    """User, nice, system, idle, iowait, irq, softirq and steal of /proc/stat's first line."""
    with open("/proc/stat") as file:
        words = file.readline().split()
    return sum(int(word) for word in words[1:9]) / _TICKS
