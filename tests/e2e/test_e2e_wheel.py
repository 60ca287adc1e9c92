"""What is installed as people install tools runs a stack, outside the checkout."""

from __future__ import annotations

import ssl
import subprocess
import sys
import venv
from collections.abc import Callable
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


def by_pip(engine: Engine, home: Path) -> Path:
    """The built wheel, in a clean virtual environment."""
    pip = (sys.executable, "-m", "pip", "-q")
    run(engine, *pip, "wheel", "--no-deps", "--wheel-dir", home / "dist", PROJECT, cwd=home)
    (wheel,) = (home / "dist").glob("stackctl-*.whl")
    venv.create(home / "clean", with_pip=True)
    binaries = home / "clean" / "bin"
    run(engine, binaries / "python", "-m", "pip", "-q", "install", wheel, cwd=home)
    return binaries / "stackctl"


def by_pipx(engine: Engine, home: Path) -> Path:
    engine.extra |= {"PIPX_HOME": str(home / "pipx"), "PIPX_BIN_DIR": str(home / "bin")}
    run(engine, sys.executable, "-m", "pipx", "install", PROJECT, cwd=home)
    return home / "bin" / "stackctl"


def by_uv(engine: Engine, home: Path) -> Path:
    engine.extra |= {
        "UV_TOOL_DIR": str(home / "uv"),
        "UV_TOOL_BIN_DIR": str(home / "bin"),
        "UV_CACHE_DIR": str(home / "cache"),
        # The machine's own certificates, as pip has them.
        "UV_NATIVE_TLS": "1",
        "SSL_CERT_FILE": str(ssl.get_default_verify_paths().cafile or ""),
    }
    uv = (sys.executable, "-m", "uv")
    run(engine, *uv, "tool", "install", "--python", sys.executable, PROJECT, cwd=home)
    return home / "bin" / "stackctl"


@pytest.mark.parametrize("install", [by_pip, by_pipx, by_uv])
def test_it_installs_as_any_tool_and_runs_a_stack(
    engine: Engine, tmp_path: Path, install: Callable[[Engine, Path], Path]
) -> None:
    stackctl = install(engine, tmp_path)
    # Outside the checkout: nothing but what was installed can be what is imported.
    python = stackctl.read_text().splitlines()[0].removeprefix("#!").split()[0]
    where = run(
        engine, python, "-P", "-c", "import stackctl; print(stackctl.__file__)", cwd=tmp_path
    )
    assert where.startswith(f"{tmp_path}/")
    (tmp_path / "stack.yaml").write_text(STACK)
    run(engine, stackctl, "up", "-d", "--wait", cwd=tmp_path)
    assert "wheel-web-1" in run(engine, stackctl, "ps", cwd=tmp_path)
    assert run(engine, stackctl, "exec", "-T", "web", "echo", "inside", cwd=tmp_path) == "inside\n"
    run(engine, stackctl, "down", "-t", "0", cwd=tmp_path)
