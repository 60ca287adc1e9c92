"""SELinux labels: stackctl sets none, and says so to whoever asked for one.

A process label without the labels of all files that it needs would end in refusals that
nobody understands, so that a label is refused where SELinux would honour it. Where there
is no SELinux, Docker ignores it without a word; we ignore it with one. AppArmor profiles
are another matter: see shim/child.py.
"""

from __future__ import annotations

from pathlib import Path

from stackctl.errors import ContainerError
from stackctl.model.container import BindMount, ContainerConfig

#: There while a policy is loaded, enforcing or not.
SELINUX = Path("/sys/fs/selinux/enforce")


def checked(config: ContainerConfig, selinux: Path = SELINUX) -> list[str]:
    """What is to be said about the labels that `config` asks for. Raises ContainerError."""
    label = [part for part in config.security.label if part != "disable"]
    relabelled = [m.target for m in config.mounts if isinstance(m, BindMount) and m.selinux]
    if not selinux.exists():
        return [f"this machine has no SELinux: label={part} has no effect" for part in label]
    if label and "disable" not in config.security.label:
        raise ContainerError(
            f"stackctl sets no SELinux labels, and this machine would honour label={label[0]}",
            hint="leave it out, or write label=disable: the container then has the engine's label",
        )
    return [f"the files at {target} keep their SELinux label" for target in relabelled]
