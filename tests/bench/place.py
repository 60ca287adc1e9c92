"""Where contenders live: namespaces that the caller has unshared are made fit for them."""

from __future__ import annotations

import subprocess
from pathlib import Path


def prepare(directory: Path) -> None:
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
