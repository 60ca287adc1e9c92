"""Fixtures of the end-to-end tests: stacks that are driven by the real command."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from support.engine import Engine
from support.stack import EXAMPLES, Stack


@pytest.fixture
def stack(engine: Engine, tmp_path: Path) -> Stack:
    """An empty project directory called `app`."""
    directory = tmp_path / "app"
    directory.mkdir()
    return Stack(engine, directory)


@pytest.fixture
def example(engine: Engine, tmp_path: Path) -> Callable[..., Stack]:
    """A copy of an example, so that a test may edit it: example("tiny", TINY_PORT="9000")."""

    def make(name: str, **env: str) -> Stack:
        directory = tmp_path / name
        shutil.copytree(EXAMPLES / name, directory)
        return Stack(engine, directory, env)

    return make
