"""Shell completion: the scripts are well-formed, and bash completes with ours."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stackctl.cli.table import COMMANDS, GROUPS


@pytest.fixture
def complete(cli: Any, tmp_path: Path) -> Any:
    """What bash offers for a command line, with a stand-in for `stackctl config`."""
    script = tmp_path / "completion.bash"
    script.write_text(cli("completion", "bash").out)
    tools = tmp_path / "bin"
    tools.mkdir()
    fake = tools / "stackctl"
    fake.write_text(
        '#!/bin/sh\ncase "$*" in *--profiles) echo dev test;; *) echo web db "$2";; esac\n'
    )
    fake.chmod(0o755)

    def offered(line: str) -> list[str]:
        words = shlex.split(line) + ([""] if line.endswith(" ") else [])
        code = (
            f"PATH={tools}:$PATH; source {script}; COMP_WORDS=({shlex.join(words)});"
            f"COMP_CWORD={len(words) - 1}; _stackctl; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        )
        run = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
        return [word for word in run.stdout.split("\n") if word]

    return offered


def test_bash_completes_commands_services_and_profiles(complete: Any) -> None:
    assert complete("stackctl pl") == ["plan"]
    assert set(COMMANDS) | set(GROUPS) <= set(complete("stackctl "))
    assert "--profile" in complete("stackctl --pro")
    assert complete("stackctl logs w") == ["web"]
    assert complete("stackctl --profile ") == ["dev", "test"]
    assert complete("stackctl --profile d") == ["dev"]
    # The files that were named are those that are asked.
    assert "x.yaml" in complete("stackctl -f x.yaml up ")
    assert complete("stackctl volume in") == ["inspect"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_know_every_command(cli: Any, shell: str) -> None:
    outcome = cli("completion", shell)
    assert outcome.code == 0
    assert "@" not in outcome.out.replace("[@]", "")
    assert " ".join(COMMANDS) in outcome.out


def test_other_shells_are_refused(cli: Any) -> None:
    assert cli("completion", "tcsh").code == 2
