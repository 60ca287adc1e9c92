"""Variables that come out of a pipe, and a session: who opens one is told nothing until it is open.

`exec` imports it: it needs next to nothing of the standard library.
"""

from __future__ import annotations

import os
from stat import S_ISFIFO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stackctl.cli.invocation import Invocation


def named(run: Invocation) -> Invocation:
    """The same, with the project's name, which a verb was asked that tells what it waits for."""
    if run.project_name or not any(map(_is_pipe, _files_of_variables(run))):
        return run
    from stackctl.cli.rows import rows

    found = rows(run, "ps", run.body(services=[], all=True))
    return run.named(str(found[0]["Project"])) if found else run


def _files_of_variables(run: Invocation) -> list[str]:
    if run.env_files:
        return list(run.env_files)
    places = [run.project_directory, *(os.path.dirname(name) for name in run.files[:1])]
    return [os.path.join(place, ".env") for place in places]


def _is_pipe(path: str) -> bool:
    try:
        return S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False
