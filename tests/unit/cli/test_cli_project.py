"""Where a command was called: by the name that the shell has for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stackctl.cli.project import current_directory, project_part
from stackctl.errors import MachineError


@pytest.fixture
def link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As `current`, of a deployment, for its newest release; we are in it."""
    (tmp_path / "releases/7").mkdir(parents=True)
    link = tmp_path / "current"
    link.symlink_to("releases/7")
    monkeypatch.chdir(link)
    monkeypatch.setenv("PWD", str(link))
    return link


def test_a_link_has_its_own_name(link: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert current_directory() == str(link)
    for other in ("current", str(link.parent), "/not-there", ""):
        monkeypatch.setenv("PWD", other)
        assert current_directory() == str(link.parent / "releases/7")


def test_it_is_a_variable_where_no_shell_has_set_it(link: Path) -> None:
    def environment(**given: str) -> dict[str, str]:
        nothing = {"files": (), "project_directory": "", "name": "", "profiles": ()}
        part = project_part(**nothing, env_files=(), environment=given, stdin=str)  # type: ignore[arg-type]
        return dict(part["environment"])

    assert environment(A="1") == {"PWD": str(link), "A": "1"}
    assert environment(PWD="/x") == {"PWD": "/x"}


def test_a_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    os.rmdir(tmp_path / "gone")
    with pytest.raises(MachineError, match="does not exist any more"):
        current_directory()
