"""Inside the box: sets the place up, runs all rounds, prints the table.

Usage (by main.py): box.py DIRECTORY CGROUP ROUNDS LARGE_ROUNDS ONLY WORK JSON
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path

import report
import work
from builds import Builds
from contenders import Contender, Docker, Podman, Stackctl
from halfopen import HalfOpen
from images import Images
from networks import Connect, Crowd, Networks, Ports


def main() -> int:
    directory, group = Path(sys.argv[1]), sys.argv[2]
    rounds, large_rounds = int(sys.argv[3]), int(sys.argv[4])
    only = set(filter(None, sys.argv[5].split(",")))
    kinds = set(filter(None, sys.argv[6].split(",")))
    _prepare(directory)
    wanted: list[Contender] = [
        Stackctl(directory / "stackctl"),
        Docker(directory / "docker", group),
        Podman(directory / "podman", group),
    ]
    samples = work.Samples()
    with contextlib.ExitStack() as stack:
        present = []
        for contender in wanted:
            reason = "" if not only or contender.name in only else "not asked for"
            reason = reason or contender.lacks()
            if reason:
                _tell(f"without {contender.name}: {reason}")
                continue
            _tell(f"{contender.name}: {contender.version()}")
            stack.callback(contender.close)
            contender.open()
            present.append(contender)
        kinds_of_work = (*work.KINDS, HalfOpen(), Images(), Builds(), Networks(), Connect())
        for kind in (*kinds_of_work, Ports(), Crowd()):
            if kind.name not in kinds if kinds else kind.on_request:
                continue
            counted = 1 + (large_rounds if kind.large else rounds)
            for number in (1,) if kind.is_single else range(counted):
                for contender in present:
                    if kind.fits(contender):
                        # The first round warms caches and is not counted.
                        _tell(f"{kind.name} {number}: {contender.name}")
                        kind.run(contender, directory, samples if number else work.Samples())
        versions = {c.name: c.version() for c in present}
    result = report.collect(samples, versions, rounds, large_rounds)
    sys.stdout.write(report.markdown(result))
    if sys.argv[7]:
        Path(sys.argv[7]).write_text(json.dumps(result, indent=1) + "\n")
    return 0


def _prepare(directory: Path) -> None:
    """A tmpfs for the stores; a /sys that shows this network namespace; loopback up."""

    def run(*argv: str) -> None:
        subprocess.run(argv, check=True)

    run("mount", "-t", "tmpfs", "-o", "size=4g,mode=755", "bench", str(directory))
    groups = directory / "cgroup"
    groups.mkdir()
    run("mount", "--rbind", "/sys/fs/cgroup", str(groups))
    run("mount", "-t", "sysfs", "sysfs", "/sys")
    run("mount", "--rbind", str(groups), "/sys/fs/cgroup")
    run("umount", "--lazy", str(groups))
    run("ip", "link", "set", "lo", "up")


_START = time.monotonic()


def _tell(text: str) -> None:
    sys.stderr.write(f"[{time.monotonic() - _START:6.1f} s] {text}\n")


if __name__ == "__main__":
    sys.exit(main())
