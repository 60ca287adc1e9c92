"""Inside the box: sets the place up, runs all rounds, prints the table.

Usage (by main.py): box.py DIRECTORY CGROUP ROUNDS LARGE_ROUNDS ONLY WORK JSON
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path

import path
import report
import work
from builds import Builds
from contenders import every
from halfopen import HalfOpen
from images import Images
from networks import Connect, Crowd, Networks, Ports, has_programs
from place import prepare

#: Seconds a round in which the ways to containers are compared.
_PATH = 8


def main() -> int:
    directory, group = Path(sys.argv[1]), sys.argv[2]
    rounds, large_rounds = int(sys.argv[3]), int(sys.argv[4])
    only = set(filter(None, sys.argv[5].split(",")))
    kinds = set(filter(None, sys.argv[6].split(",")))
    prepare(directory)
    samples = work.Samples()
    with contextlib.ExitStack() as stack:
        present = []
        for contender in every(directory, group):
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
        if (not kinds or "path" in kinds) and has_programs("ip"):
            _tell(f"path: {', '.join(c.name for c in present)}")
            path.measure(present, directory, group, rounds * _PATH, samples)
        versions = {c.name: c.version() for c in present}
    result = report.collect(samples, versions, rounds, large_rounds)
    sys.stdout.write(report.markdown(result))
    if sys.argv[7]:
        Path(sys.argv[7]).write_text(json.dumps(result, indent=1) + "\n")
    return 0


_START = time.monotonic()


def _tell(text: str) -> None:
    sys.stderr.write(f"[{time.monotonic() - _START:6.1f} s] {text}\n")


if __name__ == "__main__":
    sys.exit(main())
