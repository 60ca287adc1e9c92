"""Where a command was called: by the name that the shell has for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

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


def part(*files: str, **environment: str) -> dict[str, Any]:
    return project_part(
        files=files,
        project_directory="",
        name="",
        profiles=(),
        env_files=(),
        environment=environment,
        stdin=lambda: "text",
    )


def test_it_is_a_variable_where_no_shell_has_set_it(link: Path) -> None:
    assert part(A="1")["environment"] == {"PWD": str(link), "A": "1"}
    assert part(PWD="/x")["environment"] == {"PWD": "/x"}


def test_standard_input_is_read_where_a_file_is_called_so() -> None:
    assert "stdin" not in part("a.yaml", COMPOSE_FILE="-")
    for found in (part("-"), part(COMPOSE_FILE="a.yaml:-"), part(STACKCTL_FILE="-")):
        assert found["stdin"] == "text"


def test_a_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    os.rmdir(tmp_path / "gone")
    with pytest.raises(MachineError, match="does not exist any more"):
        current_directory()
