"""Control groups version 1, and the hybrid where a bare v2 tree stands beside it.

A group of the v2 tree is made for every container where there is one; whether its
processes are in it depends on how they were started (CgroupPlan.into). Reads
therefore come from v1; killing uses cgroup.kill when the v2 group is populated.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence

from stackctl.errors import MachineError
from stackctl.runtime.cgroups import groups, plan
from stackctl.runtime.cgroups.plan import CgroupPlan, Limits, Rights
from stackctl.runtime.cgroups.tree import JOINED_V1, Tree
from stackctl.runtime.cgroups.usage import Usage

#: Seconds after which a freezer that is still freezing is taken for stuck.
_STUCK = 0.3


class V1:
    """See driver.CgroupDriver."""

    version = 1

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._tops = tuple(dict.fromkeys([*tree.v1.values(), *([tree.v2] if tree.v2 else [])]))

    @property
    def controllers(self) -> frozenset[str]:
        return self._tree.controllers

    def prepare_engine_group(self, engine_group: str) -> frozenset[str]:
        tops = [self._tree.v1[name] for name in JOINED_V1 if name in self._tree.v1]
        for top in dict.fromkeys([*tops, *([self._tree.v2] if self._tree.v2 else [])]):
            groups.make(f"{top}/{engine_group}")
        return self._tree.controllers

    def remove_engine_group(self, engine_group: str) -> bool:
        return groups.remove_empty(f"{top}/{engine_group}" for top in self._tops)

    def check(self, limits: Limits) -> None:
        plan.check(self._tree, limits)

    def plan(
        self,
        engine_group: str,
        container_id: str,
        limits: Limits,
        security: Rights,
        devices: Sequence[str] = (),
    ) -> CgroupPlan:
        return plan.plan(self._tree, engine_group, container_id, limits, security, devices)

    def update(self, engine_group: str, container_id: str, limits: Limits) -> None:
        groups.apply(plan.limit_writes(self._tree, engine_group, container_id, limits))

    def join_files(self, engine_group: str, container_id: str) -> tuple[str, ...]:
        found = dict.fromkeys(
            f"{top}/{engine_group}/{container_id}/tasks" for top in self._tree.v1.values()
        )
        files = [path for path in found if os.path.exists(path)]
        unified = self._unified(engine_group, container_id)
        # Only where the container's first process is in there: else exec alone would be.
        if unified and groups.read(f"{unified}/cgroup.procs"):
            files.append(f"{unified}/cgroup.procs")
        return tuple(files)

    def containers(self, engine_group: str) -> frozenset[str]:
        found: set[str] = set()
        for top in self._tops:
            with contextlib.suppress(FileNotFoundError):
                found.update(e.name for e in os.scandir(f"{top}/{engine_group}") if e.is_dir())
        return frozenset(found)

    def processes(self, engine_group: str, container_id: str) -> tuple[int, ...]:
        pids: set[int] = set()
        for group in self._groups(engine_group, container_id):
            pids.update(groups.processes(group))
        return tuple(sorted(pids))

    def freeze(self, engine_group: str, container_id: str, timeout: float = 10.0) -> None:
        state = self._freezer(engine_group, container_id)
        if not state:
            raise MachineError(
                "a container can only be paused with the freezer controller",
                hint="this machine's cgroup v1 has none mounted",
            )
        groups.write(state, "FROZEN")
        deadline = time.monotonic() + timeout
        pause = 0.0005
        again = time.monotonic() + _STUCK
        # v1 tells nobody when it is done: reading the state is what moves it on.
        while groups.read(state) != "FROZEN":
            if time.monotonic() >= again:
                # v1 can stay FREEZING for ever when processes begin meanwhile; to let go
                # and try again helps (runc does so too).
                groups.write(state, "THAWED")
                groups.write(state, "FROZEN")
                again = time.monotonic() + _STUCK
            if time.monotonic() >= deadline:
                groups.write(state, "THAWED")
                raise MachineError(
                    f"container {container_id[:12]} did not stand still within {timeout:g} s",
                    hint="a process of it is stuck in the kernel (state D in ps)",
                )
            time.sleep(pause)
            pause = min(2 * pause, 0.02)

    def thaw(self, engine_group: str, container_id: str) -> None:
        state = self._freezer(engine_group, container_id)
        if state:
            groups.write(state, "THAWED")

    def kill(self, engine_group: str, container_id: str, timeout: float = 10.0) -> bool:
        deadline = time.monotonic() + timeout
        unified = self._unified(engine_group, container_id)
        if unified and os.path.exists(f"{unified}/cgroup.kill"):
            groups.write(f"{unified}/cgroup.kill", "1")
        while pids := self.processes(engine_group, container_id):
            if time.monotonic() >= deadline:
                return False
            # Frozen, it cannot fork away between the list and the signals.
            with contextlib.suppress(MachineError, FileNotFoundError):
                self.freeze(engine_group, container_id, timeout=0.2)
                pids = self.processes(engine_group, container_id)
            ended = groups.kill_all(pids, container_id)
            self.thaw(engine_group, container_id)
            groups.wait_ended(ended, deadline)
        return True

    def remove(self, engine_group: str, container_id: str, timeout: float = 5.0) -> bool:
        deadline = time.monotonic() + timeout
        # A frozen process cannot die: whatever is in there must be able to.
        self.thaw(engine_group, container_id)
        found = self._groups(engine_group, container_id)
        stuck = [group for group in found if not groups.remove(group, deadline)]
        return not stuck

    def oom_killed(self, engine_group: str, container_id: str) -> bool:
        control = self._path("memory", engine_group, container_id, "memory.oom_control")
        return groups.fields(control).get("oom_kill", 0) > 0

    def usage(self, engine_group: str, container_id: str) -> Usage:
        def path(controller: str, name: str) -> str:
            return self._path(controller, engine_group, container_id, name)

        used = groups.number(path("memory", "memory.usage_in_bytes"))
        cache = groups.fields(path("memory", "memory.stat")).get("total_inactive_file", 0)
        limit = groups.number(path("memory", "memory.limit_in_bytes"))
        cpu = groups.number(path("cpuacct", "cpuacct.usage"))
        throttled = groups.fields(path("cpu", "cpu.stat")).get("throttled_time")
        read, written = _service_bytes(
            path("blkio", "blkio.throttle.io_service_bytes_recursive"),
            path("blkio", "blkio.throttle.io_service_bytes"),
        )
        return Usage(
            memory=None if used is None else max(0, used - cache),
            # "No limit" is the largest number of pages that fits.
            memory_limit=None if limit is None or limit >= 1 << 62 else limit,
            cpu=None if cpu is None else cpu / 1e9,
            cpu_throttled=None if throttled is None else throttled / 1e9,
            pids=groups.number(path("pids", "pids.current")),
            read=read,
            written=written,
        )

    def move_self_out(self, engine_group: str) -> tuple[str, ...]:
        stuck: list[str] = []
        for names, path in groups.membership().items():
            if path == "/":
                continue
            place = self._hierarchy(names)
            try:
                if not place:
                    raise FileNotFoundError(names)
                groups.write(f"{place}/cgroup.procs", "0")
            except OSError:
                stuck.append(names or "unified")
        return tuple(stuck)

    def _hierarchy(self, names: str) -> str:
        """Where /proc/self/cgroup's "cpu,cpuacct", "name=systemd" or "" (v2) is mounted."""
        if not names:
            return self._tree.v2
        for name in names.split(","):
            if name in self._tree.v1:
                return self._tree.v1[name]
        place = f"{self._tree.root}/{names.removeprefix('name=')}"
        return place if os.path.isdir(place) else ""

    def _groups(self, engine_group: str, container_id: str) -> list[str]:
        found = (f"{top}/{engine_group}/{container_id}" for top in self._tops)
        return [group for group in found if os.path.isdir(group)]

    def _path(self, controller: str, engine_group: str, container_id: str, name: str) -> str:
        return f"{self._tree.v1.get(controller, '')}/{engine_group}/{container_id}/{name}"

    def _freezer(self, engine_group: str, container_id: str) -> str:
        path = self._path("freezer", engine_group, container_id, "freezer.state")
        return path if "freezer" in self._tree.v1 and os.path.exists(path) else ""

    def _unified(self, engine_group: str, container_id: str) -> str:
        path = f"{self._tree.v2}/{engine_group}/{container_id}"
        return path if self._tree.v2 and os.path.isdir(path) else ""


def _service_bytes(*files: str) -> tuple[int | None, int | None]:
    """Sums of "8:0 Read 4096" lines over all devices, from the first file that is there."""
    for file in files:
        text = groups.read(file)
        if text is None:
            continue
        sums = {"Read": 0, "Write": 0}
        for words in (line.split() for line in text.splitlines()):
            if len(words) == 3 and words[1] in sums:
                sums[words[1]] += int(words[2])
        return sums["Read"], sums["Write"]
    return None, None
