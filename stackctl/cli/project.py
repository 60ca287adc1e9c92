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
    try:
        cwd = os.getcwd()
    except FileNotFoundError:
        raise MachineError(
            "the current directory does not exist any more", hint="cd somewhere else"
        ) from None
    return {
        "files": list(files),
        "project_dir": project_directory or None,
        "name": name or None,
        "profiles": list(profiles),
        "env_files": list(env_files),
        "environment": dict(environment),
        "cwd": cwd,
        **({"all_resources": True} if all_resources else {}),
        **({"stdin": stdin()} if "-" in files else {}),
    }
