"""The built wheel, in a clean virtual environment, runs a stack."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

from support.engine import Engine

pytestmark = [
    pytest.mark.needs("root", "netns", "userns", "overlay", "cgroup", "nft", "bridge"),
    # Building and installing fetch from the package index.
    pytest.mark.timeout(300),
]

PROJECT = Path(__file__).parents[2]

STACK = """\
name: wheel
services:
  web:
    image: stackctl/host
    command: sleep infinity
"""


def run(engine: Engine, *argv: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(word) for word in argv],
        cwd=cwd,
        env=engine.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_wheel_installs_and_runs_from_a_clean_environment(
    engine: Engine, tmp_path: Path
) -> None:
    pip = (sys.executable, "-m", "pip", "-q")
    run(engine, *pip, "wheel", "--no-deps", "--wheel-dir", tmp_path / "dist", PROJECT, cwd=tmp_path)
    (wheel,) = (tmp_path / "dist").glob("stackctl-*.whl")
    venv.create(tmp_path / "clean", with_pip=True)
    binaries = tmp_path / "clean" / "bin"
    # Outside the checkout: nothing but the wheel can be what is imported.
    run(engine, binaries / "python", "-m", "pip", "-q", "install", wheel, cwd=tmp_path)
    (tmp_path / "stack.yaml").write_text(STACK)
    stackctl = binaries / "stackctl"
    where = "import stackctl; print(stackctl.__file__)"
    assert str(binaries.parent) in run(engine, binaries / "python", "-c", where, cwd=tmp_path)
    run(engine, stackctl, "up", "-d", "--wait", cwd=tmp_path)
    assert "wheel-web-1" in run(engine, stackctl, "ps", cwd=tmp_path)
    assert run(engine, stackctl, "exec", "-T", "web", "echo", "inside", cwd=tmp_path) == "inside\n"
    run(engine, stackctl, "down", "-t", "0", cwd=tmp_path)
