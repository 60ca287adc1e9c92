"""Where this machine's control groups are: which hierarchies, which controllers.

    v2:      /sys/fs/cgroup                      one tree, `cgroup.controllers` in it
    v1:      /sys/fs/cgroup/memory, .../pids     a tree a controller (or a few, by symlink)
    hybrid:  v1 plus /sys/fs/cgroup/unified      a v2 tree whose controllers nobody uses

Looks only at files below one root, so that a test's directory serves as well as
the kernel's. Groups sit at the top of each hierarchy ("/stackctl-<tag>"): systemd
manages slices, scopes and services that it made and leaves other groups at the
top alone, also when a session or a CI step's scope ends. Root's own group of a
v2 tree may hold processes and controllers at once; every other group must not
("no internal process"), which is why containers are leaves of ours.

Sources: Documentation/admin-guide/cgroup-v1/, .../cgroup-v2.rst, cgroups(7).
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from stackctl.errors import MachineError
from stackctl.values import dataclass

ROOT = "/sys/fs/cgroup"

#: v1 controllers that a container joins when the kernel has them.
JOINED_V1 = ("devices", "freezer", "memory", "cpu", "cpuacct", "pids", "blkio")
#: v2 controllers that are switched on for containers when the kernel has them.
WANTED_V2 = ("cpu", "cpuset", "io", "memory", "pids", "hugetlb")


@dataclass(frozen=True, slots=True)
class Tree:
    """`v1` maps a controller to its hierarchy's directory; `v2` is a directory or ""."""

    root: str
    v1: Mapping[str, str]
    v2: str

    @property
    def version(self) -> int:
        """2 only where the v2 tree is all there is; a hybrid counts as 1."""
        return 1 if self.v1 else 2

    @property
    def controllers(self) -> frozenset[str]:
        """What limits can be set with."""
        return frozenset(self.v1) if self.v1 else words(f"{self.v2}/cgroup.controllers")


def find(root: str = ROOT) -> Tree:
    """Looks below `root`. Raises MachineError when no control groups are mounted there."""
    if os.path.exists(f"{root}/cgroup.controllers"):
        return Tree(root, {}, root)
    v1: dict[str, str] = {}
    v2 = ""
    for name in _directories(root):
        # "cpu" may be a symlink to "cpu,cpuacct": one hierarchy with two controllers.
        place = os.path.realpath(f"{root}/{name}")
        if os.path.exists(f"{place}/cgroup.controllers"):
            v2 = place
        elif name != "systemd" and os.path.exists(f"{place}/tasks"):
            v1.update(dict.fromkeys(name.split(","), place))
    if not v1 and not v2:
        raise MachineError(
            f"no control groups are mounted at {root}",
            hint="mount -t cgroup2 cgroup2 /sys/fs/cgroup, or run inside a container"
            " that was given its cgroup file system",
        )
    return Tree(root, v1, v2)


def words(path: str) -> frozenset[str]:
    """The words of a one-line file; empty when it is not there."""
    try:
        with open(path) as file:
            return frozenset(file.read().split())
    except OSError:
        return frozenset()


def _directories(root: str) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    except OSError:
        return []
