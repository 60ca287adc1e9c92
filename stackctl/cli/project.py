"""The "project" part of a request: which files, which name, which environment.

The daemon reads the files; it gets paths as they were given, the directory they
are relative to, and the caller's environment for interpolation.
"""

from __future__ import annotations

import os

from stackctl.errors import MachineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any


def current_directory() -> str:
    """Where the command was called, by the name that the shell has for it ($PWD).

    The name of a project is that of its directory, and a deployment that is reached by a link to
    its newest release is one project; Go's tools, and with them compose, do the same.
    Raises MachineError when the directory is gone.
    """
    try:
        real = os.getcwd()
    except FileNotFoundError:
        raise MachineError(
            "the current directory does not exist any more", hint="cd somewhere else"
        ) from None
    named = os.environ.get("PWD", "")
    try:
        if named.startswith("/") and os.path.samefile(named, real):
            return named
    except OSError:
        pass
    return real


def _of_environment(environment: Mapping[str, str]) -> list[str]:
    """The files that STACKCTL_FILE or COMPOSE_FILE name."""
    named = environment.get("STACKCTL_FILE") or environment.get("COMPOSE_FILE") or ""
    return named.split(environment.get("COMPOSE_PATH_SEPARATOR") or ":")


def project_part(
    *,
    files: Sequence[str],
    project_directory: str,
    name: str,
    profiles: Sequence[str],
    env_files: Sequence[str],
    environment: Mapping[str, str],
    stdin: Callable[[], str],
    all_resources: bool = False,
) -> dict[str, Any]:
    """The JSON object; `stdin` gives the text of the file `-`.

    Raises MachineError when the directory is gone.
    """
    cwd = current_directory()
    return {
        "files": list(files),
        "project_dir": project_directory or None,
        "name": name or None,
        "profiles": list(profiles),
        "env_files": list(env_files),
        # As compose: also where no shell has set it.
        "environment": {"PWD": cwd, **environment},
        "cwd": cwd,
        **({"all_resources": True} if all_resources else {}),
        **({"stdin": stdin()} if "-" in (files or _of_environment(environment)) else {}),
    }
