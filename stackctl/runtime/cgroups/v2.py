"""Control groups version 2: one tree, with events to wait on instead of polling.

Device access is not limited by files here but by a program (devices); the plan
carries it.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Sequence

from stackctl.errors import MachineError
from stackctl.runtime.cgroups import groups, plan
from stackctl.runtime.cgroups.plan import CgroupPlan, Limits, Rights
from stackctl.runtime.cgroups.tree import WANTED_V2, Tree, words
from stackctl.runtime.cgroups.usage import Usage

#: Leaf for the engine's own processes where the visible top may not hold any.
_ENGINE = "engine"


class V2:
    """See driver.CgroupDriver."""

    version = 2

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    @property
    def controllers(self) -> frozenset[str]:
        return self._tree.controllers

    def prepare_engine_group(self, engine_group: str) -> frozenset[str]:
        """A controller that cannot be switched on is left out: `plan` says so if it is asked for.

        The top of a namespace that holds processes refuses with EBUSY (no internal process).
        """
        top = self._tree.v2
        group = f"{top}/{engine_group}"
        groups.make(group)
        for controller in WANTED_V2:
            if controller in self.controllers:
                with contextlib.suppress(OSError):
                    groups.write(f"{top}/cgroup.subtree_control", f"+{controller}")
                    groups.write(f"{group}/cgroup.subtree_control", f"+{controller}")
        return words(f"{group}/cgroup.subtree_control")

    def remove_engine_group(self, engine_group: str) -> bool:
        names = (f"{engine_group}/{_ENGINE}", engine_group)
        return groups.remove_empty(f"{self._tree.v2}/{name}" for name in names)

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
        path = f"{self._group(engine_group, container_id)}/cgroup.procs"
        return (path,) if os.path.exists(path) else ()

    def containers(self, engine_group: str) -> frozenset[str]:
        try:
            entries = os.scandir(f"{self._tree.v2}/{engine_group}")
        except FileNotFoundError:
            return frozenset()
        return frozenset(e.name for e in entries if e.is_dir() and e.name != _ENGINE)

    def processes(self, engine_group: str, container_id: str) -> tuple[int, ...]:
        return groups.processes(self._group(engine_group, container_id))

    def freeze(self, engine_group: str, container_id: str, timeout: float = 10.0) -> None:
        group = self._group(engine_group, container_id)
        groups.write(f"{group}/cgroup.freeze", "1")
        if not wait_event(group, "frozen", 1, timeout):
            groups.write(f"{group}/cgroup.freeze", "0")
            raise MachineError(
                f"container {container_id[:12]} did not stand still within {timeout:g} s",
                hint="a process of it is stuck in the kernel (state D in ps)",
            )

    def thaw(self, engine_group: str, container_id: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            groups.write(f"{self._group(engine_group, container_id)}/cgroup.freeze", "0")

    def kill(self, engine_group: str, container_id: str, timeout: float = 10.0) -> bool:
        group = self._group(engine_group, container_id)
        deadline = time.monotonic() + timeout
        try:
            groups.write(f"{group}/cgroup.kill", "1")
        except FileNotFoundError:
            # No group, or a kernel before 5.14.
            self._kill_frozen(engine_group, container_id, deadline)
        return wait_event(group, "populated", 0, max(0.0, deadline - time.monotonic()))

    def _kill_frozen(self, engine_group: str, container_id: str, deadline: float) -> None:
        while time.monotonic() < deadline:
            if not self.processes(engine_group, container_id):
                return
            # v2's freezer lets SIGKILL through; frozen, nothing forks meanwhile.
            with contextlib.suppress(MachineError, FileNotFoundError):
                self.freeze(engine_group, container_id, timeout=0.2)
            pids = self.processes(engine_group, container_id)
            groups.wait_ended(groups.kill_all(pids, container_id), deadline)
            self.thaw(engine_group, container_id)

    def remove(self, engine_group: str, container_id: str, timeout: float = 5.0) -> bool:
        group = self._group(engine_group, container_id)
        deadline = time.monotonic() + timeout
        if not os.path.isdir(group):
            return True
        return wait_event(group, "populated", 0, timeout) and groups.remove(group, deadline)

    def oom_killed(self, engine_group: str, container_id: str) -> bool:
        group = self._group(engine_group, container_id)
        return groups.fields(f"{group}/memory.events").get("oom_kill", 0) > 0

    def usage(self, engine_group: str, container_id: str) -> Usage:
        group = self._group(engine_group, container_id)
        used = groups.number(f"{group}/memory.current")
        cache = groups.fields(f"{group}/memory.stat").get("inactive_file", 0)
        cpu = groups.fields(f"{group}/cpu.stat")
        read, written = _io_bytes(groups.read(f"{group}/io.stat"))
        return Usage(
            memory=None if used is None else max(0, used - cache),
            memory_limit=groups.number(f"{group}/memory.max"),
            cpu=cpu["usage_usec"] / 1e6 if "usage_usec" in cpu else None,
            cpu_throttled=cpu["throttled_usec"] / 1e6 if "throttled_usec" in cpu else None,
            pids=groups.number(f"{group}/pids.current"),
            read=read,
            written=written,
        )

    def move_self_out(self, engine_group: str) -> tuple[str, ...]:
        top = self._tree.v2
        if groups.membership().get("", "/") == "/":
            return ()
        # Only the real top lacks cgroup.type, and only there may processes and limits mix.
        if os.path.exists(f"{top}/cgroup.type"):
            groups.make(f"{top}/{engine_group}")
            top = f"{top}/{engine_group}/{_ENGINE}"
            groups.make(top)
        try:
            groups.write(f"{top}/cgroup.procs", "0")
        except OSError:
            return ("unified",)
        return ()

    def _group(self, engine_group: str, container_id: str) -> str:
        return f"{self._tree.v2}/{engine_group}/{container_id}"


def wait_event(group: str, name: str, value: int, timeout: float) -> bool:
    """Until `name` in the group's cgroup.events has this value; a group that is gone has 0.

    The kernel raises POLLPRI on the file when any of its fields changes.
    """
    deadline = time.monotonic() + timeout
    try:
        file = os.open(f"{group}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return value == 0
    try:
        poll = select.poll()
        poll.register(file, select.POLLPRI)
        while True:
            try:
                text = os.pread(file, 4096, 0).decode()
            except OSError:
                return value == 0
            if f"{name} {value}" in text.splitlines():
                return True
            rest = deadline - time.monotonic()
            if rest <= 0:
                return False
            poll.poll(rest * 1000)
    finally:
        os.close(file)


def _io_bytes(text: str | None) -> tuple[int | None, int | None]:
    """Sums over "8:0 rbytes=1 wbytes=2 ..." lines."""
    if text is None:
        return None, None
    sums = {"rbytes": 0, "wbytes": 0}
    for pair in (word.split("=") for word in text.split()):
        if pair[0] in sums:
            sums[pair[0]] += int(pair[1])
    return sums["rbytes"], sums["wbytes"]
