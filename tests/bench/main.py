"""`make bench`: stackctl beside Docker + docker-compose and Podman + podman-compose.

All of them run one after another, round by round, in a box: mount, network and
process namespaces of its own, with a tmpfs for every store. When the box ends
the kernel takes away all daemons, bridges, firewall rules and mounts; what is
left is empty control groups and a directory, and those go here.

Compare ratios within one run only: machines differ, and so do their days.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench BENCH=...", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the small stacks")
    parser.add_argument("--large-rounds", type=int, default=3, help="rounds of the large ones")
    parser.add_argument("--only", default="", help="contenders, e.g. stackctl,docker")
    parser.add_argument("--work", default="", help="kinds of work, e.g. ten,chain,fifty")
    parser.add_argument("--json", default="", help="write all samples to this file")
    return parser


def main() -> int:
    options = arguments().parse_args()
    if os.geteuid() != 0:
        sys.stderr.write("bench: containers need root: sudo make bench\n")
        return 1
    directory = Path(tempfile.mkdtemp(prefix="scb-", dir="/tmp"))
    group = f"stackctl-bench-{os.getpid()}"
    before = set(_groups())
    # sh stays pid 1 of the box: it reaps what daemons leave.
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command += ["--propagation", "private", "--", "sh", "-c", '"$@"; exit $?', "sh"]
    command += [sys.executable, str(HERE / "box.py"), str(directory), group, str(options.rounds)]
    command += [str(options.large_rounds), options.only, options.work]
    command += [str(Path(options.json).resolve()) if options.json else ""]
    try:
        return subprocess.run(command, check=False).returncode
    finally:
        for path in _groups():
            if path not in before:
                try:
                    path.rmdir()
                except OSError:
                    pass  # somebody else's, made meanwhile and in use
        shutil.rmtree(directory, ignore_errors=True)


def _groups() -> list[Path]:
    """Control groups that the contenders may make, deepest first."""
    ours = ("stackctl", "libpod", "machine.slice")
    found = []
    for top, names, _files in os.walk("/sys/fs/cgroup", topdown=False):
        found += [p for name in names if any(o in str(p := Path(top, name)) for o in ours)]
    return found


if __name__ == "__main__":
    sys.exit(main())
