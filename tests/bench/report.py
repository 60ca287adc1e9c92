"""The table and the JSON of one run."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from statistics import median
from typing import Any

from work import Samples

#: How many times faster (or smaller) than docker the project means to be, by row.
WANTED = {
    "10 services: up -d": 8,
    "50 services: up -d": 8,
    "chain of 10, interval 1 s: all healthy": 12,
    "10 services: up -d again": 3.5,
    "10 services: ps": 3.5,
    "10 services: down -t 0": 6,
    "50 containers: engine memory (PSS)": 3,
    "image: pull + unpack, 195 MB": 2,
    "build: six steps, cold": 2,
    "build: six steps, cached": 1.5,
}


#: Units of which more is better.
_RATES = ("Gbit/s", "requests/s", "answers/s", "containers/s", "containers")
#: Those of which tenths count.
_SMALL = ("Gbit/s", "containers/s", "us")


def machine() -> dict[str, str]:
    cpu = [x for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")]
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1024
    v1 = Path("/sys/fs/cgroup/memory").is_dir()
    return {
        "cpu": f"{os.cpu_count()} x {cpu[0].split(': ')[1] if cpu else platform.machine()}",
        "memory": f"{memory} MiB",
        "kernel": platform.release(),
        "cgroup": "v1" if v1 else "v2",
        "python": platform.python_version(),
    }


def collect(
    samples: Samples, versions: dict[str, str], rounds: int, large_rounds: int
) -> dict[str, Any]:
    """Everything of one run as plain data."""
    rows: dict[str, dict[str, Any]] = {}
    for (row, name), values in samples.values.items():
        rows.setdefault(row, {})[name] = {"median": median(values), "samples": values}
    return {
        "machine": machine(),
        "versions": versions,
        "rounds": {"small": rounds, "large": large_rounds},
        "rows": rows,
    }


def markdown(result: dict[str, Any]) -> str:
    names = list(result["versions"])
    others = [name for name in names if name != "stackctl"]
    head = ["work", *names, *(f"{name} / stackctl" for name in others), "wanted of docker"]
    lines = [
        ", ".join(f"{key} {value}" for key, value in result["machine"].items()),
        "",
        *(f"- {name}: {version}" for name, version in result["versions"].items()),
        "",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
    ]
    for row, cells in result["rows"].items():
        texts = [row, *(_value(row, cells.get(name)) for name in names)]
        texts += [_ratio(row, cells.get(name), cells.get("stackctl")) for name in others]
        texts.append(f"{WANTED[row]:g}" if row in WANTED else "")
        lines.append("| " + " | ".join(texts) + " |")
    return "\n".join(lines) + "\n"


def _value(row: str, cell: dict[str, Any] | None) -> str:
    if cell is None:
        return "-"
    if unit := _unit(row):
        return f"{cell['median']:.{1 if unit in _SMALL else 0}f}"
    if "memory" in row:
        return f"{cell['median'] / 2**20:.1f} MiB"
    return f"{cell['median'] * 1000:.0f} ms"


def _unit(row: str) -> str:
    """The unit that a row's name ends with; "" for times and memory."""
    last = row.rpartition(", ")[2]
    return last if last in (*_RATES, "us") else ""


def _ratio(row: str, theirs: dict[str, Any] | None, ours: dict[str, Any] | None) -> str:
    """How many times better stackctl is: less of a time, more of a rate."""
    if not theirs or not ours or not ours["median"] or not theirs["median"]:
        return ""
    if _unit(row) in _RATES:
        theirs, ours = ours, theirs
    # A way of 20 us: a tenth of it is much.
    digits = 2 if _unit(row) == "us" else 1
    return f"{theirs['median'] / ours['median']:.{digits}f}"
