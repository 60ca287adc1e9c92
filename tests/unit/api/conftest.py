"""A served fake engine and a client of it. Sockets, but no root and no daemon."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stackctl.api.client import Client
from stackctl.state.paths import Paths
from support.fake_engine import Served


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    (tmp_path / "run").mkdir()
    return Paths(tmp_path / "root", tmp_path / "run")


@pytest.fixture
def serve(paths: Paths) -> Iterator[Callable[..., Served]]:
    """Starts a server at paths.socket; it is stopped at the end."""
    running: list[Served] = []

    def start(**settings: Any) -> Served:
        running.append(Served(paths.socket, **settings))
        return running[-1]

    yield start
    for served in running:
        served.stop()


@pytest.fixture
def served(serve: Callable[..., Served]) -> Served:
    return serve()


@pytest.fixture
def client(served: Served, paths: Paths) -> Iterator[Client]:
    client = Client.connect(paths, start=False)
    yield client
    client.close()
