"""The engine's directories: made for root only, refused when they are somebody else's.

Writable layers hold set-user-id files of containers: nobody else may walk
through (CVE-2021-41091).
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from stackctl.errors import MachineError, NotPermitted, OutOfSpace, StackctlError
from stackctl.state.paths import Paths

_MODE = 0o700
#: One of these tells a directory that an engine has used before.
_OURS = frozenset({"state.db", "daemon.log", "daemon.lock", "launch.lock"})


def prepare(paths: Paths) -> None:
    """Makes root and run-time directory, both 0700. Raises MachineError, NotPermitted."""
    for path, variable in ((paths.root, "STACKCTL_ROOT"), (paths.run, "STACKCTL_RUN")):
        try:
            _prepare(path, variable)
        except OSError as error:
            raise translate(error, path, variable) from error


def _prepare(path: Path, variable: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(_MODE)
    except FileExistsError:
        pass
    found = path.stat()
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "not a directory", str(path))
    if found.st_uid != os.geteuid():
        raise NotPermitted(
            f"{path} belongs to user {found.st_uid}",
            hint=f"the engine's directory must be root's own; {variable} names another one",
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        entries = {entry.name for entry in os.scandir(path)}
        if entries and not entries & _OURS:
            # STACKCTL_ROOT=/tmp: closing it to everybody would break the machine.
            raise MachineError(
                f"{path} holds other things than an engine's",
                hint=f"set {variable} to a directory that is empty or does not exist yet",
            )
        path.chmod(_MODE)


def translate(error: OSError, path: Path, variable: str) -> StackctlError:
    """An OSError about one of the engine's directories, as the user sees it."""
    brief = f"cannot use {path}: {error.strerror}"
    hint = f"{variable} names another directory"
    if error.errno in (errno.EACCES, errno.EPERM):
        return NotPermitted(brief, hint="stackctl needs root (sudo stackctl ...), or " + hint)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutOfSpace(brief, hint="free some space, or " + hint)
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return MachineError(f"cannot use {path}: a file is in its way", hint=hint)
    if error.errno == errno.EROFS:
        return MachineError(brief, hint="the file system is mounted read-only; " + hint)
    return MachineError(brief, hint=hint)
