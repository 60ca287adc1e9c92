"""Where the search for stack files starts and goes, with pathlib as the oracle."""

from __future__ import annotations

from pathlib import Path

import pytest

from stackctl.spec.files import Carried
from stackctl.spec.project import LoadRequest, stack_files


@pytest.mark.parametrize("cwd", ["/", "/a", "//a", "///a", "/a/./b//c/", "/a/../b", "x/y", ""])
@pytest.mark.parametrize("named", [None, "", "/", "z/", "./z", "../z", ".", "..", "/q/.././w//"])
def test_the_base_is_absolute_and_keeps_what_a_link_may_turn(cwd: str, named: str | None) -> None:
    base = Path(cwd, named or "").absolute()
    assert LoadRequest(cwd=cwd, project_dir=named).base == str(base)


@pytest.mark.parametrize("above", ["/", "/a", "/a/..", "/a/../b"])
def test_files_are_searched_upwards(above: str) -> None:
    path = str(Path(above, "compose.yaml"))
    over = str(Path(above, "docker-compose.override.yml"))
    request = LoadRequest(cwd="/a/../b/c", source=Carried({path: b"", over: b""}))
    found = above in map(str, Path(request.base).parents)
    assert found and stack_files(request, {}) == (path, over)
