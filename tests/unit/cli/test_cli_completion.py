"""Shell completion, as each shell itself offers it."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stackctl.cli.table import COMMANDS, GROUPS

SHELLS = (
    "bash",
    pytest.param("zsh", marks=pytest.mark.needs("program:zsh")),
    pytest.param("fish", marks=pytest.mark.needs("program:fish")),
)

#: A line's words are arrays there; what compadd is given, zsh narrows to what was begun.
ZSH = """
autoload -U compinit; compinit -C -u -d {script}.dump; source {script}
[[ $_comps[stackctl] == _stackctl ]] || exit 9
compadd() {{ [[ $1 == -- ]] && shift; print -l -- "$@" }}
_files() {{ : }}
words=({words}); CURRENT={count}; _stackctl
"""
BASH = """
source {script}; COMP_WORDS=({words}); COMP_CWORD=$(({count} - 1))
_stackctl; printf '%s\\n' "${{COMPREPLY[@]}}"
"""
FISH = "source {script}; complete -C {line}"


@pytest.fixture(params=SHELLS)
def complete(request: Any, cli: Any, tmp_path: Path) -> Callable[[str], set[str]]:
    """What a shell offers for a command line, with a stand-in for `stackctl config`."""
    shell = request.param
    script = tmp_path / "completion"
    script.write_text(cli("completion", shell).out)
    tools = tmp_path / "bin"
    tools.mkdir()
    fake = tools / "stackctl"
    fake.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        "    *--profiles) printf 'dev\\ntest\\n' ;;\n"
        "    'ls --all -q') printf 'shop\\nblog\\n' ;;\n"
        "    *) printf 'web\\ndb\\n%s\\n' \"$2\" ;;\n"
        "esac\n"
    )
    fake.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()

    def offered(line: str) -> set[str]:
        words = shlex.split(line) + ([""] if line.endswith(" ") else [])
        text = {"bash": BASH, "zsh": ZSH, "fish": FISH}[shell].format(
            script=script, words=shlex.join(words), count=len(words), line=shlex.quote(line)
        )
        found = subprocess.run(
            {"bash": ["bash", "-c"], "zsh": ["zsh", "-fc"], "fish": ["fish", "-Nc"]}[shell]
            + [text],
            env={"PATH": f"{tools}:/usr/bin:/bin", "HOME": str(home), "TERM": "dumb"},
            cwd=home,
            capture_output=True,
            text=True,
            check=True,
        )
        # fish explains an offer behind a tab.
        said = {each.split("\t")[0] for each in found.stdout.split("\n")}
        return {each for each in said if each and each.startswith(words[-1])}

    return offered


def test_commands_flags_services_and_profiles(complete: Any) -> None:
    assert complete("stackctl pl") == {"plan"}
    assert set(COMMANDS) | set(GROUPS) <= complete("stackctl ")
    assert complete("stackctl --prof") == {"--profile"}
    assert complete("stackctl logs w") == {"web"}
    # -f is a flag of logs' own behind it; a service of a profile that is off can be named.
    assert complete("stackctl logs -f w") == {"web"}
    assert complete("stackctl -f x.yaml logs -f w") == complete("stackctl -f x.yaml logs w")
    # The value of a flag is no service.
    assert complete("stackctl config --format ") == {"yaml", "json"}
    assert complete("stackctl plan --for ") == {"up", "down"}
    assert complete("stackctl --ansi a") == {"auto", "always"}
    assert complete("stackctl -f x.yaml up --pull m") == {"missing"}
    assert not complete("stackctl logs --tail ") & {"web", "db"}
    assert complete("stackctl up --wait w") == {"web"}
    assert complete("stackctl completion ") == {"bash", "zsh", "fish"}
    assert complete("stackctl --profile d") == {"dev"}
    assert complete("stackctl --profile ") == {"dev", "test"}
    assert complete("stackctl -p s") == {"shop"}
    assert complete("stackctl config --hash w") == complete("stackctl up --attach w") == {"web"}
    # Behind its service is what the container has.
    assert complete("stackctl exec w") == complete("stackctl exec -T -u me w") == {"web"}
    assert complete("stackctl exec -e A=b web w") == complete("stackctl run --rm web --") == set()
    # The files that were named are those that are asked.
    assert complete("stackctl -f x.yaml up x") == {"x.yaml"}
    assert complete("stackctl -f x.yaml --ansi never pla") == {"plan"}
    assert complete("stackctl up --det") == {"--detach"}
    assert complete("stackctl -f x.yaml logs --fo") == {"--follow"}
    assert complete("stackctl volume in") == {"inspect"}
    assert complete("stackctl volume ls --fo") == {"--format"}
    assert complete("stackctl volume ls w") == set()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_know_every_command(cli: Any, shell: str) -> None:
    outcome = cli("completion", shell)
    assert outcome.code == 0
    assert "@" not in outcome.out.replace("[@]", "")
    assert " ".join(COMMANDS) in outcome.out


def test_other_shells_are_refused(cli: Any) -> None:
    assert cli("completion", "tcsh").code == 2
