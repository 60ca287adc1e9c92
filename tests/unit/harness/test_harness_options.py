"""--no-skips and the marker `needs`, in a pytest of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]

BODY = """
import pytest

@pytest.mark.needs("program:no-such-program-anywhere")
def test_lacking():
    assert False, "must not run"

@pytest.mark.needs("program:sh")
def test_there():
    pass

def test_hiding():
    pytest.skip("for no reason")
"""


def run_inner(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    (directory / "test_inner.py").write_text(BODY)
    (directory / "pytest.ini").write_text(f"[pytest]\npythonpath = {TESTS}\nmarkers = needs\n")
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, "-q", "-rs", *options, "test_inner.py"],
        cwd=directory,
        env={"PYTHONPATH": str(TESTS), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_lack_skips_and_says_what(tmp_path: Path) -> None:
    done = run_inner(tmp_path)
    assert "1 passed, 2 skipped" in done.stdout, done.stdout + done.stderr
    assert "this machine lacks program:no-such-program-anywhere" in done.stdout


def test_no_skips_turns_every_skip_into_a_failure(tmp_path: Path) -> None:
    done = run_inner(tmp_path, "--no-skips")
    assert "skipped" not in done.stdout.splitlines()[-1]
    assert "1 passed" in done.stdout and done.returncode == 1, done.stdout + done.stderr
