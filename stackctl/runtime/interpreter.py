"""Starts our own helper processes from an interpreter that nothing in a container can change.

A container whose program is "#!/proc/self/exe" executes the interpreter of the shim and
finds it as its own /proc/self/exe (CVE-2019-5736). With ids of its own it is nobody
there; with the host's it would be root. What we execute is therefore a read-only,
detached mount of the interpreter: the file's pages stay shared with every other Python,
and nobody can open, truncate or chmod it through that mount. Where no such mount can
be made (a sandbox), it is a sealed copy in memory.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Sequence
from typing import Any

from stackctl.linux import mount

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def spawn(
    program: str, *arguments: str, actions: Sequence[Any], interpreter: str = sys.executable
) -> int:
    """Run `program` (Python text) in a bare interpreter and a session of its own; its pid."""
    words = [interpreter, "-I", "-S", "-c", program, *arguments]
    held = _unchangeable(interpreter)
    try:
        # By our number: the child's actions may put something else on it.
        path = f"/proc/{os.getpid()}/fd/{held}"
        return os.posix_spawn(path, words, ENVIRONMENT, file_actions=actions, setsid=True)
    finally:
        os.close(held)


def _unchangeable(path: str) -> int:
    try:
        tree = mount.open_tree(path)
    except OSError:
        return _sealed_copy(path)
    try:
        mount.mount_setattr(
            tree,
            set_attributes=mount.MOUNT_ATTR_RDONLY,
            propagation=mount.MS_PRIVATE,
            what=path,
        )
    except OSError:
        os.close(tree)
        return _sealed_copy(path)
    return tree


def _sealed_copy(path: str) -> int:
    copy = os.memfd_create("stackctl", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(path, "rb") as source:
            while os.sendfile(copy, source.fileno(), None, 1 << 24):
                pass
        fcntl.fcntl(copy, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(copy)
        raise
    return copy
