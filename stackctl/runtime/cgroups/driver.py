"""The interface to control groups, and which of the two answers on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from stackctl.runtime.cgroups.plan import CgroupPlan, Limits, Rights
from stackctl.runtime.cgroups.tree import ROOT, find
from stackctl.runtime.cgroups.usage import Usage
from stackctl.runtime.cgroups.v1 import V1
from stackctl.runtime.cgroups.v2 import V2


class CgroupDriver(Protocol):
    """Groups are named by the engine's group and the container's id.

    Every method is blocking and short unless it has a timeout (seconds). A group
    that is not there has no processes, no usage, and is removed already.
    """

    @property
    def version(self) -> int: ...
    @property
    def controllers(self) -> frozenset[str]: ...

    def prepare_engine_group(self, engine_group: str) -> frozenset[str]:
        """Makes the engine's group; returns the controllers that containers can be limited by."""

    def remove_engine_group(self, engine_group: str) -> bool:
        """When no container is left; False: something is still in it."""

    def check(self, limits: Limits) -> None:
        """Whether a container can be limited so: MachineError or UsageError if not.

        The devices that limits name may come yet: `plan` asks for them.
        """

    def plan(
        self,
        engine_group: str,
        container_id: str,
        limits: Limits,
        security: Rights,
        devices: Sequence[str] = (),
    ) -> CgroupPlan:
        """`devices`: rules ("c 10:200 rwm") beside the usual ones."""

    def update(self, engine_group: str, container_id: str, limits: Limits) -> None:
        """Change the limits of a running container to these; what is None stays as it is.

        Raises UsageError, MachineError; nothing is changed that the check refuses.
        """

    def join_files(self, engine_group: str, container_id: str) -> tuple[str, ...]:
        """As CgroupPlan.procs, for another process of a running container (exec)."""

    def containers(self, engine_group: str) -> frozenset[str]:
        """Ids that have a group: to sweep what a crash left behind."""

    def processes(self, engine_group: str, container_id: str) -> tuple[int, ...]:
        """Pids as the caller sees them, groups that the container made included."""

    def freeze(self, engine_group: str, container_id: str, timeout: float = 10.0) -> None:
        """Returns when everything stands still; MachineError, and thawed, if it never does."""

    def thaw(self, engine_group: str, container_id: str) -> None: ...

    def kill(self, engine_group: str, container_id: str, timeout: float = 10.0) -> bool:
        """SIGKILL to all, fork bombs included; True when nothing is left alive."""

    def remove(self, engine_group: str, container_id: str, timeout: float = 5.0) -> bool:
        """Removes the container's groups; False: processes are still in it."""

    def oom_killed(self, engine_group: str, container_id: str) -> bool:
        """The kernel killed a process of it for want of memory."""

    def usage(self, engine_group: str, container_id: str) -> Usage: ...

    def move_self_out(self, engine_group: str) -> tuple[str, ...]:
        """Leaves the caller's groups (a session, a CI step): an ended scope must not end us.

        Returns the hierarchies that could not be left.
        """


def driver(root: str = ROOT) -> CgroupDriver:
    """The one for this machine. Raises MachineError when control groups are not mounted."""
    tree = find(root)
    return V2(tree) if tree.version == 2 else V1(tree)
