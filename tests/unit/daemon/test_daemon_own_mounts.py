"""What is made on the host for a bind mount, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from stackctl.daemon import own_mounts
from stackctl.errors import ContainerError
from stackctl.model.container import BindMount, ContainerConfig


def config(source: str) -> ContainerConfig:
    mounts = (BindMount(source=source, target="/x"),)
    return ContainerConfig(name="c", image="i", image_id="i", argv=("x",), mounts=mounts)


def test_a_missing_directory_is_made(tmp_path: Path) -> None:
    own_mounts.make_bind_sources(config(str(tmp_path / "a/b")))
    assert (tmp_path / "a/b").is_dir()


def test_dockers_socket_is_no_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    socket = str(tmp_path / "docker.sock")
    monkeypatch.setattr(own_mounts, "_SOCKETS", (socket,))
    with pytest.raises(ContainerError, match="there is no socket") as caught:
        own_mounts.make_bind_sources(config(socket))
    assert "use_api_socket" in caught.value.hint
    assert not Path(socket).exists()
