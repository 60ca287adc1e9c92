"""What is made on the host for a bind mount, and what is not."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from stackctl.daemon import own_mounts
from stackctl.errors import ContainerError
from stackctl.image.service import Images
from stackctl.model.container import BindMount, ContainerConfig


def config(source: str) -> ContainerConfig:
    mounts = (BindMount(source=source, target="/x"),)
    return ContainerConfig(name="c", image="i", image_id="i", argv=("x",), mounts=mounts)


def test_a_missing_directory_is_made(tmp_path: Path) -> None:
    own_mounts.make_bind_sources(config(str(tmp_path / "a/b")))
    assert (tmp_path / "a/b").is_dir()


def test_what_has_to_be_there_is_asked_without_making_anything(tmp_path: Path) -> None:
    assert own_mounts.missing_bind_sources(config(str(tmp_path / "a"))) == [str(tmp_path / "a")]
    needed = BindMount(source=str(tmp_path / "a"), target="/y", create_host_path=False)
    # The mount before it makes it.
    both = config(str(tmp_path / "a"))
    both = replace(both, mounts=(*both.mounts, needed))
    assert own_mounts.missing_bind_sources(both) == [str(tmp_path / "a")]
    with pytest.raises(ContainerError, match=r"the bind source .*/a does not exist"):
        own_mounts.missing_bind_sources(replace(both, mounts=(needed,)))
    assert not (tmp_path / "a").exists()


def test_the_engines_socket_takes_dockers_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def source_of(named: Path) -> str:
        no_images = cast("Images", None)
        (mount,) = asyncio.run(
            own_mounts.settled(config(str(named)), None, no_images, ours, renew=False)
        )
        assert isinstance(mount, BindMount)
        return mount.source

    ours, docker, link = (tmp_path / name for name in ("engine.sock", "docker.sock", "link"))
    monkeypatch.setattr(own_mounts, "DOCKER_SOCKETS", (str(docker),))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(ours))
    link.symlink_to(ours)
    assert source_of(docker) == str(ours)
    # A link to it: by the record's name of it the engine knows who may speak to it.
    assert source_of(link) == str(ours)
    assert source_of(tmp_path / "other") == str(tmp_path / "other")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(docker))
    assert source_of(docker) == str(docker)
    # One that has gone since then: no directory is made in its place.
    docker.unlink()
    with pytest.raises(ContainerError, match=r"there is no socket .* any more"):
        own_mounts.make_bind_sources(config(str(docker)))
    assert not docker.exists()
